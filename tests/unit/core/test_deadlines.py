"""What waits too long fails with a reason, once, and never for a region's absence."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta

import msgspec
import pytest

from lpmos.core.deadlines.duty import HAND_IN_S
from lpmos.core.taskstore import moved
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import AgentLease
from lpmos.model.region import OutboxState
from lpmos.model.task import Progress, StatusChange, Task
from lpmos.model.waiting import AGENT_AWAY, FIRST_BOOT, LIMITS, Timeouts
from lpmos.store import keys, records
from tests.support.builders import MAC, make_task
from tests.support.deadlines import SetClock, Warden
from tests.support.polling import until
from tests.unit.core.conftest import World

ALL = Timeouts(ready_timeout_s=600, approval_timeout_s=600)
WAITING = tuple(LIMITS)


@pytest.fixture
async def warden(world: World) -> AsyncIterator[Warden]:
    warden = Warden(world.store, SetClock(), timeouts=ALL)
    async with warden.listening():
        yield warden


async def put(warden: Warden, status: Status, **fields: object) -> Task:
    """A task that has waited in `status` since the clock's now."""
    now = warden.clock()
    task = make_task(
        status=status,
        status_history=(StatusChange(status=status, timestamp=now),),
        updated_at=now,
        **fields,
    )
    await warden.shows(await warden.store.put(keys.task("dc1", "SN-1"), records.encode(task)))
    return task


def allowed_s(status: Status) -> int:
    seconds: int = getattr(ALL, LIMITS[status].setting)
    return seconds


def is_failed(task: Task) -> bool:
    return task.status is Status.FAILED


async def is_left_alone(warden: Warden, task: Task) -> bool:
    """Whether the task is what it was after the region was heard and the clock was looked at."""
    await warden.beat()
    await warden.rounds()
    await warden.synced()
    return warden.fleet.task(task.task_id) == task


@pytest.mark.parametrize("status", WAITING)
async def test_task_fails_when_its_time_is_over_and_not_before(
    warden: Warden, status: Status
) -> None:
    await warden.beat()
    await warden.hear_agent()
    task = await put(warden, status)
    async with warden.leading():
        warden.clock.pass_s(allowed_s(status) - 1)
        assert await is_left_alone(warden, task)

        warden.clock.pass_s(1)
        failed = await warden.task_when(task.task_id, is_failed)

    assert failed.error is not None
    assert failed.error.code == LIMITS[status].code
    assert "last seen:" in failed.error.reason
    assert failed.error.hint == LIMITS[status].hint
    assert failed.status_history[-1].by == "system"
    assert failed.logs[-1].endswith(f"[ERROR] {failed.error.reason}")
    (event,) = await warden.events("task.failed")
    assert event.reason == failed.error.reason
    assert await warden.store.get(keys.dead_letter("dc1", task.task_id)) is not None


@pytest.mark.parametrize("status", [Status.READY, Status.PENDING_APPROVAL])
async def test_task_without_a_limit_waits_for_ever(world: World, status: Status) -> None:
    warden = Warden(world.store, SetClock())
    async with warden.listening(), warden.leading():
        await warden.beat()
        task = await put(warden, status)
        assert warden.deadlines.of(warden.fleet.current_rows()[0]) is None

        warden.clock.pass_s(365 * 86_400)

        assert await is_left_alone(warden, task)


@pytest.mark.parametrize("status", WAITING)
async def test_offline_region_stops_the_clock_until_its_return(
    warden: Warden, status: Status
) -> None:
    await warden.beat()
    task = await put(warden, status)
    async with warden.leading():
        await warden.lose_region()
        warden.clock.pass_s(10 * allowed_s(status))
        await warden.rounds()
        assert warden.fleet.task(task.task_id) == task

        await warden.beat(since=warden.clock())
        await warden.hear_agent()
        warden.clock.pass_s(allowed_s(status) - 1)
        assert await is_left_alone(warden, task)

        warden.clock.pass_s(2)
        await warden.beat(since=warden.clock() - timedelta(seconds=allowed_s(status) + 1))
        await warden.task_when(task.task_id, is_failed)


