"""The address at which machines reach a region, whichever of its clients is active.

The active client has it on its interface; neighbours are told by gratuitous ARP (RFC 5227 section
3) where it is now. A guard takes it away with the right to it, also from a client that was stopped.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator

import structlog

from lpmos.model.errors import SettingsError
from lpmos.region.guarded import Until, guarded
from lpmos.region.tftp import program

ANNOUNCE_AFTER_S = (0.0, 0.2, 1.0, 3.0, 10.0)
"""When it is announced: a switch or a machine may miss one."""
COMMAND_TIMEOUT_S = 5.0
_ETHERTYPE_ARP = 0x0806
_BROADCAST = b"\xff" * 6


class ServiceAddress:
    """One IPv4 address that moves between hosts."""

    def __init__(self, address: str, interface: str) -> None:
        self._address = address
        self._interface = interface
        self._log = structlog.get_logger().bind(address=address, interface=interface)

    @contextlib.asynccontextmanager
    async def held(self, until: Until) -> AsyncIterator[None]:
        """Have the address until the block ends, or the right to it does.

        Raises:
            SettingsError: the system refuses to add it.
        """
        async with guarded(until, undo=self._command("del")):
            await self._add()
            announcing = asyncio.create_task(self._announce())
            try:
                yield
            finally:
                announcing.cancel()
                await asyncio.gather(announcing, return_exceptions=True)

    async def release(self) -> None:
        """Take the address away where a client of before has left it; no error where it has not."""
        await _run(self._command("del"))

    async def _add(self) -> None:
        status, text = await _run(self._command("replace"))
        if status != 0:
            raise SettingsError(
                f"--service-address: {self._address} cannot be added to {self._interface}: {text};"
                " the region needs CAP_NET_ADMIN"
            )
        self._log.info("has the service address")

    async def _announce(self) -> None:
        for pause_s in ANNOUNCE_AFTER_S:
            await asyncio.sleep(pause_s)
            try:
                announce(self._address, self._interface)
            except OSError as error:
                self._log.warning("cannot announce the service address", error=str(error))

    def _command(self, verb: str) -> tuple[str, ...]:
        place = (f"{self._address}/32", "dev", self._interface)
        return (program("ip", "iproute2"), "address", verb, *place)


def announcement(mac: bytes, address: str) -> bytes:
    """An Ethernet frame that says who has `address` (RFC 826, RFC 5227 section 3)."""
    ip = socket.inet_aton(address)
    head = _BROADCAST + mac + struct.pack("!H", _ETHERTYPE_ARP)
    request = struct.pack("!HHBBH", 1, 0x0800, 6, 4, 1)
    return (head + request + mac + ip + bytes(6) + ip).ljust(60, b"\0")


def announce(address: str, interface: str) -> None:
    """Send one announcement.

    Raises:
        OSError: the interface is away, or the right to is missing (CAP_NET_RAW).
    """
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as sock:
        sock.bind((interface, 0))
        mac = sock.getsockname()[4]
        sock.send(announcement(mac, address))


async def _run(command: tuple[str, ...]) -> tuple[int, str]:
    """Its exit status and what it said."""
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        _, said = await process.communicate()
    return process.returncode or 0, said.decode(errors="replace").strip()
