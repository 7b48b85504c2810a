"""A migration on the embedded store: what comes over, what is named, and that it comes once."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from lpmos.core.migration.run import OldSystemAlive, Report, migrate
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine, ServerEntry, UnmatchedReport
from lpmos.model.task import Task, TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import KV, Store, Unavailable
from lpmos.store.sqlite import SqliteStore
from tests.support.faulty_store import FaultyStore
from tests.support.old_layouts import LAYOUTS, OldStore, make

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
TASKS = 1000


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await SqliteStore.open(tmp_path / "store.db")
    yield opened
    await opened.close()


async def run(store: Store, *, dry_run: bool = False, delete: bool = False) -> Report:
    return await migrate(store, lambda: AT, dry_run=dry_run, delete=delete)


async def everything(store: Store) -> dict[str, KV]:
    return {kv.key: kv async for page in store.list("/") for kv in page.kvs}


async def task_of(store: Store, task_id: str) -> Task | None:
    place = await store.get(keys.task_place(task_id))
    if place is None:
        return None
    where = records.decode(place, TaskPlace)
    for key in (keys.task(where.idc, where.sn), keys.history(where.idc, where.sn, task_id)):
        kv = await store.get(key)
        if kv is not None and (task := records.decode(kv, Task)).task_id == task_id:
            return task
    return None


async def check_tasks(store: Store, old: OldStore) -> None:
    """Every good task is in v3 with the fields that were said; no damaged one is."""
    for expected in old.good.values():
        task = await task_of(store, expected.task_id)
        assert task is not None, expected
        assert (task.idc, task.mac, task.status) == (expected.idc, expected.mac, expected.status)
        assert task.sn == (expected.sn or f"mac-{expected.mac.replace(':', '')}")
        assert (task.os_type, task.os_version) == ("ubuntu", expected.os_version)
        assert (task.created_at, task.created_by) == (expected.created_at, expected.created_by)
        assert task.log_count == expected.lines + 1
        assert task.finished or task.approval is None
        assert task.intent is None
    for task_id in old.damaged:
        assert await task_of(store, task_id) is None


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_migration_of_a_thousand_tasks_carries_each_over_or_names_it(
    store: Store, layout: str
) -> None:
    old = make(layout, TASKS)
    await old.put_into(store)
    report = await run(store)
    assert (report.migrated, report.verified) == (len(old.good), True)
    assert (report.found_tasks, report.refused) == (TASKS, len(old.damaged))
    await check_tasks(store, old)
    told = {finding.task_id: finding.reason for finding in report.findings if finding.refused}
    by_key = [f"{finding.key} {finding.reason}" for finding in report.findings]
    for task_id in old.damaged:
        assert task_id in told or any(task_id in text for text in by_key) or layout == "list"
    after = await everything(store)
    assert {key: after[key].value for key in old.entries} == old.entries
    events = [key for key in after if key.startswith(keys.EVENTS)]
    assert len(events) == report.migrated


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_migration_dry_run_tells_the_same_and_changes_nothing(
    store: Store, layout: str
) -> None:
    old = make(layout, 200)
    await old.put_into(store)
    before = await everything(store)
    dry = await run(store, dry_run=True)
    assert await everything(store) == before
    report = await run(store)
    assert dry.would_migrate == report.migrated
    assert (dry.refused, dry.statuses) == (report.refused, report.statuses)
    assert dry.findings == report.findings


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_migration_run_again_changes_nothing(store: Store, layout: str) -> None:
    await make(layout, 200).put_into(store)
    first = await run(store)
    before = await everything(store)
    again = await migrate(store, lambda: AT + timedelta(days=1), dry_run=False, delete=False)
    assert await everything(store) == before
    assert (again.migrated, again.already, again.verified) == (0, first.migrated, True)
    assert again.findings == first.findings


async def test_migration_whose_answers_are_lost_writes_each_task_once(store: Store) -> None:
    old = make("v2", 100)
    await old.put_into(store)
    faulty = FaultyStore(store)
    faulty.lose_answers = 3
    report = await run(faulty)
    assert (report.migrated, report.verified) == (len(old.good), True)
    events = [key for key in await everything(store) if key.startswith(keys.EVENTS)]
    assert len(events) == len(old.good)


async def test_migration_whose_store_goes_away_says_so_and_goes_on_later(store: Store) -> None:
    old = make("v2", 100)
    await old.put_into(store)
    faulty = FaultyStore(store)

    async def go_away() -> None:
        faulty.away = True

    faulty.before_txn += [no_fault] * 30
    faulty.before_txn.append(go_away)
    with pytest.raises(Unavailable, match="run it again"):
        await migrate(faulty, lambda: AT, dry_run=False, delete=False, retry_s=0)
    faulty.away = False
    report = await run(faulty)
    assert report.already > 0 and report.already + report.migrated == len(old.good)
    assert report.verified


async def no_fault() -> None:
    """The store answers."""


async def test_migration_finds_a_value_that_was_tampered_with(store: Store) -> None:
    old = make("v2.1", 60)
    await old.put_into(store)
    await run(store)
    changed = next(each for each in old.good.values() if each.status == "completed")
    gone = next(each for each in old.good.values() if each.status == "pending")
    task = await task_of(store, changed.task_id)
    assert task is not None
    forged = msgspec.structs.replace(task, os_version="6.66")
    await store.put(keys.task(task.idc, task.sn), records.encode(forged))
    await store.delete(keys.task(gone.idc, f"mac-{gone.mac.replace(':', '')}"))
    report = await run(store, delete=True)
    found = {(each.task_id, each.kind) for each in report.findings}
    assert {(changed.task_id, "differs"), (gone.task_id, "missing")} <= found
    assert (report.verified, report.deleted_keys) == (False, 0)


async def test_migrated_task_that_goes_on_is_verified_all_the_same(store: Store) -> None:
    old = make("v2.1", 30, damaged=False)
    await old.put_into(store)
    await run(store)
    mine = next(each for each in old.good.values() if each.status == "pending")
    task = await task_of(store, mine.task_id)
    assert task is not None
    step = msgspec.structs.replace(task.status_history[-1], status=Status.READY)
    ready = msgspec.structs.replace(
        task, status=Status.READY, status_history=(*task.status_history, step)
    )
    await store.put(keys.task(task.idc, task.sn), records.encode(ready))
    report = await run(store)
    assert (report.verified, report.gone_on) == (True, 1)


@pytest.mark.parametrize("layout", LAYOUTS)
async def test_migration_deletes_only_what_came_over_and_was_verified(
    store: Store, layout: str
) -> None:
    old = make(layout, 200)
    await old.put_into(store)
    await run(store)
    report = await run(store, delete=True)
    assert report.verified and report.deleted_keys > 0
    after = await everything(store)
    left = {key for key in old.entries if key in after}
    assert len(left) == report.left_keys
    named = [finding.key.partition("#")[0] for finding in report.findings]
    places = [name.removesuffix("tasks").removesuffix("metadata") for name in named]
    assert all(key.startswith((*places, *(f"{name}/" for name in named))) for key in left)
    assert not [key for key in after if key.startswith(keys.MIGRATED) and "keys/os/dc" not in key]
    for task_id in old.good:
        assert not any(task_id in key for key in left)
    for task_id in old.damaged:
        in_keys = [key for key in old.entries if task_id in key and "/regions/" not in key]
        assert left >= set(in_keys)
    await check_tasks(store, old)
    again = await run(store)
    assert (again.migrated, again.verified) == (0, True)


async def test_migration_beside_a_living_older_region_is_refused(store: Store) -> None:
    lease = await store.grant(30)
    await store.put("/os/region/dc1/heartbeat", b"2026-01-29T10:00:00Z", lease=lease.id)
    await make("v2.1", 5, damaged=False).put_into(store)
    await store.put("/os/region/dc1/heartbeat", b"2026-01-29T10:00:00Z", lease=lease.id)
    assert (await run(store, dry_run=True)).would_migrate == 5
    with pytest.raises(OldSystemAlive, match="dc1"):
        await run(store)
    await lease.revoke()
    assert (await run(store)).migrated == 5


async def test_migration_writes_servers_machines_reports_and_settings(store: Store) -> None:
    for layout in ("v1", "v2.1", "list"):
        await make(layout, 20, seed=LAYOUTS.index(layout), damaged=False).put_into(store)
    await run(store)
    spare = await store.get(keys.server("dc1", "SPARE-dc1"))
    assert spare and records.decode(spare, ServerEntry).mac == "02:00:00:00:00:01"
    agent = await store.get(keys.meta("dc1", "mac-020000000201"))
    assert agent and records.decode(agent, Machine).reported_at is not None
    reports = (await store.range(keys.unmatched_prefix("dc1"))).kvs
    (report,) = [kv for kv in reports if kv.key.endswith("Z-020000000101")]
    assert records.decode(report, UnmatchedReport).hardware.boot_mode == "unknown"
    assert await store.get(keys.GLOBAL_CONFIG)
    assert await store.get(keys.template("ubuntu"))
    assert await store.get(keys.template("old")) is None
