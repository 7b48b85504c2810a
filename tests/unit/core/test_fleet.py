"""The fleet over a real mirror of the embedded store: what it shows, and what cannot harm it."""

import asyncio

import msgspec
from structlog.testing import capture_logs

from lpmos.core.fleet import Fleet, TaskChange
from lpmos.core.taskindex import TaskQuery
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine, UnmatchedReport
from lpmos.store import keys, records
from lpmos.store.mirror import Mirror
from tests.support.builders import MAC, NOW, actor, make_inventory, make_task
from tests.support.followed_store import FollowedStore
from tests.support.following import following
from tests.unit.core.conftest import TIMEOUT_S, World

OTHER_MAC = "52:54:00:00:00:02"


async def _put(world: World, key: str, document: msgspec.Struct) -> None:
    await world.store.put(key, records.encode(document))
    await world.synced()


def _listed(world: World) -> list[str]:
    return [task.task_id for task in world.fleet.tasks(TaskQuery())[0]]


async def test_task_is_found_by_id_machine_and_mac(world: World) -> None:
    task = await world.create()
    assert world.fleet.task(task.task_id) == task
    assert world.fleet.current_task("dc1", "SN-1") == task
    assert world.fleet.task_by_mac("dc1", MAC) == task
    assert list(world.fleet.current_tasks()) == [task]


async def test_machines_without_a_task_are_counted_once_as_they_come(world: World) -> None:
    report = UnmatchedReport(
        mac_address=MAC,
        region="dc1",
        sn=None,
        hardware=make_inventory(),
        received_at=NOW,
        error="no task for this machine",
    )
    key = keys.unmatched("dc1", NOW, MAC)
    await _put(world, key, report)
    await _put(world, key, report)
    assert world.fleet.unmatched_arrived == {"dc1": 1}
    await world.store.delete(key)
    await _put(world, keys.unmatched("dc1", NOW, OTHER_MAC), report)
    assert world.fleet.unmatched_counts() == {"dc1": 1}
    assert world.fleet.unmatched_arrived == {"dc1": 2}
    mirror = Mirror(world.store, keys.ROOT)
    another = Fleet(mirror)
    async with following(mirror):
        assert another.unmatched_counts() == {"dc1": 1}
    assert another.unmatched_arrived == {}


async def test_new_task_of_a_machine_leaves_the_past_one_in_the_list(world: World) -> None:
    past = await world.task_that_is(Status.CANCELLED)
    present = await world.create()
    assert _listed(world) == [present.task_id, past.task_id]
    assert list(world.fleet.current_tasks()) == [present]
    counts = world.fleet.counts("dc1")
    assert (counts[Status.CANCELLED], counts[Status.PENDING]) == (1, 1)


async def test_past_task_whose_record_is_deleted_is_gone(world: World) -> None:
    past = await world.task_that_is(Status.CANCELLED)
    present = await world.create()
    await world.store.delete(keys.history("dc1", "SN-1", past.task_id))
    await world.synced()
    assert _listed(world) == [present.task_id]
    assert sum(world.fleet.counts().values()) == 1


async def test_task_whose_record_is_deleted_is_gone_with_its_mac(world: World) -> None:
    await world.create()
    await world.store.delete(keys.task("dc1", "SN-1"))
    await world.synced()
    assert _listed(world) == []
    assert world.fleet.task_by_mac("dc1", MAC) is None
    assert sum(world.fleet.counts().values()) == 0


async def test_machine_is_found_by_each_of_its_macs_until_it_has_them_no_more(
    world: World,
) -> None:
    machine = Machine(
        idc="dc1", sn="SN-1", macs=(MAC, OTHER_MAC), first_seen_at=NOW, updated_at=NOW
    )
    await _put(world, keys.meta("dc1", "SN-1"), machine)
    assert world.fleet.machine_by_mac("dc1", OTHER_MAC) == machine
    await _put(world, keys.meta("dc1", "SN-1"), msgspec.structs.replace(machine, macs=(MAC,)))
    assert world.fleet.machine_by_mac("dc1", OTHER_MAC) is None
    assert world.fleet.machine_by_mac("dc1", MAC) is not None


async def test_region_is_known_by_what_it_offers_and_offline_without_a_heartbeat(
    world: World,
) -> None:
    (region,) = world.fleet.regions()
    assert (region.idc, region.online) == ("dc1", False)
    assert region.capabilities is not None
    assert world.fleet.region("dc9").capabilities is None


async def test_damaged_record_is_left_out_and_hides_no_other(world: World) -> None:
    await world.store.put(keys.task("dc1", "SN-0"), b"not a task")
    task = await world.create()
    assert _listed(world) == [task.task_id]


async def test_record_that_cannot_be_applied_is_logged_and_ends_nothing(world: World) -> None:
    def fail(change: TaskChange) -> None:
        if change.after and change.after.sn == "SN-0":
            raise RuntimeError("a defect")

    world.fleet.subscribe(fail)
    with capture_logs() as logged:
        await _put(world, keys.task("dc1", "SN-0"), make_task(task_id="a", sn="SN-0"))
    (entry,) = logged
    assert entry["key"] == keys.task("dc1", "SN-0")
    task = await world.create(mac=OTHER_MAC)
    assert world.fleet.task(task.task_id) == task
    assert not world.mirroring.done()


async def test_two_machines_with_a_task_of_one_id_harm_no_reader(world: World) -> None:
    await _put(world, keys.task("dc1", "SN-1"), make_task())
    await _put(world, keys.task("dc1", "SN-2"), make_task(sn="SN-2"))
    await world.store.delete(keys.task("dc1", "SN-1"))
    await world.synced()
    assert len(list(world.fleet.current_tasks())) <= 1
    assert sum(world.fleet.counts().values()) == len(_listed(world))


async def test_fleet_is_listed_once_its_mirror_was() -> None:
    store = FollowedStore()
    mirror = Mirror(store, keys.ROOT)
    fleet = Fleet(mirror)
    assert not fleet.listed
    async with following(mirror):
        assert fleet.listed
    assert fleet.listed and not fleet.connected


async def test_listener_hears_each_change_in_order_until_it_unsubscribes(world: World) -> None:
    heard: list[Status] = []
    unsubscribe = world.fleet.subscribe(
        lambda change: heard.append(change.after.status) if change.after else None
    )
    task = await world.create()
    task = await world.agents.prepared(task)
    await world.synced()
    unsubscribe()
    await world.tasks.cancel(task.task_id, by=actor("boss"))
    await world.synced()
    assert heard == [Status.PENDING, Status.READY]


async def test_wait_for_task_ends_when_the_condition_holds(world: World) -> None:
    task = await world.create()
    waiting = asyncio.create_task(
        world.fleet.wait_for_task(task.task_id, lambda now: now.finished, TIMEOUT_S)
    )
    await world.tasks.cancel(task.task_id, by=actor("boss"))
    found = await waiting
    assert found is not None and found.status is Status.CANCELLED


async def test_wait_for_task_in_vain_gives_the_task_as_it_is(world: World) -> None:
    task = await world.create()
    assert await world.fleet.wait_for_task(task.task_id, lambda now: now.finished, 0.01) == task
    assert await world.fleet.wait_for_task("none", lambda now: now.finished, 0.01) is None
