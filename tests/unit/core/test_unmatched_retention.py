"""Reports without a task that no machine repeats are deleted when they are old."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from lpmos.core.unmatched_retention import UnmatchedRetention
from lpmos.model.machine import UnmatchedReport
from lpmos.store import keys, records
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import make_inventory
from tests.support.clocks import HandClock
from tests.support.notifications import leading

MAC = "52:54:00:00:00:0"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await SqliteStore.open(tmp_path / "store.db")
    yield opened
    await opened.close()


async def _report(store: SqliteStore, number: int, clock: HandClock) -> str:
    mac = f"{MAC}{number}"
    report = UnmatchedReport(
        mac_address=mac, region="dc1", hardware=make_inventory(), received_at=clock(), error="none"
    )
    key = keys.unmatched("dc1", clock(), mac)
    await store.put(key, records.encode(report))
    return key


async def test_reports_are_deleted_once_they_are_older_than_is_kept(store: SqliteStore) -> None:
    clock = HandClock()
    old = await _report(store, 1, clock)
    clock.move(hours=24)
    young = await _report(store, 2, clock)
    damaged = keys.unmatched("dc1", clock(), f"{MAC}3")
    await store.put(damaged, b"{")
    leadership = await leading(store)
    retention = UnmatchedRetention(store, clock, timedelta(days=30))
    clock.move(hours=24 * 29 - 1)
    await retention.sweep(leadership)
    assert await store.get(old) is not None
    clock.move(hours=1)
    await retention.sweep(leadership)
    assert await store.get(old) is None
    assert await store.get(young) is not None and await store.get(damaged) is not None


async def test_reports_are_left_alone_by_who_leads_no_more(store: SqliteStore) -> None:
    clock = HandClock()
    key = await _report(store, 1, clock)
    leadership = await leading(store)
    await leadership.resign()
    clock.move(hours=24 * 365)
    await UnmatchedRetention(store, clock, timedelta(days=30)).sweep(leadership)
    assert await store.get(key) is not None
