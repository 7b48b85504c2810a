"""Many tasks at once: together where it goes, one by one where not, all or none where asked."""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from lpmos.core.bulk import BATCHES_AT_ONCE, Bulk, BulkReport, RowStatus
from lpmos.core.creation import BATCH
from lpmos.model.audit import AuditEvent
from lpmos.model.bulk import Row
from lpmos.model.lifecycle import Status
from lpmos.store import keys, records
from tests.support.builders import actor, make_spec, make_task
from tests.unit.core.conftest import World


def row(number: int, **fields: Any) -> Row:
    mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
    known = {"idc": "dc1", "sn": f"SN-{number}", "mac": mac}
    document = known | {"os_type": "debian", "os_version": "12"} | fields
    return Row(number=number, document=msgspec.json.encode(document))


CHECKS = 6
ROWS = [row(number) for number in range(1, CHECKS * BATCH)]


async def nothing() -> None:
    pass


@pytest.fixture
def bulk(world: World) -> Bulk:
    return Bulk(world.store, world.fleet, world.tasks, world.clock)


async def create(bulk: Bulk, rows: list[Row] | None = None, **options: Any) -> BulkReport:
    return await bulk.create(rows or ROWS, by=actor("boss"), **options)


async def events(world: World) -> Counter[str]:
    page = await world.store.range(keys.EVENTS)
    return Counter(records.decode(kv, AuditEvent).action for kv in page.kvs)


async def test_many_rows_are_few_transactions_and_each_is_told_of(world: World, bulk: Bulk) -> None:
    report = await create(bulk)
    assert report.counts() == {"created": len(ROWS)}
    assert world.store.txns == CHECKS
    assert await events(world) == {"task.created": len(ROWS)}
    await world.synced()
    assert {each.sn for each in world.fleet.current_rows()} == {each.sn for each in report.rows}


async def test_row_that_conflicts_leaves_the_others_of_its_transaction(
    world: World, bulk: Bulk
) -> None:
    await world.create(sn="SN-7", mac="52:54:00:00:00:07")
    report = await create(bulk)
    assert report.counts() == {"created": len(ROWS) - 1, "conflict": 1}
    (conflict,) = (each for each in report.rows if each.status is RowStatus.CONFLICT)
    assert (conflict.row, conflict.sn) == (7, "SN-7")


async def test_rows_are_decided_on_what_the_store_has_where_memory_is_behind(
    world: World, bulk: Bulk
) -> None:
    ended = await world.create(sn="SN-1", mac="52:54:00:00:00:01")
    await world.cut_mirror()
    await world.tasks.cancel(ended.task_id, by=actor("boss"))
    other = make_spec(sn="SN-2", mac="52:54:00:00:00:02")
    await world.tasks.create(other, by=actor("other"))
    report = await create(bulk)
    assert [each.status for each in report.rows[:3]] == [
        RowStatus.CREATED, RowStatus.CONFLICT, RowStatus.CREATED,
    ]  # fmt: skip


async def test_answers_that_are_lost_make_no_row_twice(world: World, bulk: Bulk) -> None:
    world.store.lose_answers = 3
    report = await create(bulk)
    assert {each.status for each in report.rows} <= {RowStatus.CREATED, RowStatus.EXISTS}
    assert await events(world) == {"task.created": len(ROWS)}


async def test_call_that_was_killed_is_completed_by_the_same_call_elsewhere(
    world: World, bulk: Bulk
) -> None:
    killed = asyncio.create_task(create(bulk, idempotency_key="k"))

    async def kill() -> None:
        killed.cancel()

    world.store.before_txn += [nothing] * BATCHES_AT_ONCE + [kill]
    await asyncio.wait([killed])
    assert killed.cancelled() and world.store.txns > 0
    other = Bulk(world.store, world.fleet, await world.lagging_tasks(), world.clock)
    report = await create(other, idempotency_key="k")
    assert {each.status for each in report.rows} <= {RowStatus.CREATED, RowStatus.EXISTS}
    assert len(report.rows) == len(ROWS)
    assert await events(world) == {"task.created": len(ROWS)}
    again = await create(bulk, idempotency_key="k")
    assert again.counts() == {"exists": len(ROWS)}
    assert [each.task_id for each in again.rows] == [each.task_id for each in report.rows]


async def test_same_call_twice_at_once_makes_each_row_once(world: World, bulk: Bulk) -> None:
    reports = await asyncio.gather(*(create(bulk, idempotency_key="k") for _ in range(2)))
    for report in reports:
        assert {each.status for each in report.rows} <= {RowStatus.CREATED, RowStatus.EXISTS}
    assert await events(world) == {"task.created": len(ROWS)}


async def test_store_that_is_away_is_not_asked_for_every_row(world: World, bulk: Bulk) -> None:
    world.store.away = True
    report = await create(bulk)
    assert report.counts() == {"error": len(ROWS)}
    assert "not-tried" in {each.problem.code for each in report.rows if each.problem}


async def test_atomic_takes_back_what_was_made_where_a_row_conflicts_meanwhile(
    world: World, bulk: Bulk, race: Callable[[], None]
) -> None:
    race()
    report = await create(bulk, atomic=True)
    counts = Counter(each.status for each in report.rows)
    assert counts[RowStatus.CONFLICT] == 1
    assert counts[RowStatus.CREATED] == counts[RowStatus.EXISTS] == 0
    await world.synced()
    mine = [each for each in world.fleet.current_rows() if each.created_by == "boss"]
    assert {each.status for each in mine} <= {Status.CANCELLED}
    taken = [each for each in report.rows if each.status is RowStatus.TAKEN_BACK]
    assert {each.task_id for each in taken} == {each.task_id for each in mine}


async def test_atomic_call_that_was_taken_back_is_not_made_by_the_same_key(
    world: World, bulk: Bulk, race: Callable[[], None]
) -> None:
    race()
    await create(bulk, atomic=True, idempotency_key="k")
    await world.synced()
    report = await create(bulk, atomic=True, idempotency_key="k")
    assert RowStatus.CREATED not in {each.status for each in report.rows}
    assert any("use a new key" in each.problem.detail for each in report.rows if each.problem)


@pytest.fixture
def race(world: World) -> Callable[[], None]:
    """Lets another create a task for the last row's machine after the rows were checked."""
    number = ROWS[-1].number

    async def win() -> None:
        other = make_task(sn=f"SN-{number}", mac="52:54:00:ff:ff:ff", created_by="other")
        await world.store.put(keys.task("dc1", other.sn), records.encode(other))

    def arm() -> None:
        world.store.before_txn += [nothing] * CHECKS + [win]

    return arm
