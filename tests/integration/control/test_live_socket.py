"""The WebSocket: who may listen, what is heard, how it goes on elsewhere, and how it ends."""

import asyncio
import json
import socket
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from lpmos.control.access import COOKIE
from lpmos.core.taskstore import moved
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, Task
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane, open_store, running

TIMEOUT_S = 15.0


def _address(control_plane: RunningControlPlane) -> str:
    return f"ws://{control_plane.host}/ws"


async def _heard(listener: ClientConnection) -> Any:
    async with asyncio.timeout(TIMEOUT_S):
        return json.loads(await listener.recv())


async def _say(listener: ClientConnection, message: object) -> None:
    await listener.send(json.dumps(message))


async def _close_code(listener: ClientConnection) -> int:
    with pytest.raises(ConnectionClosed) as closed:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                await listener.recv()
    assert closed.value.rcvd is not None
    return closed.value.rcvd.code


async def _authenticated(control_plane: RunningControlPlane, token: str = "") -> ClientConnection:
    listener = await connect(_address(control_plane))
    await _say(listener, {"type": "auth", "token": token or control_plane.token})
    assert await _heard(listener) == {"type": "ready"}
    return listener


async def _subscribed(listener: ClientConnection, **wanted: object) -> Any:
    """The answer to a subscription."""
    await _say(listener, {"type": "subscribe", **wanted})
    return await _heard(listener)


async def _news(listener: ClientConnection) -> Any:
    """The next message that is not about how far it is, without its revision."""
    while (message := await _heard(listener))["type"] == "revision":
        continue
    del message["revision"]
    return message


async def test_listener_hears_status_hardware_and_progress(
    control_plane: RunningControlPlane,
) -> None:
    task = make_task(status=Status.BOOTING)
    await control_plane.put_task(task)
    async with await _authenticated(control_plane) as listener:
        inventory = make_inventory()

        def reported(task: Task) -> Task:
            return moved(task, Event.HARDWARE_REPORTED, NOW, hardware=inventory)

        await control_plane.change(task.task_id, reported)
        hardware, status = await _news(listener), await _news(listener)
        assert (hardware["type"], hardware["task_id"]) == ("hardware", task.task_id)
        assert hardware["hardware"]["boot_mode"] == "bios"
        expected = {"type": "status", "task_id": task.task_id, "status": "pending_approval"}
        assert status == expected

        installing = make_task(
            status=Status.INSTALLING,
            hardware=inventory,
            progress=(Progress(step="downloading", percent=42, timestamp=NOW, message="m"),),
        )
        await control_plane.put_task(installing)
        assert (await _news(listener))["status"] == "installing"
        assert await _news(listener) == {
            "type": "progress",
            "task_id": task.task_id,
            "percentage": 42,
            "stage": "downloading",
            "message": "m",
        }


async def test_listener_that_subscribed_hears_only_its_region_and_in_batches(
    control_plane: RunningControlPlane,
) -> None:
    async with await _authenticated(control_plane) as listener:
        answer = await _subscribed(listener, idc="dc2", batch=True)
        assert answer["type"] == "subscribed"
        await control_plane.put_task(make_task(task_id="one"))
        await control_plane.put_task(make_task(task_id="two", idc="dc2"))
        status, revision = await _heard(listener)
        assert (status["task_id"], status["status"]) == ("two", "pending")
        assert revision["revision"] >= status["revision"] > answer["revision"]


