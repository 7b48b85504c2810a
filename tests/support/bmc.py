"""A BMC for QEMU's `ipmi-bmc-extern`: it says who it is and what its LAN address is, no more.

The wire is QEMU's hw/ipmi/ipmi_bmc_extern.c (of OpenIPMI's "VM" serial protocol): a message is a
number, network function and unit, command, data and a checksum, with its ends escaped. Commands and
answers: IPMI 2.0, 20.1 (Get Device ID) and 23.2 (Get LAN Configuration Parameters).
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
from pathlib import Path

_MESSAGE_END, _COMMAND_END, _ESCAPE = 0xA0, 0xA1, 0xAA
_ESCAPED = 0x10
_APPLICATION, _TRANSPORT = 0x06, 0x0C
_GET_DEVICE_ID, _GET_LAN_PARAMETERS, _IP_ADDRESS = 0x01, 0x02, 3
_LAN_CHANNEL = 1
_DONE, _NOT_KNOWN = b"\x00", b"\xc1"
_WHO = bytes((0x20, 0x01, 0x02, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00))
_ACCEPTED = ((_APPLICATION, 0x2E), (_APPLICATION, 0x30))
"""Enables that are set and flags that are cleared: the driver of Linux wants both."""


@asynccontextmanager
async def bmc(socket: Path, address: str) -> AsyncIterator[Sequence[str]]:
    """The devices of QEMU by which a machine has a BMC with this address."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = bytearray()
        escaped = False
        while data := await reader.read(4096):
            for byte in data:
                if byte == _ESCAPE:
                    escaped = True
                elif byte == _COMMAND_END:
                    message.clear()  # the version, and what the machine can do
                elif byte == _MESSAGE_END:
                    writer.write(_answer(bytes(message), IPv4Address(address)))
                    message.clear()
                else:
                    message.append(byte & ~_ESCAPED if escaped else byte)
                    escaped = False
            await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(serve, socket):
        yield (
            # To connect again is to connect late: QEMU 7.2 crashes on a wire before its interface.
            *("-chardev", f"socket,id=bmc-wire,path={socket},reconnect=1"),
            *("-device", "ipmi-bmc-extern,id=bmc,chardev=bmc-wire"),
            *("-device", "isa-ipmi-kcs,bmc=bmc"),
        )


def _answer(message: bytes, address: IPv4Address) -> bytes:
    number, unit, command = message[:3]
    asked, data = (unit >> 2, command), message[3:-1]
    if asked == (_APPLICATION, _GET_DEVICE_ID):
        said = _DONE + _WHO
    elif asked == (_TRANSPORT, _GET_LAN_PARAMETERS) and data[:2] == bytes(
        (_LAN_CHANNEL, _IP_ADDRESS)
    ):
        said = _DONE + b"\x11" + address.packed
    else:
        said = _DONE if asked in _ACCEPTED else _NOT_KNOWN
    body = bytes((number, unit | 1 << 2, command)) + said
    framed = body + bytes((-sum(body) & 0xFF,))
    ends = (_MESSAGE_END, _COMMAND_END, _ESCAPE)
    escaped = (bytes((_ESCAPE, b | _ESCAPED)) if b in ends else bytes((b,)) for b in framed)
    return b"".join(escaped) + bytes((_MESSAGE_END,))
