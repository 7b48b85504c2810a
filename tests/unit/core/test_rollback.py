"""Rolling a task back: the machine is as before, once, in one transaction with the word of it."""

import msgspec
import pytest

from lpmos.core.rollback import Rollbacks
from lpmos.model.audit import AuditEvent
from lpmos.model.bootplan import BootAgent, BootLocalDisk
from lpmos.model.errors import Conflict, ImpossibleTransition, NotFound
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, InstalledDisk, Machine
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import CasConflict
from tests.support.builders import MAC, actor, make_spec
from tests.support.newer_version import is_kept, write_as_newer
from tests.unit.core.conftest import World

BOSS = actor("boss")


def rollbacks(world: World) -> Rollbacks:
    return Rollbacks(world.store, world.tasks, world.clock)


async def cancelled_before_the_claim(world: World) -> Task:
    return await world.task_that_is(Status.CANCELLED)


async def put_system(world: World, serial: str) -> None:
    """Generation 3 of the machine is on a disk with this serial number."""
    kv = await world.store.get(keys.meta("dc1", "SN-1"))
    assert kv is not None
    installed = Installed(
        generation=3,
        task_id="earlier",
        os_type="debian",
        os_version="11",
        installed_at=world.now,
        disk=InstalledDisk(device="/dev/vdb", serial=serial),
    )
    machine = msgspec.structs.replace(records.decode(kv, Machine), installed=installed)
    await world.store.put(kv.key, records.encode(machine))
    await world.synced()


async def events(world: World) -> list[AuditEvent]:
    page = await world.store.range(keys.EVENTS)
    found = [records.decode(kv, AuditEvent) for kv in page.kvs]
    return [event for event in found if event.action == "task.rolled-back"]


async def test_machine_boots_its_earlier_system_from_another_disk(world: World) -> None:
    task = await world.task_that_is(Status.FAILED)
    await put_system(world, "DISK99")

    after, back = await rollbacks(world).roll_back(task.task_id, by=BOSS)
    await world.synced()

    assert (after.status, after.rolled_back, back.generation) == (Status.FAILED, back, 3)
    assert world.fleet.dead_letter(task.task_id) is None
    plan, _ = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootLocalDisk) and "installed by" in plan.reason
    (event,) = await events(world)
    assert (event.actor.name, event.after) == ("boss", {"generation": 3})


async def test_machine_without_a_system_is_an_unknown_one_again(world: World) -> None:
    task = await cancelled_before_the_claim(world)
    plan, _ = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootLocalDisk)

    await rollbacks(world).roll_back(task.task_id, by=BOSS)
    await world.synced()

    plan, _ = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootAgent)


async def test_rollback_is_refused_where_the_system_was_being_overwritten(world: World) -> None:
    task = await world.task_that_is(Status.FAILED)
    await put_system(world, "DISK01")

    with pytest.raises(Conflict, match="gone"):
        await rollbacks(world).roll_back(task.task_id, by=BOSS)

    await world.synced()
    assert world.fleet.dead_letter(task.task_id) is not None
    assert await events(world) == []


async def test_rollback_twice_is_one(world: World) -> None:
    task = await cancelled_before_the_claim(world)
    first = await rollbacks(world).roll_back(task.task_id, by=BOSS)
    assert await rollbacks(world).roll_back(task.task_id, by=actor("other")) == first
    assert len(await events(world)) == 1


async def test_rollback_keeps_what_a_newer_version_wrote_into_the_task(world: World) -> None:
    task = await cancelled_before_the_claim(world)
    await write_as_newer(world.store, keys.task("dc1", "SN-1"))
    await world.synced()
    await rollbacks(world).roll_back(task.task_id, by=BOSS)
    assert await is_kept(world.store, keys.task("dc1", "SN-1"))


async def test_rollback_whose_answer_is_lost_is_one(world: World) -> None:
    task = await cancelled_before_the_claim(world)

    async def lose_this_answer() -> None:
        world.store.lose_answers = 1

    world.store.before_txn = [world.synced, lose_this_answer]  # of the read, of the write
    await rollbacks(world).roll_back(task.task_id, by=BOSS)
    assert len(await events(world)) == 1


async def test_rollback_of_an_earlier_task_is_refused(world: World) -> None:
    task = await cancelled_before_the_claim(world)
    await world.create()
    with pytest.raises(Conflict, match="only its last task"):
        await rollbacks(world).roll_back(task.task_id, by=BOSS)


async def test_rollback_of_another_tenants_task_is_of_none(world: World) -> None:
    made = await world.tasks.create(make_spec(tenant="team-a"), by=actor("admin"))
    await world.synced()
    await world.tasks.cancel(made.task_id, by=BOSS)
    with pytest.raises(NotFound):
        await rollbacks(world).roll_back(made.task_id, by=actor("eve", tenant="team-b"))


async def test_rollback_holds_for_the_revision_that_was_seen(world: World) -> None:
    task = await cancelled_before_the_claim(world)
    with pytest.raises(CasConflict):
        await rollbacks(world).roll_back(task.task_id, by=BOSS, at_revision=1)


async def test_rollback_that_lost_a_race_is_decided_on_the_new_value(world: World) -> None:
    """Between its read and its write it becomes known what system the machine has."""
    task = await cancelled_before_the_claim(world)

    async def change_machine() -> None:
        await put_system(world, "DISK99")

    world.store.before_txn = [world.synced, change_machine]
    _, back = await rollbacks(world).roll_back(task.task_id, by=BOSS)
    assert back.generation == 3
    assert len(await events(world)) == 1


@pytest.mark.parametrize("status", [Status.PENDING, Status.INSTALLING, Status.COMPLETED])
async def test_rollback_of_a_task_under_way_is_refused(world: World, status: Status) -> None:
    task = await world.task_that_is(status)
    with pytest.raises(ImpossibleTransition):
        await rollbacks(world).roll_back(task.task_id, by=BOSS)
