"""The elected control plane's backups: when, how many, and what becomes of one that fails."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from lpmos.app.backend import embedded_store
from lpmos.control.backup_metrics import BackupCollector
from lpmos.core.backup.directory import Directory, backups_in
from lpmos.core.backup.duty import BackupDuty, BackupPlan
from lpmos.model.audit import AuditEvent
from lpmos.store import keys, records
from lpmos.store.api import CasConflict, Leadership, NoSpace, Store
from lpmos.store.sqlite import SqliteStore
from tests.support.backups import files_in, fill
from tests.support.clocks import HandClock
from tests.support.faulty_store import FaultyStore
from tests.support.notifications import TIMEOUT_S, leading
from tests.support.polling import until

METRICS = "lpmos_backup_"


class Backups:
    """The duty over a store with something in it, and what was told."""

    def __init__(self, store: Store, directory: Path) -> None:
        self.store = FaultyStore(store)
        self.clock = HandClock()
        self.directory = directory
        self.full = False
        plan = BackupPlan(
            place=Directory(directory),
            every=timedelta(hours=6),
            keep=2,
            cluster="c",
            scratch=self._scratch,
        )
        self.plan = plan
        self.duty = BackupDuty(self.store, plan, self.clock, look_s=0.01)

    @asynccontextmanager
    async def _scratch(self, directory: Path) -> AsyncIterator[Store]:
        if self.full:
            raise NoSpace("no room for the test")
        async with embedded_store(directory) as store:
            yield store

    @asynccontextmanager
    async def leads(self, duty: BackupDuty | None = None) -> AsyncIterator[Leadership]:
        """The duty is done until the end of the block."""
        leadership = await leading(self.store)
        task = asyncio.create_task((duty or self.duty).lead(leadership))
        try:
            yield leadership
            assert not task.done()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await leadership.resign()

    async def told(self) -> list[str]:
        """What was told of, in order."""
        kvs = sorted((await self.store.range(keys.EVENTS)).kvs, key=lambda kv: kv.mod_revision)
        actions = [records.decode(kv, AuditEvent).action for kv in kvs]
        return [action for action in actions if action.startswith("backup.")]

    async def until_told(self, *actions: str) -> None:
        async def so() -> bool:
            return await self.told() == [*actions]

        await until(so, TIMEOUT_S)

    def metric(self, name: str) -> float | None:
        registry = CollectorRegistry()
        registry.register(BackupCollector(self.duty.standing))
        return registry.get_sample_value(METRICS + name)


@pytest.fixture
async def backups(tmp_path: Path) -> AsyncIterator[Backups]:
    store = await SqliteStore.open(tmp_path / "store.db")
    await fill(store)
    yield Backups(store, tmp_path / "backups")
    await store.close()


async def test_duty_makes_one_at_once_then_each_time_it_is_due(backups: Backups) -> None:
    async with backups.leads():
        await backups.until_told("backup.made")
        backups.clock.move(hours=5, minutes=59)
        await asyncio.sleep(0.05)  # the duty looks five times
        assert await backups.told() == ["backup.made"]
        backups.clock.move(minutes=1)
        await backups.until_told("backup.made", "backup.made")
        backups.clock.move(hours=6)
        await backups.until_told(*["backup.made"] * 3)
    assert len(backups_in(backups.directory)) == 2 == len(files_in(backups.directory))


async def test_duty_of_the_next_leader_waits_until_the_last_backup_is_old(
    backups: Backups,
) -> None:
    async with backups.leads():
        await backups.until_told("backup.made")
    backups.clock.move(hours=5)
    second = BackupDuty(backups.store, backups.plan, backups.clock, look_s=0.01)
    async with backups.leads(second):
        await asyncio.sleep(0.05)  # it looks five times
        assert len(files_in(backups.directory)) == 1
        backups.clock.move(hours=1)
        await backups.until_told("backup.made", "backup.made")


async def test_duty_that_fails_tells_once_keeps_the_good_ones_and_recovers(
    backups: Backups,
) -> None:
    async with backups.leads():
        await backups.until_told("backup.made")
        kept = files_in(backups.directory)
        backups.full = True
        backups.clock.move(hours=6)
        await backups.until_told("backup.made", "backup.failed")
        backups.clock.move(minutes=10)

        async def failed_again() -> bool:
            return backups.metric("failures_total") == 2

        await until(failed_again, TIMEOUT_S)
        assert await backups.told() == ["backup.made", "backup.failed"]
        assert files_in(backups.directory) == kept
        assert backups.metric("failing") == 1
        backups.full = False
        backups.clock.move(minutes=10)
        await backups.until_told("backup.made", "backup.failed", "backup.made")
        assert backups.metric("failing") == 0
        assert backups.metric("last_success_timestamp_seconds") == backups.clock().timestamp()


async def test_duty_with_a_store_that_is_cut_off_goes_on_when_it_is_back(
    backups: Backups,
) -> None:
    async with backups.leads():
        await backups.until_told("backup.made")
        backups.store.away = True
        backups.clock.move(hours=6)

        async def failed() -> bool:
            return backups.metric("failures_total") == 1

        await until(failed, TIMEOUT_S)
        backups.store.away = False
        backups.clock.move(minutes=10)
        await backups.until_told("backup.made", "backup.made")


async def test_duty_that_leads_no_more_fails_no_more_and_tells_anew_when_it_leads_again(
    backups: Backups,
) -> None:
    backups.full = True
    async with backups.leads():
        await backups.until_told("backup.failed")
        assert backups.metric("failing") == 1
    assert backups.metric("failing") == 0
    async with backups.leads():
        await backups.until_told("backup.failed", "backup.failed")


async def test_duty_of_a_leader_that_was_deposed_ends(backups: Backups) -> None:
    leadership = await leading(backups.store)
    await leadership.resign()
    with pytest.raises(CasConflict):
        async with asyncio.timeout(TIMEOUT_S):
            await backups.duty.lead(leadership)


async def test_duty_with_a_directory_that_is_a_file_tells_of_it(backups: Backups) -> None:
    backups.directory.write_text("")
    async with backups.leads():
        await backups.until_told("backup.failed")
