"""A TCP proxy that loses a share of the segments that pass through it, the same for the same seed.

A segment that is lost here is lost for good: its connection is reset at that very place, before the
request, between request and answer, or in the middle of either. So it is worse than a network that
loses as many packets, which TCP repeats: whoever talks through it has to repeat whole calls.
"""

import asyncio
import random

from lpmos.core.listening import accept_no_more
from tests.support.opened import Opened

SEGMENT_BYTES = 65_536


class LossyProxy(Opened):
    """Listens on a free loopback port and passes to `target_port` what it does not lose."""

    def __init__(self, target_port: int, loss: float, seed: int) -> None:
        self._target_port = target_port
        self._loss = loss
        self._random = random.Random(seed)  # noqa: S311 - a test's dice
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.passed = 0
        self.lost = 0

    @property
    def url(self) -> str:
        """The proxy's URL."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Listen no more, and end all connections."""
        if self._server:
            await accept_no_more(self._server.sockets)
            self._server.close()
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        task.add_done_callback(lambda _: writer.transport.abort())
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            target = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            return
        pumps = [
            asyncio.create_task(self._pump(reader, target[1])),
            asyncio.create_task(self._pump(target[0], writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            target[1].transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass segments until one is lost or the sender ends; then the connection is over."""
        try:
            while segment := await reader.read(SEGMENT_BYTES):
                if self._random.random() < self._loss:
                    self.lost += 1
                    return
                self.passed += 1
                writer.write(segment)
                await writer.drain()
        except OSError:
            return
