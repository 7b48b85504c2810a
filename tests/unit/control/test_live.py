"""The live hub: who hears what, and how many it takes."""

from contextlib import ExitStack

import pytest
from msgspec.structs import replace

from lpmos.control.live import hub as live
from lpmos.control.live.subscriptions import Subscription
from lpmos.core.taskstore import moved
from lpmos.model.errors import TooBusy
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import AgentLease, Machine, UnmatchedReport
from lpmos.model.region import Heartbeat
from lpmos.model.task import Progress
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_capabilities, make_inventory, make_task
from tests.support.live_listener import FULL, HeldSink, Message, live_plane, viewer
from tests.support.polling import until

PENDING = make_task()


def _progress(percent: float) -> tuple[Progress, ...]:
    return (Progress(step="downloading", percent=percent, timestamp=NOW),)


async def test_hub_within_one_batch_keeps_the_newest_progress_and_every_status() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, viewer()):
            sink.unsent = FULL
            ready = moved(PENDING, Event.PREPARED, NOW)
            steps = (PENDING, replace(ready, progress=_progress(10)))
            await plane.tell(*steps, replace(ready, progress=_progress(11)))
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
            plane.listening(single, viewer()),
            plane.listening(batched, viewer()) as client,
        ):
            plane.hub.subscribe(client, Subscription(batch=True))
            batched.read()
            single.unsent = batched.unsent = FULL
            await plane.tell(*(replace(PENDING, task_id=f"task {n}") for n in range(9)))
            single.unsent = batched.unsent = 0
            plane.hub.flush()
        assert len(batched.frames) == 1
        assert len(single.frames) == 10
        assert batched.read() == single.read()


async def test_hub_tells_by_itself_soon_after_a_change() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.listening(sink, viewer()):
            await plane.catch_up(plane.put(PENDING))
            await sink.written()
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
                stack.enter_context(plane.listening(HeldSink(), viewer(f"user {number}")))
            before = count()
            await plane.catch_up(plane.put(PENDING))
            await until(measured)


async def test_hub_measures_nothing_where_clients_are_told_and_nothing_has_changed() -> None:
    async with live_plane() as plane:
        with ExitStack() as stack:
            sinks = [HeldSink() for _ in range(live.LANES)]  # one in each lane
            for number, sink in enumerate(sinks):
                client = stack.enter_context(plane.listening(sink, viewer(f"user {number}")))
                plane.hub.identify(client, viewer(f"user {number}", tenant="acme"))
            for sink in sinks:
                await sink.written()
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
        with plane.listening(sink, viewer()) as client:
            plane.hub.subscribe(client, subscription)
            await plane.tell(
                replace(PENDING, task_id="one"),
                replace(PENDING, task_id="two", idc="dc2"),
                replace(PENDING, task_id="three", idc="dc3"),
            )
        assert {each["task_id"] for each in sink.read() if "task_id" in each} == heard


async def test_hub_tells_a_tenants_user_of_its_tenants_tasks_only() -> None:
    async with live_plane() as plane:
        own, provider = HeldSink(), HeldSink()
        with (
            plane.listening(own, viewer(tenant="acme")),
            plane.listening(provider, viewer()),
        ):
            await plane.tell(
                replace(PENDING, task_id="acme's", tenant="acme"),
                replace(PENDING, task_id="other's", tenant="other", sn="SN-2"),
                replace(PENDING, task_id="provider's", sn="SN-3"),
            )
        assert [each["task_id"] for each in own.news()] == ["acme's"]
        assert len(provider.news()) == 3


async def test_hub_tells_of_regions_agents_machines_and_to_the_provider_of_unmatched_reports() -> (
    None
):
    async with live_plane() as plane:
        tenants, provider = HeldSink(), HeldSink()
        with (
            plane.listening(tenants, viewer(tenant="acme")),
            plane.listening(provider, viewer()),
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
            plane.listening(first, viewer(tenant="first")),
            plane.listening(second, viewer(tenant="second")),
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


async def test_slow_client_gets_nothing_more_until_it_reads_and_then_the_newest_only() -> None:
    async with live_plane() as plane:
        slow, quick = HeldSink(), HeldSink()
        with plane.listening(slow, viewer()), plane.listening(quick, viewer()):
            slow.unsent = FULL
            installing = replace(PENDING, status=Status.INSTALLING)
            for percent in range(50):
                await plane.tell(replace(installing, progress=_progress(percent)))
            assert slow.frames == []
            heard = [each.get("percentage") for each in quick.news()]
            assert heard == [None, None, *range(50)]
            slow.unsent = 0
            plane.hub.flush()
    assert [each.get("percentage") for each in slow.news()] == [None, None, 49]


async def test_client_that_has_not_said_what_it_wants_hears_all_of_it_once_it_listens() -> None:
    async with live_plane() as plane:
        sink = HeldSink()
        with plane.hub.client(sink, viewer()) as client:
            await plane.tell(PENDING)
            assert sink.frames == []
            plane.hub.listen(client)
            plane.hub.flush()
        assert [message["type"] for message in sink.news()] == ["status"]


async def test_hub_takes_so_many_clients_of_one_user_and_in_all() -> None:
    async with live_plane() as plane:
        with ExitStack() as stack:
            for _ in range(live.MAX_CLIENTS_PER_USER):
                stack.enter_context(plane.hub.client(HeldSink(), viewer()))
            with pytest.raises(TooBusy, match="ann"):
                stack.enter_context(plane.hub.client(HeldSink(), viewer()))
            for number in range(live.MAX_CLIENTS - live.MAX_CLIENTS_PER_USER):
                stack.enter_context(plane.hub.client(HeldSink(), viewer(f"user {number}")))
            with pytest.raises(TooBusy, match="too many"):
                stack.enter_context(plane.hub.client(HeldSink(), viewer("ben")))
        assert plane.hub.count() == 0
        with plane.hub.client(HeldSink(), viewer()):
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
