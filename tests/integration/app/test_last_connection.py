"""A connection that comes while a server ends is closed with the others, and holds nobody up."""

import asyncio
import gc
import socket
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, closing

import pytest
from aiohttp import web
from litestar import Litestar

from lpmos.control.server import serve
from lpmos.region.sites import Site, listen, serving

TIMEOUT_S = 20.0
HELD_UP_S = 3.0
"""Less than requests under way may take at the end."""

Server = Callable[[socket.socket], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def control_plane(listening: socket.socket) -> AsyncIterator[None]:
    ready = asyncio.Event()
    running = asyncio.create_task(serve(Litestar([]), addresses=[listening], ready=ready))
    async with asyncio.timeout(TIMEOUT_S):
        await ready.wait()
    yield
    running.cancel()
    await asyncio.wait([running])


def region(listening: socket.socket) -> AbstractAsyncContextManager[None]:
    return serving(web.Application(), [Site(listening)])


@pytest.mark.parametrize("turns", range(6))
@pytest.mark.parametrize("server", [control_plane, region])
async def test_connection_of_the_last_moment_is_closed(server: Server, turns: int) -> None:
    """`turns` of the loop go by between the connection and the end."""
    loop = asyncio.get_running_loop()
    listening = listen("127.0.0.1", 0, "--api-port")
    client = socket.socket()
    client.settimeout(TIMEOUT_S)
    with closing(client), warnings.catch_warnings(record=True) as left_open:
        warnings.simplefilter("always", ResourceWarning)
        async with server(listening):
            client.connect(listening.getsockname())
            for _ in range(turns):
                await asyncio.sleep(0)
            ending = loop.time()
        assert loop.time() - ending < HELD_UP_S
        gc.collect()
        assert [str(each.message) for each in left_open] == []
        try:
            assert client.recv(1) == b""
        except ConnectionResetError:
            assert turns < 2, "it was let in"
