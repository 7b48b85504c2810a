"""Peers that send too much, too slowly or nothing; headers of every answer; CSRF from outside."""

import asyncio
import contextlib
import json
import re
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from litestar import Litestar, Request, get, post
from litestar.params import FromPath
from structlog.testing import capture_logs

from lpmos.control.http.protocol import Patience
from lpmos.control.server import listen, serve
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import ANSWER_TIMEOUT_S, until

TIMEOUT_S = 20.0


async def told(control_plane: RunningControlPlane, sent: bytes) -> bytes:
    """All that the server says to these bytes until it closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", control_plane.port)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            writer.write(sent)
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


HEAD = b"GET /health/live HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        HEAD + b"X-Long: " + b"x" * 40_000 + b"\r\n\r\n",
        HEAD + b"X-Endless: " + b"x" * 400_000,
        HEAD + b"".join(b"X-%d: 1\r\n" % n for n in range(150)) + b"\r\n",
        b"GET /" + b"x" * 40_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
    ids=["long", "endless", "many", "target"],
)
async def test_head_over_the_limit_is_refused(
    control_plane: RunningControlPlane, sent: bytes
) -> None:
    answer = await told(control_plane, sent)
    assert answer.startswith(b"HTTP/1.1 431 ") or not answer  # cut off while it still sends


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
    ],
    ids=["tls", "version", "bytes", "connect", "both-lengths", "negative", "chunk"],
)
async def test_bytes_that_are_no_request_are_refused(
    control_plane: RunningControlPlane, sent: bytes
) -> None:
    assert (await told(control_plane, sent)).startswith(b"HTTP/1.1 400 ")


async def test_requests_that_share_a_connection_are_all_answered(
    control_plane: RunningControlPlane,
) -> None:
    sent = (HEAD + b"\r\n") * 5 + HEAD + b"Connection: close\r\n\r\n"
    assert (await told(control_plane, sent)).count(b"HTTP/1.1 200 OK") == 6


@contextlib.asynccontextmanager
async def impatient_server() -> AsyncIterator[int]:
    """The port of a server whose peers have a second for everything."""
    patience = Patience(head_s=1.0, body_window_s=1.0, take_s=1.0)
    (listener,) = listen("127.0.0.1:0")
    ready = asyncio.Event()
    app = Litestar([echo, flood], request_max_body_size=10_000_000, logging_config=None)
    serving = asyncio.create_task(serve(app, addresses=[listener], patience=patience, ready=ready))
    async with asyncio.timeout(TIMEOUT_S):
        await ready.wait()
    try:
        yield listener.getsockname()[1]
    finally:
        serving.cancel()
        await asyncio.wait([serving], timeout=TIMEOUT_S)


@post("/echo", status_code=200)
async def echo(request: Request[Any, Any, Any]) -> int:
    """How much came."""
    return len(await request.body())


@get("/flood/{size:int}")
async def flood(size: FromPath[int]) -> bytes:
    """More than the kernel's buffers take."""
    return b"x" * size


