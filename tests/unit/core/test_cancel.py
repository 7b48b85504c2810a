"""Cancelling is safe in every state and at every step (L7), and a lost race is none (L9)."""

from collections.abc import Awaitable, Callable

import pytest

from lpmos.model.bootplan import BootLocalDisk
from lpmos.model.errors import Conflict, ImpossibleTransition, LpmosError
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.task import Progress, Task, TaskError
from lpmos.store import keys, records
from tests.support.builders import MAC, actor
from tests.unit.core.conftest import World

BOSS = actor("boss")
UNDER_WAY = sorted(set(Status) - FINAL)
Step = Callable[[World, Task], Awaitable[object]]


async def stored(world: World) -> Task:
    kv = await world.store.get(keys.task("dc1", "SN-1"))
    assert kv is not None
    return records.decode(kv, Task)


async def prepare(world: World, task: Task) -> object:
    return await world.agents.prepared(task)


async def boot(world: World, _: Task) -> object:
    return await world.agents.boot(MAC, "SN-1")


async def report(world: World, _: Task) -> object:
    return await world.report()


async def approve(world: World, task: Task) -> object:
    return await world.tasks.approve(task.task_id, by=BOSS, notes=None)


async def claim(world: World, task: Task) -> object:
    return await world.agents.claim(world.run, task.task_id, None)


async def progress(world: World, task: Task) -> object:
    now = Progress(step="downloading", percent=40.0, timestamp=world.clock())
    return await world.agents.progress(world.run, task.task_id, now)


async def fail(world: World, task: Task) -> object:
    return await world.agents.failed(world.run, task.task_id, TaskError(reason="broken"))


async def complete(world: World, task: Task) -> object:
    return await world.agents.completed(world.run, task.task_id)


STEPS: tuple[Step, ...] = (prepare, boot, report, approve, claim, progress, fail, complete)
NEXT: dict[Status, tuple[Step, ...]] = {
    Status.PENDING: (prepare, report),
    Status.READY: (boot, report),
    Status.BOOTING: (report,),
    Status.PENDING_APPROVAL: (report, approve),
    Status.APPROVED: (claim, progress, fail),
    Status.INSTALLING: (progress, fail, complete),
}
"""What can happen to a task in each state."""


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("status", UNDER_WAY)
async def test_nothing_moves_a_cancelled_task(world: World, status: Status, step: Step) -> None:
    task = await world.task_that_is(status)
    cancelled = await world.tasks.cancel(task.task_id, by=BOSS)
    await world.synced()

    try:
        await step(world, task)
    except LpmosError as error:
        assert isinstance(error, ImpossibleTransition | Conflict)

    after = await stored(world)
    assert (after.status, after.status_history) == (Status.CANCELLED, cancelled.status_history)
    assert (after.intent, after.progress) == (None, cancelled.progress)


@pytest.mark.parametrize("status", UNDER_WAY)
async def test_cancelled_machine_boots_its_own_disk_and_its_agent_is_told(
    world: World, status: Status
) -> None:
    task = await world.task_that_is(status)
    await world.tasks.cancel(task.task_id, by=BOSS)
    await world.synced()

    plan, _ = await world.agents.boot(MAC, "SN-1")

    assert isinstance(plan, BootLocalDisk)
    assert (await world.report()).status is Status.CANCELLED
    with pytest.raises(ImpossibleTransition):
        await claim(world, task)
    with pytest.raises(ImpossibleTransition):
        await progress(world, task)


@pytest.mark.parametrize(
    ("status", "step"), [(status, step) for status, steps in NEXT.items() for step in steps]
)
async def test_cancel_that_comes_between_a_steps_read_and_its_write_counts(
    world: World, status: Status, step: Step
) -> None:
    task = await world.task_that_is(status)
    world.store.before_txn.append(lambda: world.tasks.cancel(task.task_id, by=BOSS))

    try:
        await step(world, task)
    except LpmosError as error:
        assert isinstance(error, ImpossibleTransition | Conflict)

    after = await stored(world)
    assert after.status is Status.CANCELLED
    assert [each.status for each in after.status_history].count(Status.CANCELLED) == 1
    assert after.intent is None


@pytest.mark.parametrize(
    ("status", "step"), [(status, step) for status, steps in NEXT.items() for step in steps]
)
async def test_step_that_comes_between_a_cancels_read_and_its_write_is_not_lost(
    world: World, status: Status, step: Step
) -> None:
    """The cancel is applied to the new value, or refused where the task is over by then."""
    task = await world.task_that_is(status)
    world.store.before_txn.append(lambda: step(world, task))

    try:
        await world.tasks.cancel(task.task_id, by=BOSS)
    except ImpossibleTransition:
        assert step in (fail, complete)

    after = await stored(world)
    assert after.status is (
        Status.CANCELLED if step not in (fail, complete) else after.status_history[-1].status
    )
    assert after.status in FINAL
    states = [each.status for each in after.status_history]
    assert len(states) == len(set(states))


@pytest.mark.parametrize("lost", [1, 2, 3])
@pytest.mark.parametrize("status", UNDER_WAY)
async def test_cancel_whose_answers_are_lost_is_applied_once(
    world: World, status: Status, lost: int
) -> None:
    task = await world.task_that_is(status)
    world.store.lose_answers = lost

    cancelled = await world.tasks.cancel(task.task_id, by=BOSS)

    after = await stored(world)
    assert after == cancelled
    assert [each.status for each in after.status_history].count(Status.CANCELLED) == 1
    assert sum("cancelled by boss" in line for line in after.logs) == 1


@pytest.mark.parametrize("status", sorted(FINAL - {Status.CANCELLED}))
async def test_task_that_is_over_cannot_be_cancelled(world: World, status: Status) -> None:
    task = await world.task_that_is(status)
    with pytest.raises(ImpossibleTransition, match="it is over"):
        await world.tasks.cancel(task.task_id, by=BOSS)
    assert (await stored(world)).status is status


async def test_cancel_twice_is_one(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    first = await world.tasks.cancel(task.task_id, by=BOSS)
    assert await world.tasks.cancel(task.task_id, by=actor("other")) == first
