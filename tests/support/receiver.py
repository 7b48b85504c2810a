"""A real receiver of webhooks on a free port: it keeps what came and answers as it is told."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from aiohttp import web

from lpmos.core.listening import accept_no_more
from tests.support.polling import until
from tests.support.served import served

TIMEOUT_S = 20.0

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Received(NamedTuple):
    """One request as it came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def message_id(self) -> str:
        """The id of the message."""
        return self.headers["webhook-id"]


def status(code: int, text: str = "", headers: dict[str, str] | None = None) -> Answer:
    """Answers with this status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text, headers=headers)

    return answer


class Receiver:
    """What came, and what it answers from now on."""

    def __init__(self) -> None:
        self.received: list[Received] = []
        self.answer: Answer = status(204)
        self.url = ""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Keep a request and answer it."""
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.received.append(Received(request.path_qs, headers, await request.read()))
        return await self.answer(request)

    @property
    def message_ids(self) -> list[str]:
        """The id of each message, as they came."""
        return [received.message_id for received in self.received]

    async def until_received(self, count: int) -> None:
        """Wait until so many requests came."""

        async def came() -> bool:
            return len(self.received) >= count

        await until(came, TIMEOUT_S)


@asynccontextmanager
async def receiving(tls: ssl.SSLContext | None = None) -> AsyncIterator[Receiver]:
    """A receiver until the block ends."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", receiver.handle)
    async with served(app, tls=tls) as receiver.url:
        yield receiver


@asynccontextmanager
async def answering_raw(answer: bytes, *, hold: bool = False) -> AsyncIterator[str]:
    """The URL of a server that sends these bytes to whoever connects; `hold`: and never ends."""

    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            if hold:
                await reader.read()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await accept_no_more(server.sockets)
        server.close()
        async with asyncio.timeout(TIMEOUT_S):
            await asyncio.gather(*serving, return_exceptions=True)
