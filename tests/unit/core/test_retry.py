"""What failed for a passing reason is tried again by itself: later each time, and not for ever."""

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from structlog.testing import capture_logs

from lpmos.core.taskstore import TaskStore, moved
from lpmos.model.lifecycle import Event, Status
from lpmos.model.region import OutboxState
from lpmos.model.retry import RetryPolicy, pause
from lpmos.model.task import Task, TaskError
from lpmos.store import keys
from tests.support.builders import NOW, actor
from tests.support.deadlines import SetClock, Warden
from tests.support.polling import until
from tests.unit.core.conftest import World

POLICY = RetryPolicy(limit=2, first_s=60, longest_s=3600)
PASSING = TaskError(reason="the agent did not report", code="timeout-booting")


@pytest.fixture
async def warden(world: World) -> AsyncIterator[Warden]:
    warden = Warden(world.store, SetClock(), retries=POLICY)
    async with warden.listening(), warden.leading():
        yield warden


async def fail(world: World, warden: Warden, task: Task, error: TaskError = PASSING) -> Task:
    """The task fails now."""
    failed = await TaskStore(world.store).change(
        task,
        lambda now: moved(now, Event.FAIL, warden.clock(), error=error),
        by=actor("system"),
    )
    await warden.beat()
    await world.synced()
    return failed


async def retry_of(warden: Warden, task: Task) -> Task:
    """The task that tries this one again, as soon as there is one."""

    async def made() -> bool:
        return warden.fleet.retry(task.task_id) is not None

    await until(made)
    found = warden.fleet.task(warden.fleet.retry(task.task_id) or "")
    assert found is not None
    return found


async def is_left_alone(warden: Warden, task: Task) -> bool:
    await warden.rounds()
    await warden.synced()
    return warden.fleet.retry(task.task_id) is None


async def test_each_retry_waits_twice_as_long_and_the_last_failure_stays(
    world: World, warden: Warden
) -> None:
    task = await fail(world, warden, await world.create())
    for tries in range(POLICY.limit):
        wait = pause(POLICY, task.task_id, tries)
        warden.clock.now = task.updated_at + wait - timedelta(milliseconds=1)
        assert await is_left_alone(warden, task)
        assert warden.fleet.dead_letter(task.task_id) is not None

        warden.clock.now = task.updated_at + wait
        again = await retry_of(warden, task)

        assert (again.status, again.attempt) == (Status.PENDING, tries + 2)
        assert (again.created_by, again.asked_by) == ("system", "admin")
        assert (again.approval, again.intent, again.plan) == (None, None, None)
        assert warden.fleet.dead_letter(task.task_id) is None
        task = await fail(world, warden, again)

    warden.clock.pass_s(86_400)

    assert await is_left_alone(warden, task)
    assert warden.fleet.dead_letter(task.task_id) is not None


async def test_retry_by_a_person_begins_a_new_series(world: World, warden: Warden) -> None:
    task = await fail(world, warden, await world.create())
    for _ in range(POLICY.limit):
        warden.clock.pass_s(86_400)
        task = await fail(world, warden, await retry_of(warden, task))
    made = await warden.tasks.retry(task.task_id, by=actor("boss"))
    await warden.synced()
    task = await fail(world, warden, made.task)

    warden.clock.pass_s(86_400)

    assert (await retry_of(warden, task)).attempt == 5


@pytest.mark.parametrize(
    "error",
    [
        TaskError(reason="mkfs failed"),
        TaskError(reason="no agent", code="agent-away"),
        TaskError(reason="nobody decided", code="timeout-approval"),
        TaskError(reason="restarted", code="machine-restarted"),
    ],
)
async def test_failure_that_will_not_pass_waits_for_a_person(
    world: World, warden: Warden, error: TaskError
) -> None:
    task = await fail(world, warden, await world.create(), error)
    warden.clock.pass_s(86_400)
    assert await is_left_alone(warden, task)