async def test_listener_goes_on_at_another_control_plane_where_it_was(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store, running(store) as first, running(store) as second:
        task = make_task()
        await first.put_task(task)
        async with await _authenticated(first) as listener:
            answer = await _subscribed(listener, batch=True)
        await first.change(task.task_id, lambda now: moved(now, Event.PREPARED, NOW))
        booting = await first.change(
            task.task_id, lambda now: moved(now, Event.BOOT_REQUESTED, NOW)
        )
        await second.seen(booting)
        async with await _authenticated(second) as listener:
            since = answer["revision"]
            assert await _subscribed(listener, batch=True, from_revision=since) == answer
            told = await _heard(listener)
        assert [each["status"] for each in told if "status" in each] == ["ready", "booting"]


async def test_listener_that_heard_of_what_is_not_there_reads_again(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    await control_plane.put_task(make_task())
    async with await _authenticated(control_plane) as listener:
        answer = await _subscribed(listener, from_revision=10**9)
        listed = await api.get("/api/v1/tasks")
        assert answer["type"] == "resync"
        assert int(listed.headers["lpmos-revision"]) >= answer["revision"]
        await control_plane.put_task(make_task(status=Status.READY))
        assert (await _news(listener))["status"] == "ready"


async def test_browser_is_known_by_its_session_cookie(
    control_plane: RunningControlPlane, anyone: httpx.AsyncClient
) -> None:
    await anyone.post("/api/v1/session", json={"token": control_plane.token})
    headers = {"Cookie": f"{COOKIE}={anyone.cookies[COOKIE]}", "Origin": control_plane.url}
    async with connect(_address(control_plane), additional_headers=headers) as listener:
        await control_plane.put_task(make_task())
        assert (await _news(listener))["type"] == "status"


async def test_session_that_is_signed_out_ends_its_connections(
    control_plane: RunningControlPlane, anyone: httpx.AsyncClient
) -> None:
    await anyone.post("/api/v1/session", json={"token": control_plane.token})
    headers = {"Cookie": f"{COOKIE}={anyone.cookies[COOKIE]}", "Origin": control_plane.url}
    async with connect(_address(control_plane), additional_headers=headers) as listener:
        assert (await _subscribed(listener))["type"] == "subscribed"
        await anyone.delete("/api/v1/session", headers={"Origin": control_plane.url})
        assert await _close_code(listener) == 4401
    async with connect(_address(control_plane), additional_headers=headers) as listener:
        assert await _close_code(listener) == 4401


async def test_cookie_from_another_sites_page_is_not_even_connected(
    control_plane: RunningControlPlane, anyone: httpx.AsyncClient
) -> None:
    await anyone.post("/api/v1/session", json={"token": control_plane.token})
    headers = {"Cookie": f"{COOKIE}={anyone.cookies[COOKIE]}", "Origin": "https://evil.example"}
    with pytest.raises(InvalidStatus) as refused:
        await connect(_address(control_plane), additional_headers=headers)
    assert refused.value.response.status_code == 403


async def test_cookie_without_an_origin_is_not_enough(
    control_plane: RunningControlPlane, anyone: httpx.AsyncClient
) -> None:
    await anyone.post("/api/v1/session", json={"token": control_plane.token})
    headers = {"Cookie": f"{COOKIE}={anyone.cookies[COOKIE]}"}
    async with connect(_address(control_plane), additional_headers=headers) as listener:
        await control_plane.put_task(make_task())
        assert await _close_code(listener) == 4408


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('{"type":"auth","token":"guess"}', 4401),
        ('{"type":"subscribe"}', 4401),
        ('{"type":"auth"}', 4400),
        ('{"type":"shout"}', 4400),
        ("{", 4400),
        ("[" * 5000, 4400),
        ("x" * 9000, 1009),
        ("x" * 20000, 1009),
    ],
)
async def test_first_message_without_a_valid_token_ends_it(
    control_plane: RunningControlPlane, message: str, code: int
) -> None:
    async with connect(_address(control_plane)) as listener:
        await control_plane.put_task(make_task())
        await listener.send(message)
        assert await _close_code(listener) == code


async def test_silent_listener_is_sent_away_and_hears_nothing(
    control_plane: RunningControlPlane,
) -> None:
    async with connect(_address(control_plane)) as listener:
        await control_plane.put_task(make_task())
        assert await _close_code(listener) == 4408


