"""Who is cut off from the live messages: who takes nothing, and nobody who reads."""

import asyncio

import pytest
from msgspec.structs import replace

from lpmos.control.live.replay import Replay
from tests.support.builders import make_task
from tests.support.live_listener import FULL, HeldSink, live_plane, viewer

PENDING = make_task()


async def test_client_that_takes_nothing_is_cut_off_and_no_other() -> None:
    async with live_plane(stall_looks=1) as plane:
        slow, quick = HeldSink(), HeldSink()
        with (
            plane.listening(slow, viewer()) as stalled,
            plane.listening(quick, viewer()) as keeping_up,
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
        with plane.listening(sink, viewer()) as client:
            await plane.tell(PENDING)
            sink.read()
            await plane.tell(replace(PENDING, task_id="b", sn="SN-2"))
            sink.read()
            await plane.catch_up(plane.put(replace(PENDING, task_id="c", sn="SN-3")))
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
        with plane.listening(sink, viewer()) as client:
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
        with plane.listening(sink, viewer()) as client:
            sink.unsent = FULL
            await plane.tell(PENDING)
            match lost:
                case "pushed out":
                    await plane.tell(*(replace(PENDING, task_id=f"t{n}") for n in range(9)))
                case "listed again":
                    plane.put(replace(PENDING, task_id="b", sn="SN-2"))
                    plane.store.forget_history()
                    await plane.catch_up()
                case _:
                    plane.hub.identify(client, viewer(tenant="acme"))
            plane.hub.flush()
            assert not client.lagged.is_set()
            sink.unsent = 0
            plane.hub.flush()
    assert sink.read() == [{"type": "resync", "revision": plane.store.revision}]
