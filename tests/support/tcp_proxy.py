"""A TCP proxy in this process that can harm the connections through it.

cut()             ends all connections and refuses new ones
black_hole()      connections stay open, new ones are accepted, and nothing passes
swallow_replies() requests pass, replies do not; `swallowed` is set once one was lost
heal()            new connections pass again; harmed ones are ended
"""

import asyncio
import enum

from lpmos.core.listening import accept_no_more
from tests.support.opened import Opened

_CHUNK_BYTES = 65_536


class _Mode(enum.Enum):
    PASS = "pass"
    HOLE = "hole"
    SWALLOW = "swallow"


class TcpProxy(Opened):
    """Listens on a free loopback port and passes everything to `target_port`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._mode = _Mode.PASS
        self._passing = asyncio.Event()
        self._passing.set()
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()
        self.port = 0
        self.swallowed = asyncio.Event()

    @property
    def endpoint(self) -> str:
        """The proxy's URL, for an endpoint without TLS."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        """How many connections to the proxy are open."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(task)
        # Not in the task itself: one that is cancelled before its first step runs no `finally`.
        task.add_done_callback(lambda _: writer.transport.abort())
        task.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._passing.wait()
            await self._connect_through(reader, writer)
        except OSError:
            return  # either side went away

    async def _connect_through(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        try:
            directions = {
                asyncio.create_task(self._pump(reader, target_writer, replies=False)),
                asyncio.create_task(self._pump(target_reader, writer, replies=True)),
            }
            try:
                await asyncio.wait(directions, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in directions:
                    task.cancel()
                await asyncio.gather(*directions, return_exceptions=True)
        finally:
            target_writer.transport.abort()

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._passing.wait()
            if replies and self._mode is _Mode.SWALLOW:
                self.swallowed.set()
                continue
            writer.write(chunk)
            await writer.drain()

    async def _end_connections(self) -> None:
        connections = set(self._connections)
        for task in connections:
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def cut(self) -> None:
        """End all connections and refuse new ones."""
        if self._server:
            await accept_no_more(self._server.sockets)
            self._server.close()
            self._server = None
        await self._end_connections()

    def black_hole(self) -> None:
        """Let nothing pass, either way, with no connection ended."""
        self._mode = _Mode.HOLE
        self._passing.clear()

    def swallow_replies(self) -> None:
        """Pass requests and lose replies."""
        self._mode = _Mode.SWALLOW
        self.swallowed.clear()

    async def heal(self) -> None:
        """Pass everything again, on new connections where the old were harmed."""
        if self._mode is not _Mode.PASS:
            await self._end_connections()
        self._mode = _Mode.PASS
        self._passing.set()
        if self._server is None:
            await self.start()

    async def close(self) -> None:
        """End all, however it was harmed."""
        self._passing.set()
        await self.cut()
