"""The live hub: who hears what, from where on, and who is cut off."""

import asyncio
from contextlib import ExitStack

import msgspec
import pytest

from lpmos.control.live import hub as live
from lpmos.control.live.hub import LiveHub
from lpmos.control.live.replay import Replay
from lpmos.control.live.subscriptions import Subscription
from lpmos.core.taskstore import logged, moved
from lpmos.model.access import Principal, Role
from lpmos.model.errors import TooBusy
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import AgentLease, Machine, UnmatchedReport
from lpmos.model.region import Heartbeat
from lpmos.model.task import Progress, Task
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_capabilities, make_inventory, make_task
from tests.support.followed_store import FollowedStore
from tests.support.live_listener import HeldSink, Message, live_plane
from tests.support.polling import until

PENDING = make_task()
FULL = 1 << 20
"""More in a socket's buffer than a client may have."""


def _after(task: Task, **fields: object) -> Task:
    return msgspec.structs.replace(task, **fields)


def _principal(subject: str = "ann", **fields: object) -> Principal:
    whole = Principal(subject=subject, roles=(Role.VIEWER,), expires_at=NOW, credential="session:1")
    return msgspec.structs.replace(whole, **fields)


def _progress(percent: float) -> tuple[Progress, ...]:
    return (Progress(step="downloading", percent=percent, timestamp=NOW),)


async def _something_written(sink: HeldSink) -> None:
    async def written() -> bool:
        return bool(sink.frames)

    await until(written)


async def test_hub_within_one_batch_keeps_the_newest_progress_and_every_status() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()):
            sink.unsent = FULL
            ready = moved(PENDING, Event.PREPARED, NOW)
            steps = (PENDING, _after(ready, progress=_progress(10)))
            await plane.tell(*steps, _after(ready, progress=_progress(11)))
            sink.unsent = 0
            plane.hub.flush()
        told = sink.read()
    assert [each.get("status", each.get("percentage")) for each in told] == [
        "pending",
        "ready",
        11,
        None,
    ]
    assert told[-1] == {"type": "revision", "revision": told[-2]["revision"]}


async def test_hub_sends_a_batch_as_one_frame_to_who_asked_for_it_and_single_ones_to_others() -> (
    None
):
    async with live_plane() as plane:
        single, batched = HeldSink(), HeldSink()
        with (
            plane.listening(single, _principal()),
            plane.listening(batched, _principal()) as client,
        ):
            plane.hub.subscribe(client, Subscription(batch=True))
            batched.read()
            single.unsent = batched.unsent = FULL
            await plane.tell(*(_after(PENDING, task_id=f"task {n}") for n in range(9)))
            single.unsent = batched.unsent = 0
            plane.hub.flush()
        assert len(batched.frames) == 1
        assert len(single.frames) == 10
        assert batched.read() == single.read()


async def test_hub_tells_by_itself_soon_after_a_change() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()):
            await plane.catch_up(plane.put(PENDING))
            await _something_written(sink)
        assert [message["type"] for message in sink.read()] == ["status", "revision"]


async def test_hub_measures_how_long_a_change_takes_to_the_last_client() -> None:
    def count() -> float:
        (metric,) = plane.hub.delivery.collect()
        return sum(each.value for each in metric.samples if each.name.endswith("_count"))

    async def measured() -> bool:
        return count() > before

    async with live_plane() as plane:
        with ExitStack() as stack:
            for number in range(2 * live.LANES):
                stack.enter_context(plane.listening(HeldSink(), _principal(f"user {number}")))
            before = count()
            await plane.catch_up(plane.put(PENDING))
            await until(measured)


async def test_hub_measures_nothing_where_clients_are_told_and_nothing_has_changed() -> None:
    async with live_plane() as plane:
        with ExitStack() as stack:
            sinks = [HeldSink() for _ in range(live.LANES)]  # one in each lane
            for number, sink in enumerate(sinks):
                client = stack.enter_context(plane.listening(sink, _principal(f"user {number}")))
                plane.hub.identify(client, _principal(f"user {number}", tenant="acme"))
            for sink in sinks:
                await _something_written(sink)
            (metric,) = plane.hub.delivery.collect()
        assert {each.value for each in metric.samples if each.name.endswith("_count")} == {0}


