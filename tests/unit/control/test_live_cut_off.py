"""Who is cut off from the live messages: who takes nothing, and nobody who reads."""

import asyncio

import msgspec
import pytest

from lpmos.control.live.replay import Replay
from lpmos.model.access import Principal, Role
from lpmos.model.task import Task
from tests.support.builders import NOW, make_task
from tests.support.live_listener import HeldSink, live_plane

PENDING = make_task()
FULL = 1 << 20
"""More in a socket's buffer than a client may have."""


def _after(task: Task, **fields: object) -> Task:
    return msgspec.structs.replace(task, **fields)


def _principal(**fields: object) -> Principal:
    whole = Principal(subject="ann", roles=(Role.VIEWER,), expires_at=NOW, credential="session:1")
    return msgspec.structs.replace(whole, **fields)


async def test_client_that_takes_nothing_is_cut_off_and_no_other() -> None:
    async with live_plane(stall_looks=1) as plane:
        slow, quick = HeldSink(), HeldSink()
        with (
            plane.listening(slow, _principal()) as stalled,
            plane.listening(quick, _principal()) as keeping_up,
        ):
            slow.unsent = FULL
            await plane.tell(PENDING)
            async with asyncio.timeout(30):
                await stalled.lagged.wait()
            assert not keeping_up.lagged.is_set()
            assert [message["type"] for message in quick.news()] == ["status"]


async def test_client_that_takes_a_little_is_never_cut_off() -> None:
    async with live_plane(stall_looks=2) as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()) as client:
            await plane.tell(PENDING)
            sink.read()
            await plane.tell(_after(PENDING, task_id="b", sn="SN-2"))
            sink.read()
            await plane.catch_up(plane.put(_after(PENDING, task_id="c", sn="SN-3")))
            for taken in range(100):
                sink.unsent = FULL - taken // 2  # it takes something every second time
                plane.hub.flush()
            assert not client.lagged.is_set()
            sink.unsent = 0
            plane.hub.flush()
    assert [each["task_id"] for each in sink.news()] == ["c"]


async def test_client_is_cut_off_after_so_many_looks_whatever_the_time_between_them() -> None:
    async with live_plane(stall_looks=3) as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()) as client:
            sink.unsent = FULL
            await plane.catch_up(plane.put(PENDING))
            for _ in range(2):
                plane.hub.flush()
            assert not client.lagged.is_set()
            for _ in range(2):
                plane.hub.flush()
            assert client.lagged.is_set()


@pytest.mark.parametrize("lost", ["pushed out", "listed again", "another role"])
async def test_client_whose_place_is_gone_while_its_socket_is_full_reads_again(lost: str) -> None:
    async with live_plane(replay=Replay(max_messages=4)) as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()) as client:
            sink.unsent = FULL
            await plane.tell(PENDING)
            match lost:
                case "pushed out":
                    await plane.tell(*(_after(PENDING, task_id=f"t{n}") for n in range(9)))
                case "listed again":
                    plane.put(_after(PENDING, task_id="b", sn="SN-2"))
                    plane.store.forget_history()
                    await plane.catch_up()
                case _:
                    plane.hub.identify(client, _principal(tenant="acme"))
            plane.hub.flush()
            assert not client.lagged.is_set()
            sink.unsent = 0
            plane.hub.flush()
    assert sink.read() == [{"type": "resync", "revision": plane.store.revision}]
