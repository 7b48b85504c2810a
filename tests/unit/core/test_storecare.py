"""A store that fills up is told of once by who leads, and once when it has room again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from lpmos.control.store_metrics import StoreCollector
from lpmos.core.storecare import StoreCare
from lpmos.model.audit import AuditEvent
from lpmos.store import keys, records
from lpmos.store.api import CasConflict, Store, StoreStatus
from lpmos.store.sqlite import SqliteStore
from tests.support.clocks import HandClock
from tests.support.faulty_store import FaultyStore
from tests.support.notifications import TIMEOUT_S, leading
from tests.support.polling import until


class Sized(FaultyStore):
    """A store that says of itself what a test wants."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.said: dict[str, object] = {}

    async def status(self) -> StoreStatus:
        return msgspec.structs.replace(await super().status(), **self.said)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Sized]:
    opened = await SqliteStore.open(tmp_path / "store.db")
    yield Sized(opened)
    await opened.close()


@asynccontextmanager
async def caring(store: Store) -> AsyncIterator[StoreCare]:
    care = StoreCare(store, HandClock(), look_s=0.01)
    leadership = await leading(store)
    tasks = [asyncio.create_task(care.run()), asyncio.create_task(care.lead(leadership))]
    yield care
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until_told(store: Store, *actions: str) -> None:
    async def so() -> bool:
        kvs = sorted((await store.range(keys.EVENTS)).kvs, key=lambda kv: kv.mod_revision)
        return [records.decode(kv, AuditEvent).action for kv in kvs] == [*actions]

    await until(so, TIMEOUT_S)


async def test_care_tells_when_the_store_fills_and_when_it_has_room_again(store: Sized) -> None:
    async with caring(store):
        store.said = {"backend": "etcd", "size_bytes": 90, "quota_bytes": 100}
        await until_told(store, "store.filling")
        store.said = {"backend": "etcd", "alarms": ("NOSPACE",)}
        await until_told(store, "store.filling", "store.full")
        store.said = {}
        await until_told(store, "store.filling", "store.full", "store.recovered")


async def test_care_of_a_leader_that_was_deposed_ends(store: Sized) -> None:
    store.said = {"alarms": ("NOSPACE",)}
    care = StoreCare(store, HandClock(), look_s=0.01)
    leadership = await leading(store)
    await leadership.resign()
    watching = asyncio.create_task(care.run())
    with pytest.raises(CasConflict):
        async with asyncio.timeout(TIMEOUT_S):
            await care.lead(leadership)
    watching.cancel()


async def test_care_shows_the_store_as_metrics(store: Sized) -> None:
    registry = CollectorRegistry()
    async with caring(store) as care:
        registry.register(StoreCollector(care))
        store.said = {"backend": "etcd", "quota_bytes": 100}
        labels = {"backend": "etcd"}

        async def known() -> bool:
            return registry.get_sample_value("lpmos_store_quota_bytes", labels) == 100

        await until(known, TIMEOUT_S)
        in_use = registry.get_sample_value("lpmos_store_in_use_bytes", labels)
        assert in_use is not None and in_use > 0
        assert registry.get_sample_value("lpmos_store_alarms", labels) == 0