@pytest.mark.parametrize(
    ("subscription", "heard"),
    [
        (Subscription(), {"one", "two", "three"}),
        (Subscription(idc="dc2"), {"two"}),
        (Subscription(idc=("dc2", "dc3")), {"two", "three"}),
        (Subscription(task_id="one"), {"one"}),
        (Subscription(task_id=("one", "two")), {"one", "two"}),
        (Subscription(idc="dc2", task_id="one"), set()),
        (Subscription(types=("progress",)), set()),
        (Subscription(types=("status", "region")), {"one", "two", "three"}),
    ],
)
async def test_hub_sends_only_what_a_client_subscribed_to(
    subscription: Subscription, heard: set[str]
) -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()) as client:
            plane.hub.subscribe(client, subscription)
            await plane.tell(
                _after(PENDING, task_id="one"),
                _after(PENDING, task_id="two", idc="dc2"),
                _after(PENDING, task_id="three", idc="dc3"),
            )
        assert {each["task_id"] for each in sink.read() if "task_id" in each} == heard


async def test_hub_tells_a_tenants_user_of_its_tenants_tasks_only() -> None:
    async with live_plane() as plane:
        own, provider = HeldSink(), HeldSink()
        with (
            plane.listening(own, _principal(tenant="acme")),
            plane.listening(provider, _principal()),
        ):
            await plane.tell(
                _after(PENDING, task_id="acme's", tenant="acme"),
                _after(PENDING, task_id="other's", tenant="other", sn="SN-2"),
                _after(PENDING, task_id="provider's", sn="SN-3"),
            )
        assert [each["task_id"] for each in own.news()] == ["acme's"]
        assert len(provider.news()) == 3


async def test_hub_tells_of_regions_agents_machines_and_to_the_provider_of_unmatched_reports() -> (
    None
):
    async with live_plane() as plane:
        tenants, provider = HeldSink(), HeldSink()
        with (
            plane.listening(tenants, _principal(tenant="acme")),
            plane.listening(provider, _principal()),
        ):
            beat = records.encode(Heartbeat(idc="dc1", identity="one", at=NOW, services={}))
            for _ in range(2):  # it beats every few seconds
                plane.store.put(keys.heartbeat("dc1"), value=beat)
            await plane.catch_up()
            plane.hub.flush()
            plane.store.put(keys.capabilities("dc1"), value=records.encode(make_capabilities()))
            plane.store.put(keys.unmatched("dc1", NOW, MAC), value=records.encode(_report()))
            await plane.catch_up()
            plane.hub.flush()
            plane.store.delete(keys.heartbeat("dc1"))
            plane.store.delete(keys.unmatched("dc1", NOW, MAC))
            await plane.catch_up()
            plane.hub.flush()
        told = [{k: v for k, v in each.items() if k != "revision"} for each in provider.news()]
        assert told == [
            {"type": "region", "idc": "dc1", "online": True},
            {"type": "region", "idc": "dc1", "online": True},
            {"type": "unmatched", "idc": "dc1", "count": 1},
            {"type": "region", "idc": "dc1", "online": False},
            {"type": "unmatched", "idc": "dc1", "count": 0},
        ]
        assert {message["type"] for message in tenants.news()} == {"region"}


async def test_machine_that_goes_to_another_tenant_is_gone_for_the_first() -> None:
    async with live_plane() as plane:
        first, second = HeldSink(), HeldSink()
        with (
            plane.listening(first, _principal(tenant="first")),
            plane.listening(second, _principal(tenant="second")),
        ):
            key = keys.meta("dc1", "SN-1")
            for tenant in ("first", "second"):
                plane.store.put(key, value=records.encode(_machine(tenant)))
                await plane.catch_up()
                plane.hub.flush()
            plane.store.put(keys.lease("dc1", "SN-1"), value=records.encode(LEASE))
            plane.store.put(keys.lease("dc1", "SN-1"), value=records.encode(LEASE))
            plane.store.delete(keys.lease("dc1", "SN-1"))
            plane.store.delete(key)
            await plane.catch_up()
            plane.hub.flush()
    assert [_in_short(each) for each in first.news()] == ["machine", "machine removed"]
    assert [_in_short(each) for each in second.news()][-2:] == ["agent", "machine removed"]


LEASE = AgentLease(agent_id="one", mac=MAC, at=NOW)


def _machine(tenant: str) -> Machine:
    return Machine(
        idc="dc1", sn="SN-1", macs=(MAC,), tenant=tenant, first_seen_at=NOW, updated_at=NOW
    )


def _in_short(message: Message) -> str:
    return f"{message['type']} removed" if message.get("removed") else str(message["type"])


def _report() -> UnmatchedReport:
    return UnmatchedReport(
        mac_address=MAC, region="dc1", hardware=make_inventory(), received_at=NOW, error="no task"
    )