@pytest.mark.parametrize("status", [Status.REJECTED, Status.CANCELLED, Status.COMPLETED])
async def test_what_did_not_fail_is_not_tried_again(
    world: World, warden: Warden, status: Status
) -> None:
    task = await world.task_that_is(status)
    warden.clock.now = NOW + timedelta(days=1)
    assert await is_left_alone(warden, task)


async def test_claimed_task_is_never_tried_again_by_itself(world: World, warden: Warden) -> None:
    """Whatever its error says: something may have been written."""
    task = await fail(world, warden, await world.task_that_is(Status.INSTALLING))
    warden.clock.pass_s(86_400)
    assert await is_left_alone(warden, task)


async def test_what_a_newer_version_asks_for_is_left_to_that_and_said_once(
    world: World, warden: Warden
) -> None:
    task = await fail(world, warden, await world.create())
    key = keys.task("dc1", "SN-1")
    kv = await world.store.get(key)
    assert kv is not None
    document = msgspec.json.decode(kv.value)
    document["setup"] = {"new": 1}
    await warden.shows(await world.store.put(key, msgspec.json.encode(document)))
    await warden.beat()

    with capture_logs() as logs:
        warden.clock.pass_s(86_400)
        assert await is_left_alone(warden, task)
        warden.clock.pass_s(86_400)
        assert await is_left_alone(warden, task)

    (line,) = (each for each in logs if each["event"] == "not tried again")
    assert "newer version" in line["reason"]
    assert warden.fleet.dead_letter(task.task_id) is not None


async def test_dismissed_failure_is_left_alone(world: World, warden: Warden) -> None:
    task = await fail(world, warden, await world.create())
    await warden.tasks.dismiss(task.task_id, by=actor("boss"))
    warden.clock.pass_s(86_400)
    assert await is_left_alone(warden, task)


async def test_failure_that_is_dismissed_at_the_last_moment_is_left_alone(
    world: World, warden: Warden
) -> None:
    task = await fail(world, warden, await world.create())
    letter = keys.dead_letter("dc1", task.task_id)
    world.store.before_txn.append(lambda: world.store.delete(letter))

    warden.clock.pass_s(86_400)

    await warden.rounds()
    assert await is_left_alone(warden, task)


@pytest.mark.parametrize("lost", [1, 2, 3, 4])
async def test_lost_answer_makes_one_retry(world: World, warden: Warden, lost: int) -> None:
    task = await fail(world, warden, await world.create())
    world.store.lose_answers = lost

    async def made_after_a_while() -> bool:
        warden.clock.pass_s(60)
        return warden.fleet.retry(task.task_id) is not None

    await until(made_after_a_while)
    await warden.rounds()
    events = await warden.events("task.created")
    assert len([event for event in events if event.actor.name == "system"]) == 1


async def test_failure_in_a_region_that_was_not_heard_since_waits_for_it(
    world: World, warden: Warden
) -> None:
    """A machine may have claimed at the region while the link was cut, and be writing its disk."""
    task = await fail(world, warden, await world.create())
    await warden.lose_region()
    warden.clock.pass_s(86_400)
    assert await is_left_alone(warden, task)

    await warden.beat(outbox=OutboxState(waiting=1))
    warden.clock.pass_s(86_400)
    assert await is_left_alone(warden, task)

    await warden.beat(outbox=OutboxState())
    warden.clock.pass_s(60)
    assert (await retry_of(warden, task)).status is Status.PENDING


async def test_heartbeat_of_before_the_failure_says_nothing(world: World, warden: Warden) -> None:
    task = await world.create()
    await warden.beat()
    task = await TaskStore(world.store).change(
        task, lambda now: moved(now, Event.FAIL, warden.clock(), error=PASSING), by=actor("system")
    )
    await warden.synced()
    warden.clock.pass_s(86_400)
    assert await is_left_alone(warden, task)


async def test_limit_of_zero_tries_nothing_again(world: World) -> None:
    warden = Warden(world.store, SetClock(), retries=RetryPolicy(limit=0))
    async with warden.listening(), warden.leading():
        task = await fail(world, warden, await world.create())
        warden.clock.pass_s(86_400)
        assert await is_left_alone(warden, task)
