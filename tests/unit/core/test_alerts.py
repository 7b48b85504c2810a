"""Regions that fall silent and reports that pile up are told of once, whoever leads."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from lpmos.core.fleet import Fleet
from lpmos.core.notifications.alerts import OFFLINE_AFTER, PREFIX, AlertDuty, AlertTerm
from lpmos.model.audit import AuditEvent
from lpmos.model.machine import UnmatchedReport
from lpmos.model.region import Heartbeat
from lpmos.store import keys, records
from lpmos.store.api import Ambiguous, CasConflict, Unavailable
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import make_capabilities, make_inventory
from tests.support.clocks import HandClock
from tests.support.faulty_store import FaultyStore
from tests.support.following import following
from tests.support.notifications import TIMEOUT_S, leading

BEAT = keys.heartbeat("dc1")


class Watched:
    """A fleet, and what was told of it."""

    def __init__(self, store: FaultyStore) -> None:
        self.store = store
        self.clock = HandClock()
        self.mirror = Mirror(store, keys.ROOT)
        self.fleet = Fleet(self.mirror)
        self.duty = AlertDuty(store, self.fleet, self.clock, unmatched_limit=4)

    @asynccontextmanager
    async def term(self) -> AsyncIterator[AlertTerm]:
        """A term of leadership."""
        leadership = await leading(self.store)
        yield self.duty.term(leadership)
        await leadership.resign()

    async def told(self) -> list[tuple[str, str | None]]:
        """What was told of, in order."""
        kvs = sorted((await self.store.range(keys.EVENTS)).kvs, key=lambda kv: kv.mod_revision)
        events = [records.decode(kv, AuditEvent) for kv in kvs]
        return [(event.action, event.idc) for event in events]

    async def beat(self) -> None:
        beat = Heartbeat(idc="dc1", identity="a", at=self.clock(), services={})
        await self.synced(await self.store.put(BEAT, records.encode(beat)))

    async def silent(self) -> None:
        await self.gone(BEAT)

    async def gone(self, key: str) -> None:
        await self.store.delete(key)
        await self.synced(await self.store.put(keys.idc_prefix("dc1") + "probe", b""))

    async def synced(self, revision: int) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            await self.mirror.wait_for(revision)

    async def report(self, number: int) -> str:
        mac = f"52:54:00:00:00:{number:02x}"
        report = UnmatchedReport(
            mac_address=mac,
            region="dc1",
            hardware=make_inventory(),
            received_at=self.clock(),
            error="no task for this machine",
        )
        key = keys.unmatched("dc1", self.clock(), mac)
        await self.synced(await self.store.put(key, records.encode(report)))
        return key


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    store = FaultyStore(await SqliteStore.open(tmp_path / "store.db"))
    watched = Watched(store)
    async with following(watched.mirror):
        yield watched
    await store.close()


ONLINE, OFFLINE = ("region.online", "dc1"), ("region.offline", "dc1")
OFFLINE_STATE = b'{"state":"offline","since":"2026-01-01T00:00:00Z"}'
MANY, FEW = ("unmatched.many", "dc1"), ("unmatched.few", "dc1")


async def test_region_that_comes_and_goes_is_told_of_each_time(watched: Watched) -> None:
    async with watched.term() as term:
        await watched.beat()
        await term.look()
        await watched.silent()
        await term.look()
        assert await watched.told() == []
        watched.clock.now += OFFLINE_AFTER
        await term.look()
        assert await watched.told() == [OFFLINE]
        await watched.beat()
        await term.look()
        await term.look()
        assert await watched.told() == [OFFLINE, ONLINE]


async def test_region_that_is_back_soon_is_not_told_of(watched: Watched) -> None:
    async with watched.term() as term:
        await watched.beat()
        await term.look()
        for _ in range(3):
            await watched.silent()
            await term.look()
            watched.clock.now += OFFLINE_AFTER - timedelta(seconds=1)
            await term.look()
            await watched.beat()
            await term.look()
        assert await watched.told() == []


async def test_region_that_fell_silent_while_nobody_led_is_told_of_once(watched: Watched) -> None:
    async with watched.term() as term:
        await watched.beat()
        await term.look()
    await watched.silent()
    for _ in range(3):
        async with watched.term() as term:
            await term.look()
            watched.clock.now += OFFLINE_AFTER
            await term.look()
            assert await watched.told() == [OFFLINE]


async def test_region_that_is_seen_first_is_told_of_when_it_changes(watched: Watched) -> None:
    stored = await watched.store.put(keys.capabilities("dc1"), records.encode(make_capabilities()))
    await watched.synced(stored)
    async with watched.term() as term:
        await term.look()
        watched.clock.now += OFFLINE_AFTER
        await term.look()
        assert await watched.told() == []
        await watched.beat()
        await term.look()
    assert await watched.told() == [ONLINE]


async def test_unmatched_reports_are_told_of_beyond_the_limit_and_at_half_of_it(
    watched: Watched,
) -> None:
    async with watched.term() as term:
        kept = [await watched.report(number) for number in range(4)]
        await term.look()
        assert await watched.told() == []
        kept.append(await watched.report(4))
        await term.look()
        assert await watched.told() == [MANY]
        for key in kept[:2]:
            await watched.gone(key)
        await term.look()
        assert await watched.told() == [MANY]
        await watched.gone(kept[2])
        await term.look()
        assert await watched.told() == [MANY, FEW]


async def test_answer_that_was_lost_leaves_one_event(watched: Watched) -> None:
    await watched.store.put(PREFIX + "region/dc1", OFFLINE_STATE)
    await watched.beat()
    async with watched.term() as term:
        watched.store.lose_answers = 1
        with pytest.raises(Ambiguous):
            await term.look()
        await term.look()
    assert await watched.told() == [ONLINE]


async def test_store_that_is_away_makes_no_region_offline(watched: Watched) -> None:
    await watched.beat()
    async with watched.term() as term:
        await term.look()
        watched.store.away = True
        with pytest.raises(Unavailable):
            await watched.store.get(BEAT)
        watched.clock.now += OFFLINE_AFTER
        await term.look()
        watched.store.away = False
    assert await watched.told() == []


async def test_duty_that_leads_no_more_tells_nothing(watched: Watched) -> None:
    await watched.beat()
    leadership = await leading(watched.store)
    await watched.store.delete(leadership.fence[0].key)
    with pytest.raises(CasConflict):
        async with asyncio.timeout(TIMEOUT_S):
            await watched.duty.lead(leadership)
    assert await watched.told() == []
    await leadership.resign()


async def test_record_that_is_damaged_is_written_anew(watched: Watched) -> None:
    await watched.beat()
    await watched.store.put(PREFIX + "region/dc1", b"rubbish")
    async with watched.term() as term:
        await term.look()
        await term.look()
        assert await watched.told() == []
        await watched.silent()
        await term.look()
        watched.clock.now += OFFLINE_AFTER
        await term.look()
    assert await watched.told() == [OFFLINE]