async def _until_closed(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(TIMEOUT_S):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def test_connection_that_says_nothing_is_closed() -> None:
    async with impatient_server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        assert await _until_closed(reader) == b""
        writer.close()


@pytest.mark.parametrize("before", [b"", b"POST /echo HTTP/1.1\r\nHost: x\r\n\r\n"])
async def test_head_that_trickles_in_is_cut_off(before: bytes) -> None:
    """Also where the connection was good for a request before."""
    async with impatient_server() as port:
        said = await _said_to_trickle(port, before + b"GET / HTTP/1.1\r\nX-Slow: ")
        assert b"408 Request Timeout" in said


async def test_body_that_trickles_in_is_cut_off() -> None:
    async with impatient_server() as port:
        head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        assert b"200 OK" not in await _said_to_trickle(port, head)


async def test_body_that_comes_steadily_is_taken_however_long_it_is() -> None:
    async with impatient_server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        size = 15 * 20_000
        writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(15):
            writer.write(b"x" * 20_000)
            await asyncio.sleep(0.2)
        async with asyncio.timeout(TIMEOUT_S):
            assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(6) == str(size).encode()
        writer.close()


async def test_peer_that_takes_nothing_is_cut_off() -> None:
    async with impatient_server() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
        writer.write(b"GET /flood/50000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        # The reader's own limit keeps it from reading on; the server's buffers fill.
        await asyncio.sleep(3)
        assert len(await _until_closed(reader)) < 50_000_000
        writer.close()


async def _said_to_trickle(port: int, head: bytes) -> bytes:
    """All that the server says to some bytes at once, and then one now and then.

    A plain socket: a stream forgets what came where it is written to after the server closed.
    """
    loop = asyncio.get_running_loop()
    said = b""
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.setblocking(False)
        trickling = asyncio.create_task(_trickle(client, head))
        with contextlib.suppress(ConnectionError):
            async with asyncio.timeout(TIMEOUT_S):
                while piece := await loop.sock_recv(client, 1 << 16):
                    said += piece
        trickling.cancel()
        await asyncio.wait([trickling])
    return said


async def _trickle(client: socket.socket, head: bytes) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        await loop.sock_sendall(client, head)
        while True:
            await loop.sock_sendall(client, b"x")
            await asyncio.sleep(0.1)


HEADERS = {
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/health"),
        ("GET", "/login"),
        ("GET", "/static/lpmos.css"),
        ("GET", "/api/v1/tasks"),
        ("GET", "/nothing/here"),
        ("PATCH", "/api/v1/tasks"),
        ("GET", "/static/..%2f..%2fapp.py"),
        ("GET", "/schema/openapi.json"),
    ],
)
async def test_every_answer_has_the_headers_that_bind_a_browser(
    anyone: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await anyone.request(method, path)
    assert {name: answer.headers.get(name) for name in HEADERS} == HEADERS
    policy = answer.headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "server" not in answer.headers
    assert re.fullmatch(r"[0-9a-f]{32}", answer.headers["x-request-id"])
    assert answer.headers["cache-control"] in ("no-store", "no-cache")


async def test_pages_have_no_inline_code(anyone: httpx.AsyncClient) -> None:
    page = (await anyone.get("/login")).text
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*\ssrc=)", page)
    assert not re.search(r"\son[a-z]+=|style=|javascript:", page)


@pytest.mark.parametrize("depth", [33, 1000, 100_000])
async def test_body_that_is_nested_too_deeply_is_malformed(
    api: httpx.AsyncClient, depth: int
) -> None:
    body = b'{"idc": "dc1", "tags": ' + b"[" * depth + b"]" * depth + b"}"
    headers = {"Content-Type": "application/json"}
    answer = await api.post("/api/v1/tasks", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed")
    assert "nested deeper" in answer.text


async def test_body_over_the_limit_is_too_large_before_it_is_read(
    control_plane: RunningControlPlane,
) -> None:
    head = (
        f"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {control_plane.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 99999999\r\n\r\n"
    )
    reader, writer = await asyncio.open_connection("127.0.0.1", control_plane.port)
    writer.write(head.encode())
    async with asyncio.timeout(TIMEOUT_S):
        assert b"413" in await reader.readline()
    writer.close()


async def test_chunked_body_over_the_limit_is_too_large(api: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(300):
            yield b" " * 1024

    headers = {"Content-Type": "application/json"}
    answer = await api.post("/api/v1/tasks", content=chunks(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Sec-Fetch-Site": "cross-site"},
        {},
    ],
)
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/secrets/rotate", None),
        ("DELETE", "/api/v1/secrets/keys/first", None),
        ("PUT", "/api/v1/machines/dc1/SN-1/bmc", {"address": "192.0.2.1"}),
    ],
)
async def test_change_by_a_cookie_from_another_sites_page_is_forbidden(
    control_plane: RunningControlPlane,
    headers: dict[str, str],
    method: str,
    path: str,
    body: dict[str, str] | None,
) -> None:
    """CSRF, seen from outside: the browser adds the cookie by itself, and says where from."""
    async with httpx.AsyncClient(base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S) as browser:
        login = await browser.post("/api/v1/session", json={"token": control_plane.token})
        assert login.status_code == 200
        answer = await browser.request(method, path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_form_of_another_site_cannot_be_a_body(api: httpx.AsyncClient) -> None:
    """What a page may send without asking (CORS): these types are not taken as JSON."""
    body = json.dumps({"address": "192.0.2.1", "username": "u", "password": "p"})
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await api.put(
            "/api/v1/machines/dc1/SN-1/bmc", content=body, headers={"Content-Type": media_type}
        )
        assert answer.status_code == 415


async def test_answers_allow_no_other_origin(api: httpx.AsyncClient) -> None:
    preflight = {"Origin": "https://evil.example", "Access-Control-Request-Method": "PUT"}
    for answer in (
        await api.options("/api/v1/tasks", headers=preflight),
        await api.get("/api/v1/tasks", headers={"Origin": "https://evil.example"}),
    ):
        assert not [name for name in answer.headers if name.startswith("access-control")]


async def test_body_that_is_cut_off_is_no_fault_of_ours(
    control_plane: RunningControlPlane,
) -> None:
    head = (
        f"POST /api/v1/tasks HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {control_plane.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 5000\r\n\r\n{"
    )
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection("127.0.0.1", control_plane.port)
        writer.write(head.encode())
        await writer.drain()
        writer.close()

        async def counted() -> bool:
            text = control_plane.services.observation.text()
            return b'path="/api/v1/tasks",status="400"' in text

        await until(counted, TIMEOUT_S)
    assert not [line for line in logs if line["log_level"] == "error"]
