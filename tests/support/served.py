"""Servers of a test that live in its process: an application of aiohttp, or one with a thread."""

import socket
import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from socketserver import BaseServer
from threading import Thread

from aiohttp import web

from lpmos.core.listening import accept_no_more

SHUTDOWN_TIMEOUT_S = 0.1
BACKLOG = 128
LOOK_S = 0.02
"""So often a server in a thread looks whether it shall end."""


@asynccontextmanager
async def served(
    app: web.Application, *, port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """Serve it on loopback until the block ends, on a free port where none is given; its URL."""
    listening = socket.create_server(("127.0.0.1", port), backlog=BACKLOG)
    runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
    await runner.setup()
    try:
        await web.SockSite(runner, listening, ssl_context=tls).start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        await accept_no_more([listening])
        await runner.cleanup()


@contextmanager
def served_by_thread(server: BaseServer) -> Iterator[None]:
    """Let a server that listens serve until the block ends, and close it."""
    thread = Thread(target=server.serve_forever, args=(LOOK_S,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
