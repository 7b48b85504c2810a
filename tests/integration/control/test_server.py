"""Listening: several addresses, inherited sockets, TLS 1.3, and an end that does not wait."""

import asyncio
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from litestar import Litestar, get
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from lpmos.control.server import listen, serve
from lpmos.control.tls import TlsFiles
from lpmos.model.errors import SettingsError
from lpmos.store.sqlite import SqliteStore
from tests.support.certificates import Authority
from tests.support.control_plane import running, running_with_debian
from tests.support.polling import ANSWER_TIMEOUT_S

TIMEOUT_S = 20.0


@get("/hello", media_type="text/plain")
async def hello() -> str:
    """The least that can be served."""
    return "hello"


async def test_tls_serves_13_only(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    pair = authority.issue("server")
    async with running_with_debian(tmp_path, tls=TlsFiles(pair.cert, pair.key)) as control_plane:
        trusting = ssl.create_default_context(cafile=str(authority.ca))
        async with httpx.AsyncClient(
            verify=trusting, base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S
        ) as client:
            answer = await client.get("/health")
            assert answer.status_code == 200
            assert "max-age" in answer.headers["strict-transport-security"]
            login = await client.post("/api/v1/session", json={"token": control_plane.token})
            assert "secure" in login.headers["set-cookie"].lower()
        older = ssl.create_default_context(cafile=str(authority.ca))
        older.maximum_version = ssl.TLSVersion.TLSv1_2
        async with httpx.AsyncClient(
            verify=older, base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S
        ) as client:
            with pytest.raises(httpx.ConnectError):
                await client.get("/health")


async def test_tls_with_a_wrong_key_is_refused_and_lets_the_address_go(tmp_path: Path) -> None:
    authority = Authority(tmp_path / "ca")
    one, other = authority.issue("one"), authority.issue("other")
    (listener,) = listen("127.0.0.1:0")
    address = "{}:{}".format(*listener.getsockname())
    with pytest.raises(SettingsError, match="cannot be used"):
        await serve(Litestar([hello]), addresses=[listener], tls=TlsFiles(one.cert, other.key))
    for again in listen(address):
        again.close()


async def test_several_addresses_and_an_inherited_socket_are_served() -> None:
    inherited = socket.create_server(("127.0.0.1", 0))
    ports = [inherited.getsockname()[1]]
    listeners = listen("127.0.0.1:0") + listen("[::1]:0")
    ports += [each.getsockname()[1] for each in listeners]
    ready = asyncio.Event()
    serving = asyncio.create_task(
        serve(Litestar([hello]), addresses=[f"fd:{inherited.detach()}", *listeners], ready=ready)
    )
    async with asyncio.timeout(TIMEOUT_S):
        await ready.wait()
    async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as client:
        for host, port in zip(("127.0.0.1", "127.0.0.1", "[::1]"), ports, strict=True):
            answer = await client.get(f"http://{host}:{port}/hello")
            assert answer.text == "hello"
    serving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await serving


async def test_answers_do_not_wait_for_the_clients_acknowledgements(
    tmp_store: SqliteStore,
) -> None:
    """With Nagle's algorithm each would take 40 ms on a connection that is kept."""
    loop = asyncio.get_running_loop()
    async with (
        running(tmp_store) as control_plane,
        httpx.AsyncClient(base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S) as client,
    ):
        times = []
        for _ in range(20):
            began = loop.time()
            await client.get("/health/live")
            times.append(loop.time() - began)
    assert sorted(times)[10] < 0.035


def test_address_in_use_is_refused_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=address):
            listen(address)


def test_file_that_is_no_socket_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as file, pytest.raises(SettingsError, match="no socket"):
        listen(f"fd:{file.fileno()}")


def test_socket_that_does_not_listen_is_refused() -> None:
    with socket.socket() as idle, pytest.raises(SettingsError, match="not a listening"):
        listen(f"fd:{idle.fileno()}")


def test_every_interface_takes_both_protocols() -> None:
    (listener,) = listen(":0")
    port = listener.getsockname()[1]
    try:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=TIMEOUT_S).close()
    finally:
        listener.close()


async def test_cancelling_closes_open_websockets_and_ends_soon(tmp_store: SqliteStore) -> None:
    loop = asyncio.get_running_loop()
    async with running(tmp_store) as control_plane:
        sockets = [await connect(f"ws://{control_plane.host}/ws") for _ in range(3)]
        for each in sockets:
            await each.send(json.dumps({"type": "auth", "token": control_plane.token}))
            await each.recv()
        began = loop.time()
    assert loop.time() - began < 5
    for each in sockets:
        with pytest.raises(ConnectionClosed) as closed:
            await each.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012


async def test_served_port_can_be_taken_again_at_once(tmp_store: SqliteStore) -> None:
    async with running(tmp_store) as first:
        port = first.port
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as client:
            await client.get(f"{first.url}/health")
    async with (
        running(tmp_store, port=port) as second,
        httpx.AsyncClient(timeout=ANSWER_TIMEOUT_S) as client,
    ):
        assert (await client.get(f"{second.url}/health")).status_code == 200


PROGRAM = """
import asyncio, sys
from pathlib import Path
from tests.support.control_plane import running_with_debian

async def main() -> None:
    async with running_with_debian(Path(sys.argv[1])):
        print("serving", flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


def test_signals_are_left_to_whoever_runs_the_server(tmp_path: Path) -> None:
    """SIGTERM ends the process as the system does it: the server has not taken the signal."""
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "."},
    )
    try:
        assert process.stdout is not None
        assert b"serving\n" in iter(process.stdout.readline, b"")
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == -signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