async def test_return_of_an_older_region_is_what_was_seen_of_it(warden: Warden) -> None:
    await warden.beat(since=None)
    task = await put(warden, Status.BOOTING)
    async with warden.leading():
        await warden.lose_region()
        warden.clock.pass_s(36_000)
        await warden.beat(since=None)
        await warden.rounds()

        assert warden.fleet.task(task.task_id) == task
        (row,) = warden.fleet.current_rows()
        assert warden.deadlines.waits_until(row) == warden.clock() + timedelta(seconds=1800)


async def test_new_leader_fails_nothing_before_it_has_heard_the_region(warden: Warden) -> None:
    await warden.beat()
    task = await put(warden, Status.BOOTING)
    warden.clock.pass_s(1801)
    async with warden.leading():
        await warden.rounds()
        assert warden.fleet.task(task.task_id) == task

        await warden.beat()
        await warden.task_when(task.task_id, is_failed)


async def test_region_that_cannot_write_ends_no_install_before_it_has_handed_in(
    warden: Warden,
) -> None:
    """A full store keeps leases, and takes no heartbeat and no progress."""
    await warden.beat()
    await warden.hear_agent()
    task = await put(warden, Status.INSTALLING)
    async with warden.leading():
        await warden.beat()
        warden.clock.pass_s(allowed_s(Status.INSTALLING) + 1)
        await warden.rounds()
        await warden.beat(outbox=OutboxState(waiting=2))
        await warden.rounds()
        await warden.synced()
        assert warden.fleet.task(task.task_id) == task

        later = msgspec.structs.replace(task, updated_at=warden.clock())
        await warden.store.put(keys.task("dc1", "SN-1"), records.encode(later))
        await warden.beat(outbox=OutboxState())
        assert await is_left_alone(warden, later)


async def test_words_that_are_never_handed_in_put_an_end_off_for_a_while_only(
    warden: Warden,
) -> None:
    await warden.beat()
    task = await put(warden, Status.BOOTING)
    stuck = OutboxState(waiting=1)
    async with warden.leading():
        warden.clock.pass_s(allowed_s(Status.BOOTING) + 1)
        await warden.beat(outbox=stuck)
        warden.clock.pass_s(HAND_IN_S - 1)
        await warden.beat(outbox=stuck)
        await warden.rounds()
        await warden.synced()
        assert warden.fleet.task(task.task_id) == task

        warden.clock.pass_s(2)
        await warden.beat(outbox=stuck)
        await warden.task_when(task.task_id, is_failed)


async def test_words_to_hand_in_put_an_end_off_anew_in_each_leadership(warden: Warden) -> None:
    stuck = OutboxState(waiting=1)
    await warden.beat()
    task = await put(warden, Status.BOOTING)
    async with warden.leading("one"):
        await warden.beat(outbox=stuck)
    await warden.beat(outbox=OutboxState())  # while another leads
    warden.clock.pass_s(HAND_IN_S + allowed_s(Status.BOOTING) + 1)
    async with warden.leading("two"):
        await warden.beat(outbox=stuck)
        await warden.rounds()
        await warden.synced()
        assert warden.fleet.task(task.task_id) == task


async def test_news_of_an_installation_move_its_deadline(warden: Warden) -> None:
    await warden.beat()
    await warden.hear_agent()
    task = await put(warden, Status.INSTALLING)
    async with warden.leading():
        warden.clock.pass_s(1700)
        at = warden.clock()
        news = Progress(step="downloading", percent=42.0, timestamp=at, message="a of b")
        later = msgspec.structs.replace(task, progress=(news,), updated_at=at)
        await warden.shows(await warden.store.put(keys.task("dc1", "SN-1"), records.encode(later)))
        warden.clock.pass_s(1700)
        assert await is_left_alone(warden, later)

        warden.clock.pass_s(101)
        await warden.beat()
        failed = await warden.task_when(task.task_id, is_failed)

    assert failed.error is not None
    assert failed.error.reason == (
        "the installation made no progress for 30 min;"
        " last seen: downloading 42 % (a of b) at 2026-01-02T03:32:25Z"
    )