async def test_client_that_comes_back_hears_what_it_missed_and_then_goes_on() -> None:
    async with live_plane() as plane:
        since = plane.store.revision
        await plane.tell(PENDING, moved(PENDING, Event.PREPARED, NOW))
        sink = HeldSink()
        with plane.listening(sink, _principal()) as client:
            plane.hub.subscribe(client, Subscription(from_revision=since))
            await plane.tell(_after(PENDING, task_id="next", sn="SN-2"))
        told = sink.read()
    assert told[0] == {"type": "subscribed", "revision": since}
    assert [each["status"] for each in told if "status" in each] == ["pending", "ready", "pending"]


async def test_client_that_missed_much_gets_it_by_and_by_without_anything_new_happening() -> None:
    async with live_plane(replay=Replay(chunk_messages=1)) as plane:
        since = plane.store.revision
        await plane.tell(*(_after(PENDING, task_id=f"task {n}") for n in range(20)))
        sink = HeldSink()
        with plane.hub.client(sink, _principal()) as client:
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
            with plane.listening(sink, _principal()) as client:
                plane.hub.subscribe(client, Subscription(from_revision=asked))
                assert sink.read() == [{"type": "resync", "revision": present}]
                await plane.tell(_after(PENDING, task_id=f"after {asked}", sn="SN-2"))
                assert [each["type"] for each in sink.news()] == ["status"]


async def test_history_that_is_lost_makes_every_client_read_again() -> None:
    async with live_plane() as plane:
        await plane.tell(PENDING)
        sink = HeldSink()
        with plane.listening(sink, _principal()):
            plane.put(_after(PENDING, task_id="b", sn="SN-2"))
            plane.store.forget_history()
            await plane.catch_up()
            await _something_written(sink)
        assert sink.read() == [{"type": "resync", "revision": plane.store.revision}]


async def test_store_that_went_back_makes_every_client_read_again_whatever_it_heard() -> None:
    async with live_plane(silence_s=0.01) as plane:
        await plane.tell(PENDING, moved(PENDING, Event.PREPARED, NOW))
        heard = plane.store.revision
        sink, back = HeldSink(), HeldSink()
        with plane.listening(sink, _principal()), plane.hub.client(back, _principal()) as client:
            plane.store.go_back(1)
            await _something_written(sink)
            assert sink.read() == [{"type": "resync", "revision": 1}]
            while plane.store.revision <= heard:
                plane.gate.let_through(plane.put(_after(PENDING, task_id="b", sn="SN-2")))
            await plane.catch_up()
            plane.hub.subscribe(client, Subscription(from_revision=heard))
            assert back.read() == [{"type": "resync", "revision": plane.store.revision}]
            plane.hub.flush()
            assert [each["task_id"] for each in sink.news()] == ["b"]


async def test_change_of_a_subscription_goes_on_where_the_client_is() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()) as client:
            await plane.tell(PENDING)
            heard_until = sink.read()[-1]["revision"]
            sink.unsent = FULL
            await plane.tell(_after(PENDING, task_id="b", sn="SN-2"))
            await plane.tell(_after(PENDING, task_id="c", idc="dc2"))
            sink.unsent = 0
            plane.hub.subscribe(client, Subscription(idc="dc2"))
            plane.hub.flush()
        told = sink.read()
    assert told[0] == {"type": "subscribed", "revision": heard_until}
    assert [each["task_id"] for each in told if "task_id" in each] == ["c"]


async def test_slow_client_gets_nothing_more_until_it_reads_and_then_the_newest_only() -> None:
    async with live_plane() as plane:
        slow, quick = HeldSink(), HeldSink()
        with plane.listening(slow, _principal()), plane.listening(quick, _principal()):
            slow.unsent = FULL
            installing = _after(PENDING, status=Status.INSTALLING)
            for percent in range(50):
                await plane.tell(_after(installing, progress=_progress(percent)))
            assert slow.frames == []
            heard = [each.get("percentage") for each in quick.news()]
            assert heard == [None, None, *range(50)]
            slow.unsent = 0
            plane.hub.flush()
    assert [each.get("percentage") for each in slow.news()] == [None, None, 49]


async def test_client_of_another_tenant_now_reads_again_and_hears_only_that() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()) as client:
            plane.hub.identify(client, _principal())
            plane.hub.flush()
            assert sink.read() == []
            plane.hub.identify(client, _principal(tenant="acme"))
            plane.hub.flush()
            assert [message["type"] for message in sink.read()] == ["resync"]
            await plane.tell(PENDING, _after(PENDING, task_id="b", sn="SN-2", tenant="acme"))
            assert [each["task_id"] for each in sink.news()] == ["b"]


