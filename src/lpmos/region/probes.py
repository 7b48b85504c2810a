"""Real questions to the region's own services, each answered or not.

Every probe goes the way a machine goes: a TFTP read request (RFC 1350), a DHCPINFORM (RFC 2131
section 4.4.3, which gives out no lease) or, of a proxy, a request for the boot file (PXE 2.1
section 2.2.3), an HTTP GET.
"""

import asyncio
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager

from lpmos.region.dhcp_events import PROBE_TRANSACTION

PROBE_TIMEOUT_S = 2.0
_OPCODE_READ, _OPCODE_DATA, _OPCODE_ACK = 1, 3, 4
_MAGIC_COOKIE = b"\x63\x82\x53\x63"
_INFORM, _ACK = 8, 5
_REQUEST, _PXE_PORT = 3, 4011
_PROBE_MAC = bytes.fromhex("02006c706d6f")
PROBE_MAC = _PROBE_MAC.hex(":")
"""The machine that asks: DHCP for known machines alone has to know it."""


class ProbeFailed(Exception):
    """The service did not answer as it should; the text says how."""


async def probe_tftp(address: str, file: str, port: int = 69) -> None:
    """Read the first block of a small file.

    Raises:
        ProbeFailed: no answer, or an error.
    """
    request = struct.pack("!H", _OPCODE_READ) + file.encode() + b"\0octet\0"
    loop = asyncio.get_running_loop()
    with _answered("TFTP"), _socket(address) as sock:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await loop.sock_sendto(sock, request, (address, port))
            answer, sender = await loop.sock_recvfrom(sock, 1024)
            if answer[:4] != struct.pack("!HH", _OPCODE_DATA, 1):
                raise ProbeFailed(f"TFTP refused {file}: {answer[4:100]!r}")
            await loop.sock_sendto(sock, struct.pack("!HH", _OPCODE_ACK, 1), sender)


async def probe_dhcp(address: str, machine: str | None = None, port: int = 67) -> None:
    """Ask for the options of a machine; where none is named, of our own address.

    Args:
        address: where dnsmasq is.
        machine: any address of a network that it serves.
        port: its port.

    Raises:
        ProbeFailed: no answer, or another one than DHCPACK.
    """
    await _ask(inform(machine or address), (address, port))


async def probe_proxy(address: str, port: int = _PXE_PORT) -> None:
    """Ask a proxy for the boot file of an x86 machine that has our own address.

    Raises:
        ProbeFailed: no answer, or another one than DHCPACK.
    """
    pxe = bytes((60, 9)) + b"PXEClient" + bytes((93, 2, 0, 0))
    await _ask(_packet(_REQUEST, address, pxe), (address, port))


async def _ask(request: bytes, to: tuple[str, int]) -> None:
    loop = asyncio.get_running_loop()
    with _answered("DHCP"), _socket(to[0]) as sock:
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            await loop.sock_sendto(sock, request, to)
            answer, _ = await loop.sock_recvfrom(sock, 2048)
    if answer[4:8] != struct.pack("!I", PROBE_TRANSACTION) or message_type(answer) != _ACK:
        raise ProbeFailed("DHCP answered with something else than DHCPACK")


def inform(address: str) -> bytes:
    """A DHCPINFORM of the host that has `address`."""
    return _packet(_INFORM, address)


def _packet(kind: int, ciaddr: str, options: bytes = b"") -> bytes:
    """A request of the host that has `ciaddr`, padded to BOOTP's least size (RFC 951)."""
    head = struct.pack(
        "!BBBBIHH4s12x16s192x",
        *(1, 1, 6, 0, PROBE_TRANSACTION, 0, 0),
        *(socket.inet_aton(ciaddr), _PROBE_MAC),
    )
    body = bytes((53, 1, kind)) + options + b"\xff"
    return (head + _MAGIC_COOKIE + body).ljust(300, b"\0")


async def probe_http(host: str, port: int, path: str) -> None:
    """Fetch a path that answers 200.

    Raises:
        ProbeFailed: no connection, no answer in time, or another status.
    """
    with _answered("HTTP"):
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(host, port)
            try:
                writer.write(f"GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n".encode())
                status = await reader.readline()
            finally:
                writer.close()
    if b" 200 " not in status:
        raise ProbeFailed(f"HTTP answered {status[:100]!r}")


@contextmanager
def _socket(address: str) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        yield sock


@contextmanager
def _answered(service: str) -> Iterator[None]:
    try:
        yield
    except TimeoutError:
        raise ProbeFailed(f"{service} did not answer in {PROBE_TIMEOUT_S:.0f} s") from None
    except OSError as error:
        raise ProbeFailed(f"{service} cannot be reached: {error}") from error


def message_type(packet: bytes) -> int | None:
    """DHCP option 53 (RFC 2132 section 9.6) of a packet; None where it has none."""
    options = packet[240:]
    at = 0
    while at + 1 < len(options) and options[at] != 255:
        if options[at] == 0:
            at += 1
            continue
        if options[at] == 53 and at + 2 < len(options):
            return options[at + 2]
        at += 2 + options[at + 1]
    return None