async def test_agent_that_stays_away_fails_after_the_grace_time(warden: Warden) -> None:
    await warden.beat()
    await warden.hear_agent()
    task = await put(warden, Status.INSTALLING)
    async with warden.leading():
        await warden.lose_agent()
        warden.clock.pass_s(599)
        assert await is_left_alone(warden, task)

        warden.clock.pass_s(1)
        failed = await warden.task_when(task.task_id, is_failed)

    assert failed.error is not None and failed.error.code == AGENT_AWAY
    assert "not heard for 10 min" in failed.error.reason


async def test_agent_that_comes_back_in_time_goes_on(warden: Warden) -> None:
    await warden.beat()
    await warden.hear_agent()
    task = await put(warden, Status.INSTALLING)
    async with warden.leading():
        await warden.lose_agent()
        warden.clock.pass_s(599)
        await warden.hear_agent()
        warden.clock.pass_s(60)

        assert await is_left_alone(warden, task)


async def test_agents_of_a_region_without_leases_have_no_grace_time(warden: Warden) -> None:
    await warden.beat(since=None)
    await put(warden, Status.INSTALLING)

    (row,) = warden.fleet.current_rows()

    deadline = warden.deadlines.of(row)
    assert deadline is not None and deadline.limit is LIMITS[Status.INSTALLING]


async def test_installed_system_has_its_own_time_and_no_agent_is_expected(warden: Warden) -> None:
    await warden.beat()
    await warden.hear_agent()
    now = warden.clock()
    task = await put(warden, Status.INSTALLING, handed_over_at=now, first_boot_sha256="ab" * 32)
    async with warden.leading():
        await warden.lose_agent()
        warden.clock.pass_s(ALL.first_boot_timeout_s - 1)
        assert await is_left_alone(warden, task)

        warden.clock.pass_s(1)
        failed = await warden.task_when(task.task_id, is_failed)

    assert failed.error is not None and failed.error.code == FIRST_BOOT.code
    assert "the installed system did not come up within 30 min" in failed.error.reason
    assert failed.error.hint == FIRST_BOOT.hint


@pytest.mark.parametrize("other", [Status.COMPLETED, Status.CANCELLED])
async def test_task_that_is_over_meanwhile_stays_so(warden: Warden, other: Status) -> None:
    await warden.beat()
    task = await put(warden, Status.BOOTING)
    over = msgspec.structs.replace(task, status=other)
    async with warden.leading():
        await warden.shows(await warden.store.put(keys.task("dc1", "SN-1"), records.encode(over)))
        warden.clock.pass_s(10_000)

        assert await is_left_alone(warden, over)


async def moves_on(warden: Warden, task: Task) -> None:
    on = moved(task, Event.INSTALL_PROGRESSED, warden.clock())
    await warden.store.put(keys.task("dc1", "SN-1"), records.encode(on))


async def leaves(warden: Warden, _: Task) -> None:
    await warden.store.delete(keys.heartbeat("dc1"))


async def returns(warden: Warden, _: Task) -> None:
    lease = AgentLease(agent_id="run-1", mac=MAC, at=warden.clock())
    await warden.store.put(keys.lease("dc1", "SN-1"), records.encode(lease))


@pytest.mark.parametrize("happens", [moves_on, leaves, returns])
async def test_what_happens_just_before_the_end_keeps_it_from_failing(
    world: World, warden: Warden, happens: Callable[[Warden, Task], Awaitable[None]]
) -> None:
    """Each comes between the duty's look and its transaction."""
    await warden.beat()
    await warden.hear_agent()
    task = await put(warden, Status.INSTALLING)
    async with warden.leading():
        await warden.lose_agent()
        world.store.before_txn.append(lambda: happens(warden, task))
        warden.clock.pass_s(601)
        await warden.beat()
        await until(lambda: hooks_have_run(world))
        await warden.rounds()
        await warden.synced()

    kept = warden.fleet.task(task.task_id)
    assert kept is not None and kept.status is Status.INSTALLING
    assert await warden.events("task.failed") == []


