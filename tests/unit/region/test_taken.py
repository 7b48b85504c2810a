"""Who took something: one holder, on the disk always, in the store as soon as it is there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lpmos.model.errors import SettingsError
from lpmos.region.taken import FILE_NAME, SWEEP_S, Ledger, Taken, ledger
from lpmos.store import keys, records
from lpmos.store.api import Unavailable
from lpmos.store.fenced import NotActive
from lpmos.store.sqlite import SqliteStore
from tests.support.faulty_store import FaultyStore

LIFE = timedelta(hours=1)


class Site:
    """One store, and the ledgers of a region's clients, each on a disk of its own."""

    def __init__(self, directory: Path, store: SqliteStore) -> None:
        self.directory = directory
        self.store = FaultyStore(store)
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    @asynccontextmanager
    async def client(self, name: str) -> AsyncIterator[Ledger]:
        """Its ledger; its mirror has nothing yet, so only store and disk count."""
        state_dir = self.directory / name
        state_dir.mkdir(exist_ok=True)
        async with ledger(
            self.store,
            lambda _: None,
            lambda: not self.store.away,
            lambda: self.now,
            idc="dc1",
            state_dir=state_dir,
        ) as made:
            yield made

    async def stored(self) -> dict[str, str]:
        """Holders by name, as the store has them."""
        page = await self.store.range(keys.taken("dc1", ""))
        found = [records.decode(kv, Taken) for kv in page.kvs]
        return {taken.name: taken.holder for taken in found}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    store = await SqliteStore.open(tmp_path / "store.db")
    try:
        yield Site(tmp_path, store)
    finally:
        await store.close()


async def test_first_holder_has_it_on_every_client(site: Site) -> None:
    async with site.client("a") as a, site.client("b") as b:
        assert (await a.take("n", "one", site.now + LIFE)).holder == "one"
        assert (await a.take("n", "two", site.now + LIFE)).holder == "one"
        assert (await b.take("n", "two", site.now + LIFE)).holder == "one"
        assert await site.stored() == {"n": "one"}


async def test_taken_without_the_store_is_told_when_it_is_back(site: Site) -> None:
    site.store.away = True
    async with site.client("a") as a:
        assert (await a.take("n", "one", site.now + LIFE)).holder == "one"
    async with site.client("a") as a:
        assert (await a.take("n", "two", site.now + LIFE)).holder == "one"
        await a.look()
        site.store.away = False
        await a.look()
        assert await site.stored() == {"n": "one"}
    async with site.client("b") as b:
        assert (await b.take("n", "two", site.now + LIFE)).holder == "one"


async def test_lost_answer_of_the_store_is_the_same_holder(site: Site) -> None:
    async with site.client("a") as a:
        site.store.lose_answers = 1
        assert (await a.take("n", "one", site.now + LIFE)).holder == "one"
        await a.look()
        assert (await a.take("n", "two", site.now + LIFE)).holder == "one"
        assert await site.stored() == {"n": "one"}


async def test_what_is_over_is_forgotten_here_and_in_the_store(site: Site) -> None:
    async with site.client("a") as a:
        await a.take("old", "one", site.now + timedelta(seconds=SWEEP_S / 2))
        await a.take("new", "one", site.now + LIFE)
        site.now += timedelta(seconds=SWEEP_S)
        await a.look()
        assert await site.stored() == {"new": "one"}
        assert (a.holder("old"), a.holder("new") is None) == (None, False)
    async with site.client("a") as a:
        assert (a.holder("old"), a.holder("new") is None) == (None, False)


async def test_taken_twice_while_clients_were_apart_ends_with_the_stores(site: Site) -> None:
    site.store.away = True
    async with site.client("a") as a, site.client("b") as b:
        await a.take("n", "one", site.now + LIFE)
        await b.take("n", "two", site.now + LIFE)
        site.store.away = False
        await a.look()
        await b.look()
        assert await site.stored() == {"n": "one"}


async def test_client_that_stands_by_lets_nobody_take_anything(site: Site) -> None:
    async with site.client("a") as a:

        async def stands_by() -> None:
            raise NotActive("another one is active")

        site.store.before_txn.append(stands_by)
        with pytest.raises(NotActive):
            await a.take("n", "one", site.now + LIFE)
        assert a.holder("n") is None


async def test_second_process_on_the_same_disk_is_refused(site: Site) -> None:
    async with site.client("a"):
        with pytest.raises((SettingsError, Unavailable), match=FILE_NAME):
            async with site.client("a"):
                pass
