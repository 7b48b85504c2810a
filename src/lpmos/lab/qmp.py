"""The control channel of a virtual machine: QEMU's machine protocol, one command at a time.

Shapes: "QEMU Machine Protocol Specification" (docs/interop/qmp-spec) of QEMU.
"""

import asyncio
import contextlib
import json
import socket
from typing import Any, Final

from lpmos.lab.errors import ProcessFailed

COMMAND_TIMEOUT_S: Final = 10.0


class Qmp:
    """A connection in command mode; made by `connect`."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._busy = asyncio.Lock()

    @classmethod
    async def connect(cls, channel: socket.socket) -> "Qmp":
        """Take the greeting from a socket that QEMU holds the other end of; enter command mode.

        Raises:
            ProcessFailed: QEMU closed the channel or did not answer in `COMMAND_TIMEOUT_S`.
        """
        reader, writer = await asyncio.open_unix_connection(sock=channel)
        qmp = cls(reader, writer)
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                await qmp._receive("QMP")
            await qmp.execute("qmp_capabilities")
        except BaseException as error:
            await qmp.close()
            if isinstance(error, TimeoutError):
                raise ProcessFailed("QEMU did not greet on its control channel") from None
            raise
        return qmp

    async def execute(self, command: str, **arguments: object) -> Any:
        """Run a command; answers its `return`.

        Raises:
            ProcessFailed: QEMU refused it, went away, or did not answer in `COMMAND_TIMEOUT_S`.
        """
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        async with self._busy:
            try:
                async with asyncio.timeout(COMMAND_TIMEOUT_S):
                    self._writer.write(json.dumps(request).encode() + b"\n")
                    await self._writer.drain()
                    answer = await self._receive("return", "error")
            except TimeoutError:
                raise ProcessFailed(f"QEMU did not answer {command}") from None
            except ConnectionError as error:
                raise ProcessFailed(f"QEMU went away during {command}: {error}") from error
        if "error" in answer:
            raise ProcessFailed(f"QEMU refused {command}: {answer['error'].get('desc')}")
        return answer["return"]

    async def close(self) -> None:
        """Give the channel up; the machine goes on."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()

    async def _receive(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these kinds; events in between are passed over."""
        while line := await self._reader.readline():
            message: dict[str, Any] = json.loads(line)
            if any(kind in message for kind in kinds):
                return message
        raise ProcessFailed("QEMU closed its control channel")
