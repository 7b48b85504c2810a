"""A change that begins with what memory has: the store decides, whatever memory says."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lpmos.core.taskstore import Superseded, TaskStore, logged
from lpmos.model.errors import Conflict
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import KV, Store
from lpmos.store.delegate import Delegate
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import actor, make_task
from tests.support.faulty_store import FaultyStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TASK = make_task()
KEY = keys.task(TASK.idc, TASK.sn)


class Reads(Delegate):
    """A store that counts its reads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.count = 0

    @property
    def inner(self) -> Store:
        return self._store

    async def get(self, key: str, *, revision: int = 0) -> KV | None:
        self.count += 1
        return await self._store.get(key, revision=revision)


class Site:
    """A store with one task, and a memory that hears of nothing by itself."""

    def __init__(self, store: Store) -> None:
        self.store = Reads(store)
        self.memory: KV | None = None
        self.changes = TaskStore(self.store, lambda key: self.memory if key == KEY else None)

    async def put(self, task: Task) -> None:
        await self.store.put(KEY, records.encode(task))

    async def remember(self) -> None:
        self.memory = await self.store.inner.get(KEY)

    async def logs(self) -> list[str]:
        kv = await self.store.inner.get(KEY)
        assert kv is not None
        return [line.split("] ")[1] for line in records.decode(kv, Task).logs]

    async def say(self, text: str) -> Task:
        return await self.changes.change(
            TASK, lambda task: logged(task, NOW, f"[INFO] {text}"), by=actor("somebody")
        )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    opened = await SqliteStore.open(tmp_path / "store.db")
    yield FaultyStore(opened)
    await opened.close()


@pytest.fixture
async def site(store: FaultyStore) -> Site:
    site = Site(store)
    await site.put(TASK)
    await site.remember()
    return site


async def test_change_of_what_memory_has_reads_nothing(site: Site) -> None:
    await site.say("a")
    assert site.store.count == 0
    assert await site.logs() == ["a"]


async def test_change_of_old_memory_loses_no_update(site: Site) -> None:
    await site.say("a")
    await site.say("b")
    assert await site.logs() == ["a", "b"]


async def test_memory_of_a_task_that_is_over_now_is_not_believed(site: Site) -> None:
    await site.put(make_task(task_id="00000000-0000-0000-0000-0000000000ff"))
    with pytest.raises(Superseded):
        await site.say("a")
    assert await site.logs() == []


async def test_what_memory_would_refuse_is_asked_of_the_store(site: Site) -> None:
    await site.say("approved")

    def step(task: Task) -> Task:
        if not task.logs:
            raise Conflict("not yet")
        return logged(task, NOW, "[INFO] claimed")

    await site.changes.change(TASK, step, by=actor("somebody"))
    assert await site.logs() == ["approved", "claimed"]


async def test_nothing_to_do_is_said_of_the_store_only(site: Site) -> None:
    await site.say("newer")
    same = await site.changes.change(TASK, lambda task: task, by=actor("somebody"))
    assert len(same.logs) == 1


async def test_change_whose_answer_is_lost_is_made_once(site: Site, store: FaultyStore) -> None:
    store.lose_answers = 1
    await site.say("a")
    assert await site.logs() == ["a"]
