"""The region's own TFTP, for what GRUB asks it: scripts of machines, and the files that they load.

Read only, in octets, and by name in a table: no part of a request is ever a part of a path. The
loaders' TFTP is dnsmasq's; this one answers at a port of its own. Each transfer has a socket, a
task and an end: a peer that is silent is asked `TRIES` times, one that is slow is left after
`TRANSFER_TIMEOUT_S`. Beyond `TRANSFERS` at once, or `TRANSFERS_OF_ONE` of one address, a request is
dropped, and its peer asks again.

Sources: RFC 1350 (protocol), 2347 (options), 2348 (blksize), 2349 (tsize). Block numbers begin
again at 0 after 65535, as every client of today expects.
"""

import asyncio
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import ExitStack, aclosing
from io import BytesIO
from pathlib import Path
from typing import IO, NamedTuple

import structlog

from lpmos.model.errors import LpmosError, SettingsError

TRANSFERS = 200
TRANSFERS_OF_ONE = 4
"""A loader takes one file after the other; the last one may still be asked whether it has all."""
TRANSFER_TIMEOUT_S = 600.0
"""For a whole file: 32 MB take one to two minutes."""
TRIES = 6
ANSWER_TIMEOUT_S = 1.0
BLOCK_BYTES = 512
MOST_BLOCK_BYTES = 1428
"""What fits a frame of 1500 bytes, with IPv6."""
LEAST_BLOCK_BYTES = 8
_DIGITS = 5
"""Of the largest size of blocks that may be asked for, 65464 (RFC 2348)."""
READ_BYTES = 1024 * 1024
READ, DATA, ACK, ERROR, OACK = 1, 3, 4, 5, 6
NOT_FOUND, NOT_ALLOWED = 1, 4
QUEUE = 16
"""Packets of one peer that wait; more are dropped, as the network would."""

Peer = tuple[str, int]
Find = Callable[[str, str, str], Awaitable[bytes | Path]]
"""What stands behind a name: (name, who asks, at which of our addresses)."""


Tell = Callable[[str, str, int, bool], None]
"""Told of a file's begin and end: (name, who asks, its size, whether it has it all)."""


def _silent(*_: object) -> None:
    """Nobody wants to know."""


class Request(NamedTuple):
    """A read request: the file's name, and the options in lower case."""

    name: str
    options: Mapping[str, str]


class Malformed(ValueError):
    """A packet that is no read request of octets."""


def parse_request(packet: bytes) -> Request:
    """A read request (RFC 1350 section 5, RFC 2347).

    Raises:
        Malformed: it is none.
    """
    if packet[:2] != READ.to_bytes(2, "big") or not packet.endswith(b"\0"):
        raise Malformed("no read request")
    try:
        name, mode, *rest = packet[2:-1].decode().split("\0")
    except ValueError as error:
        raise Malformed("no name and mode") from error
    if mode.lower() != "octet" or len(rest) % 2:
        raise Malformed("not in octets, or an option without a value")
    names = (option.lower() for option in rest[::2])
    return Request(name.lstrip("/"), dict(zip(names, rest[1::2], strict=True)))


def agreed(options: Mapping[str, str], size_bytes: int) -> tuple[int, bytes]:
    """The size of blocks, and the packet that says what was agreed on; empty for no option."""
    block_bytes, said = BLOCK_BYTES, b""
    asked = options.get("blksize", "")
    if len(asked) <= _DIGITS and asked.isdecimal() and int(asked) >= LEAST_BLOCK_BYTES:
        block_bytes = min(int(asked), MOST_BLOCK_BYTES)
        said += b"blksize\0%d\0" % block_bytes
    if "tsize" in options:
        said += b"tsize\0%d\0" % size_bytes
    return block_bytes, (OACK.to_bytes(2, "big") + said if said else b"")


def error_packet(code: int, text: str) -> bytes:
    """An error, which ends a transfer (RFC 1350 section 5)."""
    return ERROR.to_bytes(2, "big") + code.to_bytes(2, "big") + text.encode()[:200] + b"\0"


