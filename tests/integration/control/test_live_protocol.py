"""Peers that read nothing and answer no ping: they are cut off and leave nothing behind."""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn

from lpmos.control.live.frames import EXTENSION, FrameProtocol, FrameSink, text_frame
from tests.support.polling import until

HANDSHAKE = (
    b"GET / HTTP/1.1\r\nHost: here\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
MUCH = text_frame(b"x" * (1 << 20)) * 50
"""More than the kernel takes for a peer that reads nothing."""
PING_S = 0.2
ANSWERS = 4

Application = Callable[[dict[str, Any], Any, Any], Awaitable[None]]
Use = Callable[[FrameSink], None]


def _application(use: Use) -> Application:
    """Accepts, uses the sink, and waits for the end."""

    async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        use(scope["extensions"][EXTENSION])
        while (await receive())["type"] != "websocket.disconnect":
            continue

    return application


@asynccontextmanager
async def _served(use: Use, ping_s: float | None) -> AsyncIterator[tuple[uvicorn.Server, int]]:
    config = uvicorn.Config(
        _application(use),
        ws=FrameProtocol,
        ws_ping_interval=ping_s,
        ws_ping_timeout=ping_s,
        lifespan="off",
        log_config=None,
        timeout_graceful_shutdown=1,
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    serving = asyncio.create_task(server._serve([listener]))

    async def started() -> bool:
        return server.started

    await until(started)
    try:
        yield server, listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listener.close()


async def _peer(port: int, receive_bytes: int = 65_536) -> socket.socket:
    """A connection that has asked for the WebSocket and reads nothing."""
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    peer.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(peer, ("127.0.0.1", port))
    await loop.sock_sendall(peer, HANDSHAKE)
    return peer


def _say_much(sink: FrameSink) -> None:
    sink.write_frames(MUCH)


def _say_much_and_end(sink: FrameSink) -> None:
    sink.write_frames(MUCH)
    assert sink.unsent_bytes() > 0
    sink.end(4008, "too slow")
    sink.end(4400, "twice is once")
    sink.write_frames(MUCH)


@pytest.mark.parametrize(
    ("use", "ping_s"), [(_say_much, PING_S), (lambda _: None, PING_S), (_say_much_and_end, None)]
)
async def test_peer_that_reads_nothing_is_cut_off(use: Use, ping_s: float | None) -> None:
    async with _served(use, ping_s) as (server, port):
        with await _peer(port):
            await until(lambda: _has(server, 1))
            await until(lambda: _has(server, 0))


async def test_peer_that_answers_is_not_cut_off_by_a_server_that_is_late_itself() -> None:
    """Each answer comes while the loop stands still, until long after the answer was due."""
    async with _served(lambda _: None, PING_S) as (_, port):
        loop = asyncio.get_running_loop()
        assert await asyncio.to_thread(_answer_while_it_stands_still, loop, port) == ANSWERS


def _answer_while_it_stands_still(loop: asyncio.AbstractEventLoop, port: int) -> int:
    """How many pings came, and were answered."""
    standing = threading.Event()

    def stand_still() -> None:
        standing.set()
        time.sleep(3 * PING_S)

    with socket.create_connection(("127.0.0.1", port)) as peer, peer.makefile("rb") as said:
        peer.sendall(HANDSHAKE)
        while said.readline().strip():
            continue
        for answered in range(ANSWERS):
            ping = said.read(6)
            if ping[:2] != b"\x89\x04":
                return answered
            standing.clear()
            loop.call_soon_threadsafe(stand_still)
            standing.wait()
            peer.sendall(b"\x8a\x84" + bytes(4) + ping[2:])
    return ANSWERS


async def test_kernel_takes_little_for_a_peer_that_reads_nothing() -> None:
    """Else what such a peer reads later is long past, and it seems to take nothing for long."""
    written: list[FrameSink] = []

    def say_much(sink: FrameSink) -> None:
        sink.write_frames(MUCH)
        written.append(sink)

    async with _served(say_much, None) as (_, port):
        with await _peer(port, receive_bytes=4096):

            async def is_written() -> bool:
                return bool(written)

            await until(is_written)
            assert 0 < len(MUCH) - written[0].unsent_bytes() < 1 << 20


async def _has(server: uvicorn.Server, connections: int) -> bool:
    return len(server.server_state.connections) == connections