async def hooks_have_run(world: World) -> bool:
    return not world.store.before_txn


@pytest.mark.parametrize("lost", [1, 2])
async def test_lost_answer_fails_a_task_once(world: World, warden: Warden, lost: int) -> None:
    await warden.beat()
    task = await put(warden, Status.BOOTING)
    async with warden.leading():
        world.store.lose_answers = lost
        warden.clock.pass_s(1800)
        await warden.beat()
        await warden.task_when(task.task_id, is_failed)
        await warden.rounds()

    assert len(await warden.events("task.failed")) == 1


async def test_store_that_is_away_only_puts_the_end_off(world: World, warden: Warden) -> None:
    await warden.beat()
    task = await put(warden, Status.BOOTING)
    async with warden.leading():
        world.store.away = True
        warden.clock.pass_s(1800)
        await warden.rounds()
        world.store.away = False
        warden.clock.pass_s(10)
        await warden.beat()

        await warden.task_when(task.task_id, is_failed)


@pytest.mark.parametrize("behind_s", [-7200.0, 7200.0])
async def test_wrong_clock_of_a_region_ends_no_install_early_or_late(
    warden: Warden, behind_s: float
) -> None:
    await warden.hear_agent()
    task = await put(warden, Status.INSTALLING)
    said = task.updated_at - timedelta(seconds=behind_s)
    task = msgspec.structs.replace(task, updated_at=said)
    await warden.store.put(keys.task("dc1", "SN-1"), records.encode(task))
    async with warden.leading():
        warden.clock.pass_s(allowed_s(Status.INSTALLING) - 1)
        await warden.beat(behind_s=behind_s)
        await warden.rounds()
        await warden.synced()
        assert warden.fleet.task(task.task_id) == task

        warden.clock.pass_s(1)
        await warden.task_when(task.task_id, is_failed)


async def test_clock_of_the_leader_that_is_set_ends_no_install(warden: Warden) -> None:
    """It is an hour ahead for a moment; the region is heard by both clocks."""
    await warden.beat()
    await warden.hear_agent()
    task = await put(warden, Status.INSTALLING)
    async with warden.leading():
        await warden.beat()
        warden.clock.set_by_s(3600)
        await warden.rounds()
        await warden.beat(behind_s=3600)
        await warden.rounds()
        await warden.synced()
        assert warden.fleet.task(task.task_id) == task

        warden.clock.pass_s(allowed_s(Status.INSTALLING))
        await warden.beat(behind_s=3600)
        await warden.task_when(task.task_id, is_failed)


@pytest.mark.parametrize("behind_s", [-7200.0, 7200.0])
async def test_clock_of_a_region_that_is_set_right_ends_no_install(
    warden: Warden, behind_s: float
) -> None:
    await warden.beat(behind_s=behind_s)
    await warden.hear_agent()
    async with warden.leading():
        await warden.beat(behind_s=behind_s)
        task = await put(warden, Status.INSTALLING)  # by the right clock, before that is heard
        await warden.rounds()
        assert await is_left_alone(warden, task)


async def test_words_before_the_clock_of_their_region_was_set_end_no_install(
    warden: Warden,
) -> None:
    await warden.hear_agent()
    async with warden.leading():
        task = await put(warden, Status.INSTALLING)
        said = task.updated_at - timedelta(seconds=7200)
        task = msgspec.structs.replace(task, updated_at=said)
        await warden.beat(behind_s=7200)
        await warden.store.put(keys.task("dc1", "SN-1"), records.encode(task))
        await warden.beat(behind_s=7200)
        assert await is_left_alone(warden, task)
        assert await is_left_alone(warden, task)

        warden.clock.pass_s(allowed_s(Status.INSTALLING))
        await warden.beat()
        await warden.task_when(task.task_id, is_failed)