class TftpServer:
    """Answers at `addresses`; `find` says what stands behind a name or raises an `LpmosError`."""

    def __init__(
        self,
        addresses: Sequence[str],
        port: int,
        find: Find,
        *,
        idc: str,
        tell: Tell = _silent,
        transfer_timeout_s: float = TRANSFER_TIMEOUT_S,
    ) -> None:
        self._addresses = addresses
        self._port = port
        self._find = find
        self._tell = tell
        self._transfer_timeout_s = transfer_timeout_s
        self._log = structlog.get_logger().bind(idc=idc)
        self._open: set[tuple[Peer, str]] = set()
        self.listening = asyncio.Event()
        """Set once it answers."""

    async def run(self) -> None:
        """Answer until cancelled.

        Raises:
            SettingsError: an address cannot be listened on.
        """
        with ExitStack() as stack:
            bound = [stack.enter_context(self._bound(each)) for each in self._addresses]
            async with asyncio.TaskGroup() as group:
                for address, door in zip(self._addresses, bound, strict=True):
                    heard = await self._listen(address, door, group)
                    stack.callback(heard.close)
                self.listening.set()
                await asyncio.Event().wait()

    def _bound(self, address: str) -> socket.socket:
        door = socket.socket(
            socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM
        )
        try:
            door.bind((address, self._port))
        except OSError as error:
            door.close()
            raise SettingsError(
                f"cannot listen on UDP {address}:{self._port} for machines with Secure Boot:"
                f" {error.strerror}"
            ) from error
        return door

    async def _listen(
        self, address: str, door: socket.socket, group: asyncio.TaskGroup
    ) -> asyncio.DatagramTransport:
        def ask(packet: bytes, peer: Peer) -> None:
            if self._takes(peer, address):
                self._open.add((peer, address))
                group.create_task(self._transfer(packet, peer, address))

        loop = asyncio.get_running_loop()
        heard, _ = await loop.create_datagram_endpoint(lambda: _Door(ask), sock=door)
        return heard

    @property
    def transfers(self) -> int:
        """How many are under way."""
        return len(self._open)

    def _takes(self, peer: Peer, address: str) -> bool:
        """Whether there is room for a request that is not under way already."""
        if (peer, address) in self._open or len(self._open) >= TRANSFERS:
            return False
        return sum(ip == peer[0] for (ip, _), _ in self._open) < TRANSFERS_OF_ONE

    async def _transfer(self, packet: bytes, peer: Peer, address: str) -> None:
        loop = asyncio.get_running_loop()
        line = _Line()
        try:
            # A socket of its own is the transfer's identity (RFC 1350 section 4).
            door, _ = await loop.create_datagram_endpoint(
                lambda: line, local_addr=(address, 0), remote_addr=peer
            )
            try:
                async with asyncio.timeout(self._transfer_timeout_s):
                    await self._send(_Sender(door, line), packet, peer[0], address)
            finally:
                door.close()
        except TimeoutError:
            self._log.warning("a file took too long by TFTP", ip=peer[0])
        except OSError as error:
            self._log.warning("a file was not sent by TFTP", ip=peer[0], error=str(error))
        except Exception:  # noqa: BLE001 - a task's boundary: one machine ends no other's
            self._log.exception("a request by TFTP failed", ip=peer[0])
        finally:
            self._open.discard((peer, address))

    async def _send(self, sender: "_Sender", packet: bytes, ip: str, address: str) -> None:
        try:
            request = parse_request(packet)
        except Malformed as wrong:
            sender.end(error_packet(NOT_ALLOWED, str(wrong)))
            return
        try:
            found = await self._find(request.name, ip, address)
        except LpmosError as error:
            sender.end(error_packet(NOT_FOUND, str(error)))
            return
        size_bytes = await asyncio.to_thread(_size_bytes, found)
        self._tell(request.name, ip, size_bytes, False)
        if await sender.send(found, size_bytes, request.options):
            self._tell(request.name, ip, size_bytes, True)
        else:
            self._log.warning("a file was not sent to its end", ip=ip, file=request.name[:100])


class _Sender:
    """One transfer, in lock step."""

    def __init__(self, door: asyncio.DatagramTransport, line: "_Line") -> None:
        self._door = door
        self._line = line

    def end(self, packet: bytes) -> None:
        """The last packet, that nobody acknowledges."""
        self._door.sendto(packet)

    async def send(self, found: bytes | Path, size_bytes: int, options: Mapping[str, str]) -> bool:
        """Send what was asked for; whether the peer has it all."""
        block_bytes, said = agreed(options, size_bytes)
        if said and not await self._acknowledged(said, 0):
            return False
        number = 0
        async with aclosing(_blocks(found, block_bytes)) as blocks:
            async for block in blocks:
                number = (number + 1) & 0xFFFF
                head = DATA.to_bytes(2, "big") + number.to_bytes(2, "big")
                if not await self._acknowledged(head + block, number):
                    return False
        return True

    async def _acknowledged(self, packet: bytes, number: int) -> bool:
        """Send until this number is acknowledged; older ones are nothing (RFC 1123, 4.2.3)."""
        wanted = ACK.to_bytes(2, "big") + number.to_bytes(2, "big")
        for _ in range(TRIES):
            self._door.sendto(packet)
            try:
                async with asyncio.timeout(ANSWER_TIMEOUT_S):
                    while (answer := await self._line.heard.get()) != wanted:
                        if answer[:2] == ERROR.to_bytes(2, "big"):
                            return False
                    return True
            except TimeoutError:
                continue
        return False


def _size_bytes(found: bytes | Path) -> int:
    return len(found) if isinstance(found, bytes) else found.stat().st_size


def _opened(found: bytes | Path) -> IO[bytes]:
    return BytesIO(found) if isinstance(found, bytes) else found.open("rb")


async def _blocks(found: bytes | Path, block_bytes: int) -> AsyncGenerator[bytes, None]:
    """All blocks; the last one, and no other, is shorter than the rest."""
    step = READ_BYTES // block_bytes * block_bytes
    with await asyncio.to_thread(_opened, found) as file:
        while True:
            piece = await asyncio.to_thread(file.read, step)
            for begin in range(0, len(piece), block_bytes):
                yield piece[begin : begin + block_bytes]
            if len(piece) < step:
                break
    if len(piece) % block_bytes == 0:
        yield b""


class _Door(asyncio.DatagramProtocol):
    """Hears who asks."""

    def __init__(self, ask: Callable[[bytes, Peer], None]) -> None:
        self._ask = ask

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """A packet to the server's own port."""
        self._ask(data, addr[:2])


class _Line(asyncio.DatagramProtocol):
    """Hears one peer."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue(QUEUE)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        """An acknowledgement, or an error."""
        if not self.heard.full():
            self.heard.put_nowait(data)
