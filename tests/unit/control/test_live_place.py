"""From where on a client of the live hub hears, and when it has to read again."""

import asyncio

from msgspec.structs import replace

from lpmos.control.live import hub as live
from lpmos.control.live.hub import LiveHub
from lpmos.control.live.replay import Replay
from lpmos.control.live.subscriptions import Subscription
from lpmos.core.taskstore import moved
from lpmos.model.lifecycle import Event
from lpmos.store import keys, records
from tests.support.builders import NOW, make_task
from tests.support.followed_store import FollowedStore
from tests.support.live_listener import FULL, HeldSink, live_plane, viewer
from tests.support.polling import until

PENDING = make_task()


async def test_client_that_comes_back_hears_what_it_missed_and_then_goes_on() -> None:
    async with live_plane() as plane:
        since = plane.store.revision
        await plane.tell(PENDING, moved(PENDING, Event.PREPARED, NOW))
        sink = HeldSink()
        with plane.listening(sink, viewer()) as client:
            plane.hub.subscribe(client, Subscription(from_revision=since))
            await plane.tell(replace(PENDING, task_id="next", sn="SN-2"))
        told = sink.read()
    assert told[0] == {"type": "subscribed", "revision": since}
    assert [each["status"] for each in told if "status" in each] == ["pending", "ready", "pending"]


async def test_client_that_missed_much_gets_it_by_and_by_without_anything_new_happening() -> None:
    async with live_plane(replay=Replay(chunk_messages=1)) as plane:
        since = plane.store.revision
        await plane.tell(*(replace(PENDING, task_id=f"task {n}") for n in range(20)))
        sink = HeldSink()
        with plane.hub.client(sink, viewer()) as client:
            plane.hub.subscribe(client, Subscription(from_revision=since, batch=True))

            async def all_came() -> bool:
                return len(sink.frames) == 21

            await until(all_came)
        assert [each["task_id"] for each in sink.news()[1:]] == [f"task {n}" for n in range(20)]


async def test_client_whose_revision_is_unknown_here_reads_again_and_goes_on_from_there() -> None:
    store = FollowedStore()
    store.put(keys.task("dc1", "SN-1"), value=records.encode(PENDING))
    async with live_plane(store) as plane:
        for asked in (0, store.revision - 1, 10**12):
            present = store.revision
            sink = HeldSink()
            with plane.listening(sink, viewer()) as client:
                plane.hub.subscribe(client, Subscription(from_revision=asked))
                assert sink.read() == [{"type": "resync", "revision": present}]
                await plane.tell(replace(PENDING, task_id=f"after {asked}", sn="SN-2"))
                assert [each["type"] for each in sink.news()] == ["status"]


async def test_history_that_is_lost_makes_every_client_read_again() -> None:
    async with live_plane() as plane:
        await plane.tell(PENDING)
        sink = HeldSink()
        with plane.listening(sink, viewer()):
            plane.put(replace(PENDING, task_id="b", sn="SN-2"))
            plane.store.forget_history()
            await plane.catch_up()
            await sink.written()
        assert sink.read() == [{"type": "resync", "revision": plane.store.revision}]


async def test_store_that_went_back_makes_every_client_read_again_whatever_it_heard() -> None:
    async with live_plane(silence_s=0.01) as plane:
        await plane.tell(PENDING, moved(PENDING, Event.PREPARED, NOW))
        heard = plane.store.revision
        sink, back = HeldSink(), HeldSink()
        with plane.listening(sink, viewer()), plane.hub.client(back, viewer()) as client:
            plane.store.go_back(1)
            await sink.written()
            assert sink.read() == [{"type": "resync", "revision": 1}]
            while plane.store.revision <= heard:
                plane.gate.let_through(plane.put(replace(PENDING, task_id="b", sn="SN-2")))
            await plane.catch_up()
            plane.hub.subscribe(client, Subscription(from_revision=heard))
            assert back.read() == [{"type": "resync", "revision": plane.store.revision}]
            plane.hub.flush()
            assert [each["task_id"] for each in sink.news()] == ["b"]


async def test_change_of_a_subscription_goes_on_where_the_client_is() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, viewer()) as client:
            await plane.tell(PENDING)
            heard_until = sink.read()[-1]["revision"]
            sink.unsent = FULL
            await plane.tell(replace(PENDING, task_id="b", sn="SN-2"))
            await plane.tell(replace(PENDING, task_id="c", idc="dc2"))
            sink.unsent = 0
            plane.hub.subscribe(client, Subscription(idc="dc2"))
            plane.hub.flush()
        told = sink.read()
    assert told[0] == {"type": "subscribed", "revision": heard_until}
    assert [each["task_id"] for each in told if "task_id" in each] == ["c"]


async def test_client_of_another_tenant_now_reads_again_and_hears_only_that() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, viewer()) as client:
            plane.hub.identify(client, viewer())
            plane.hub.flush()
            assert sink.read() == []
            plane.hub.identify(client, viewer(tenant="acme"))
            plane.hub.flush()
            assert [message["type"] for message in sink.read()] == ["resync"]
            await plane.tell(PENDING, replace(PENDING, task_id="b", sn="SN-2", tenant="acme"))
            assert [each["task_id"] for each in sink.news()] == ["b"]


async def test_client_that_hears_nothing_is_told_from_time_to_time_how_far_it_is() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, viewer()) as client:
            plane.hub.subscribe(client, Subscription(task_id="another"))
            sink.read()
            await plane.tell(PENDING)
            assert sink.read() == []
            client.stated_at -= live.STATED_EVERY_S
            await plane.tell(replace(PENDING, task_id="b"))
            assert sink.read() == [{"type": "revision", "revision": plane.store.revision}]


async def test_revision_that_another_control_plane_knows_already_is_waited_for() -> None:
    async with live_plane() as plane:
        hub: LiveHub = plane.hub
        revision = plane.put(PENDING)
        waiting = asyncio.create_task(hub.reach(revision))
        await plane.catch_up(revision)
        async with asyncio.timeout(30):
            await waiting