async def test_client_that_hears_nothing_is_told_from_time_to_time_how_far_it_is() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, _principal()) as client:
            plane.hub.subscribe(client, Subscription(task_id="another"))
            sink.read()
            await plane.tell(PENDING)
            assert sink.read() == []
            client.stated_at -= live.STATED_EVERY_S
            await plane.tell(_after(PENDING, task_id="b"))
            assert sink.read() == [{"type": "revision", "revision": plane.store.revision}]


async def test_client_that_has_not_said_what_it_wants_hears_all_of_it_once_it_listens() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.hub.client(sink, _principal()) as client:
            await plane.tell(PENDING)
            assert sink.frames == []
            plane.hub.listen(client)
            plane.hub.flush()
        assert [message["type"] for message in sink.news()] == ["status"]


async def test_hub_takes_so_many_clients_of_one_user_and_in_all() -> None:
    async with live_plane() as plane:
        with ExitStack() as stack:
            for _ in range(live.MAX_CLIENTS_PER_USER):
                stack.enter_context(plane.hub.client(HeldSink(), _principal()))
            with pytest.raises(TooBusy, match="ann"):
                stack.enter_context(plane.hub.client(HeldSink(), _principal()))
            for number in range(live.MAX_CLIENTS - live.MAX_CLIENTS_PER_USER):
                stack.enter_context(plane.hub.client(HeldSink(), _principal(f"user {number}")))
            with pytest.raises(TooBusy, match="too many"):
                stack.enter_context(plane.hub.client(HeldSink(), _principal("ben")))
        assert plane.hub.count() == 0
        with plane.hub.client(HeldSink(), _principal()):
            assert plane.hub.count() == 1


async def test_hub_takes_so_many_who_have_not_said_who_they_are() -> None:
    async with live_plane() as plane:
        with ExitStack() as stack:
            for _ in range(live.MAX_ARRIVALS):
                stack.enter_context(plane.hub.arrival())
            with pytest.raises(TooBusy):
                stack.enter_context(plane.hub.arrival())
        with plane.hub.arrival():
            pass


async def test_revision_that_another_control_plane_knows_already_is_waited_for() -> None:
    async with live_plane() as plane:
        hub: LiveHub = plane.hub
        revision = plane.put(PENDING)
        waiting = asyncio.create_task(hub.reach(revision))
        await plane.catch_up(revision)
        async with asyncio.timeout(30):
            await waiting


async def test_hub_tells_a_log_only_to_who_asks_for_that_of_a_named_task() -> None:
    async with live_plane() as plane:
        sinks = HeldSink(), HeldSink(), HeldSink(), HeldSink()
        wanted = (
            Subscription(task_id=PENDING.task_id, types=("log",)),
            Subscription(task_id=PENDING.task_id),
            Subscription(types=("log",)),
            Subscription(task_id="another", types=("log",)),
        )
        await plane.tell(PENDING)
        with ExitStack() as stack:
            for sink, subscription in zip(sinks, wanted, strict=True):
                client = stack.enter_context(plane.hub.client(sink, _principal()))
                plane.hub.subscribe(client, subscription)
            await plane.tell(logged(PENDING, NOW, "[INFO] a line"))
        heard = [[each for each in sink.news() if each["type"] == "log"] for sink in sinks]
        assert [len(each) for each in heard] == [1, 0, 0, 0]
        ((told,), *_) = heard
        assert (told["first"], [line[-6:] for line in told["lines"]]) == (1, ["a line"])


async def test_hub_that_nobody_follows_a_log_of_keeps_none() -> None:
    async with live_plane() as plane:
        await plane.tell(PENDING)
        wanted = Subscription(task_id=PENDING.task_id, types=("log",))
        with plane.hub.client(HeldSink(), _principal()) as client:
            plane.hub.subscribe(client, wanted)
            plane.hub.subscribe(client, Subscription(types=("status",)))
        sink = HeldSink()
        revision = plane.hub.revision()
        await plane.tell(logged(PENDING, NOW, "[INFO] a line"))
        with plane.hub.client(sink, _principal()) as client:
            again = msgspec.structs.replace(wanted, from_revision=revision)
            plane.hub.subscribe(client, again)
            plane.hub.flush()
        assert [each["type"] for each in sink.news()] == ["subscribed"]


async def test_hub_tells_another_tenants_user_nothing_of_a_log() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        await plane.tell(PENDING)
        with plane.hub.client(sink, _principal(tenant="a")) as client:
            plane.hub.subscribe(client, Subscription(task_id=PENDING.task_id, types=("log",)))
            await plane.tell(logged(PENDING, NOW, "[INFO] a line"))
        assert [each["type"] for each in sink.news()] == ["subscribed"]
