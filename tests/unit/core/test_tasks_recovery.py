"""Trying again: from a failed task, from the dead-letter queue, and what memory that lags sees."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.model.errors import Conflict, NotFound
from lpmos.model.lifecycle import Status
from lpmos.store import keys
from lpmos.store.api import CasConflict, WatchBatch
from lpmos.store.mirror import Mirror
from tests.support.builders import actor, make_spec
from tests.support.faulty_store import FaultyStore
from tests.support.following import following
from tests.unit.core.conftest import World

BOSS = actor("boss")


class DeafStore(FaultyStore):
    """Answers every call, but tells of no change."""

    async def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        await asyncio.Event().wait()
        yield WatchBatch(from_revision, ())


@pytest.fixture
async def deaf(world: World) -> AsyncIterator[Tasks]:
    """The use cases of a control plane that is connected, and hears of nothing after one task."""
    await world.create()
    mirror = Mirror(DeafStore(world.store), keys.ROOT)
    fleet = Fleet(mirror)
    async with following(mirror):
        assert fleet.connected
        yield Tasks(world.store, fleet, world.clock)


async def test_failed_task_is_set_aside_and_requeue_takes_it_out_with_the_new_task(
    world: World,
) -> None:
    failed = await world.task_that_is(Status.FAILED)
    assert world.fleet.dead_letter(failed.task_id) is not None
    made = await world.tasks.requeue(failed.task_id, by=BOSS)
    await world.synced()
    assert world.fleet.dead_letter(failed.task_id) is None
    assert (made.task.attempt, made.task.retry_of) == (2, failed.task_id)
    assert (made.task.approval, made.task.intent, made.task.hardware) == (None, None, None)
    assert world.fleet.retry(failed.task_id) == made.task.task_id


async def test_requeue_twice_at_once_makes_one_task(world: World) -> None:
    failed = await world.task_that_is(Status.FAILED)
    results = await asyncio.gather(
        *(world.tasks.requeue(failed.task_id, by=BOSS) for _ in range(4)), return_exceptions=True
    )
    refused = [each for each in results if isinstance(each, Conflict | NotFound)]
    assert len(refused) == 3


async def test_retry_at_another_revision_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.CANCELLED)
    with pytest.raises(CasConflict):
        await world.tasks.retry(task.task_id, by=BOSS, at_revision=1)
    made = await world.tasks.retry(task.task_id, by=BOSS, at_revision=world.fleet.revision(task))
    assert made.task.retry_of == task.task_id


async def test_read_shows_what_another_control_plane_changed_a_moment_ago(
    world: World, deaf: Tasks
) -> None:
    (task,) = world.fleet.current_tasks()
    await world.tasks.cancel(task.task_id, by=BOSS)
    assert (await deaf.read(task.task_id)).task.status is Status.CANCELLED
    second = await world.create()
    past = await deaf.read(task.task_id)
    assert (past.past, past.task.status) == (True, Status.CANCELLED)
    assert (await deaf.read(second.task_id)).task == second


async def test_read_while_the_store_is_away_is_from_memory(world: World) -> None:
    task = await world.create()
    world.store.away = True
    stored = await world.tasks.read(task.task_id)
    assert (stored.task, stored.revision) == (task, world.fleet.revision(task))


async def test_create_on_memory_that_lags_is_not_refused_for_what_is_over(
    world: World, deaf: Tasks
) -> None:
    (first,) = world.fleet.current_tasks()
    await world.tasks.cancel(first.task_id, by=BOSS)
    made = await deaf.create(make_spec(), by=BOSS)
    kv = await world.store.get(keys.history("dc1", "SN-1", first.task_id))
    assert kv is not None and made.task_id != first.task_id


async def test_key_used_at_a_control_plane_that_lags_finds_the_task(world: World) -> None:
    lagging = await world.lagging_tasks()
    first = await world.tasks.create_once(make_spec(), by=BOSS, idempotency_key="k")
    again = await lagging.create_once(make_spec(), by=BOSS, idempotency_key="k")
    assert (again.task, again.replayed, first.replayed) == (first.task, True, False)
    results = await asyncio.gather(
        *(each.create_once(make_spec(sn="SN-2", mac="52:54:00:00:00:02"), by=BOSS,
                           idempotency_key="j") for each in (world.tasks, lagging))
    )  # fmt: skip
    assert results[0].task.task_id == results[1].task.task_id