async def test_token_that_ends_ends_the_connection(control_plane: RunningControlPlane) -> None:
    token = control_plane.signer.issue("admin", "admin", timedelta(seconds=3))
    async with await _authenticated(control_plane, token) as listener:
        assert await _close_code(listener) == 4401


async def test_listener_that_talks_too_much_is_sent_away(
    control_plane: RunningControlPlane,
) -> None:
    async with await _authenticated(control_plane) as listener:
        for _ in range(21):
            await _say(listener, {"type": "subscribe"})
        assert await _close_code(listener) == 4429


async def test_bytes_instead_of_text_end_the_connection(
    control_plane: RunningControlPlane,
) -> None:
    async with await _authenticated(control_plane) as listener:
        await listener.send(b"\x00\x01")
        assert await _close_code(listener) == 4400


@pytest.mark.parametrize(
    "rubbish",
    [
        b"\x81\x05hello",  # not masked (RFC 6455 section 5.1)
        b"\xf1\x80\x00\x00\x00\x00",  # reserved bits
        b"\x83\x80\x00\x00\x00\x00",  # an unknown opcode
        b"\x81\x82\x00\x00\x00\x00\xff\xfe",  # not UTF-8
        b"\x89\xff" + b"\xff" * 8,  # an endless ping
        b"\x81\xff\x7f" + b"\xff" * 7 + b"\x00" * 40_000,  # a message without end
        b"GET / HTTP/1.1\r\n\r\n",
        bytes(range(256)) * 8,
    ],
)
async def test_rubbish_ends_its_own_connection_and_no_other(
    control_plane: RunningControlPlane, rubbish: bytes
) -> None:
    async with (
        await _authenticated(control_plane) as listener,
        await _authenticated(control_plane) as other,
    ):
        await _subscribed(other)
        listener.transport.write(rubbish)
        with pytest.raises(ConnectionClosed):
            async with asyncio.timeout(TIMEOUT_S):
                while True:
                    await listener.recv()
        await control_plane.put_task(make_task())
        assert (await _news(other))["type"] == "status"


async def test_clients_that_left_are_not_counted(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    async with await _authenticated(control_plane):
        assert "lpmos_websocket_clients 1.0" in await _metrics(api)
    async with asyncio.timeout(TIMEOUT_S):
        while "lpmos_websocket_clients 0.0" not in await _metrics(api):
            continue


async def test_listener_that_does_not_read_is_cut_off_and_the_others_hear_all(
    control_plane: RunningControlPlane, api: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader keeps up while the other's buffers are full, in the kernel and in the hub."""
    monkeypatch.setattr(control_plane.services.hub, "_stall_looks", 40)
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    narrow.setblocking(False)
    await asyncio.get_running_loop().sock_connect(narrow, ("127.0.0.1", control_plane.port))
    async with (
        await _authenticated(control_plane) as reader,
        connect(_address(control_plane), sock=narrow, max_queue=1) as slow,
    ):
        await _say(slow, {"type": "auth", "token": control_plane.token})
        assert await _heard(slow) == {"type": "ready"}
        since = (await _subscribed(slow))["revision"]
        await _subscribed(reader)
        slow.transport.pause_reading()
        for number in range(1000):
            disk = Disk(device="/dev/sda", size_bytes=1, kind="ssd", model=f"{number:04}" * 10_000)
            hardware = make_inventory(disks=(disk,))
            await control_plane.put_task(make_task(task_id=f"t{number}", hardware=hardware))
            assert {(await _news(reader))["type"] for _ in range(2)} == {"hardware", "status"}
            if number % 20 == 0 and "lpmos_websocket_clients 1.0" in await _metrics(api):
                break
        else:
            pytest.fail("the listener that does not read was never cut off")
        slow.transport.resume_reading()
        assert await _close_code(slow) == 4008
        async with await _authenticated(control_plane) as again:
            answer = await _subscribed(again, from_revision=since)
            assert answer["type"] in ("subscribed", "resync")


async def _metrics(api: httpx.AsyncClient) -> str:
    return (await api.get("/metrics")).text
