"""A change that begins with what memory has: the store decides, whatever memory says."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from lpmos.core.taskstore import WRITTEN_LATELY, Superseded, TaskStore, logged, moved
from lpmos.model.errors import Conflict
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import Machine, ServerEntry
from lpmos.model.task import Task, TaskError
from lpmos.store import keys, records
from lpmos.store.api import KV, Store
from lpmos.store.delegate import Delegate
from tests.support.builders import actor, make_task
from tests.support.faulty_store import FaultyStore

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EARLIER = NOW - timedelta(days=1)
TASK = make_task()
KEY = keys.task(TASK.idc, TASK.sn)
META = keys.meta(TASK.idc, TASK.sn)
SERVER = keys.server(TASK.idc, TASK.sn)
MACHINE = Machine(
    idc=TASK.idc, sn=TASK.sn, macs=(TASK.mac,), first_seen_at=EARLIER, updated_at=EARLIER
)


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
        self.memory: dict[str, KV] = {}
        self.changes = TaskStore(self.store, self.memory.get)

    async def put(self, task: Task) -> None:
        await self.store.put(KEY, records.encode(task))

    async def remember(self, key: str = KEY) -> None:
        kv = await self.store.inner.get(key)
        assert kv is not None
        self.memory[key] = kv

    async def logs(self) -> list[str]:
        kv = await self.store.inner.get(KEY)
        assert kv is not None
        return [line.split("] ")[1] for line in records.decode(kv, Task).logs]

    async def say(self, text: str) -> Task:
        return await self.changes.change(
            TASK, lambda task: logged(task, NOW, f"[INFO] {text}"), by=actor("somebody")
        )

    async def fail(self) -> Task:
        """A change of the status, which goes with one of the machine's record."""

        def step(task: Task) -> Task:
            return moved(task, Event.FAIL, NOW, error=TaskError(reason="x"))

        def tagged(known: Machine | None) -> Machine | None:
            return known and msgspec.structs.replace(known, tags={**known.tags, "seen": "yes"})

        by = actor("somebody")
        return await self.changes.change(TASK, step, by=by, machine=lambda _: tagged)

    async def tags(self) -> dict[str, str]:
        kv = await self.store.inner.get(META)
        assert kv is not None
        return dict(records.decode(kv, Machine).tags)


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
    await TaskStore(site.store).change(
        TASK, lambda task: logged(task, NOW, "[INFO] a"), by=actor("another")
    )
    await site.say("b")
    assert await site.logs() == ["a", "b"]


async def test_change_right_after_another_reads_nothing(site: Site) -> None:
    await site.say("a")
    await site.say("b")
    assert site.store.count == 0
    assert await site.logs() == ["a", "b"]


async def test_memory_that_is_newer_than_what_was_written_here_counts(site: Site) -> None:
    await site.say("a")
    await TaskStore(site.store.inner).change(
        TASK, lambda task: logged(task, NOW, "[INFO] b"), by=actor("another")
    )
    await site.remember()
    await site.say("c")
    assert site.store.count == 0
    assert await site.logs() == ["a", "b", "c"]


async def test_no_more_than_so_many_written_tasks_are_known_before_memory_hears(site: Site) -> None:
    tasks = [make_task(sn=f"OTHER-{number}") for number in range(WRITTEN_LATELY)]
    for task in tasks:
        key = keys.task(task.idc, task.sn)
        await site.store.put(key, records.encode(task))
        await site.remember(key)
    await site.say("a")
    for task in tasks:
        by = actor("somebody")
        await site.changes.change(task, lambda task: logged(task, NOW, "[INFO] x"), by=by)
    assert site.store.count == 0
    await site.say("b")
    assert site.store.count == 1
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


async def test_new_status_of_what_memory_has_reads_nothing(site: Site) -> None:
    added = ServerEntry(sn=TASK.sn, status="pending", mac=TASK.mac, added_at=EARLIER)
    await site.store.put(SERVER, records.encode(added))
    await site.store.put(META, records.encode(MACHINE))
    await site.remember(SERVER)
    await site.remember(META)
    assert (await site.fail()).status is Status.FAILED
    assert site.store.count == 0
    kv = await site.store.inner.get(SERVER)
    assert kv is not None
    entry = records.decode(kv, ServerEntry)
    assert (entry.status, entry.added_at) == ("failed", EARLIER)
    assert await site.tags() == {"seen": "yes"}


async def test_new_status_loses_no_update_of_the_machine_that_memory_has_not(site: Site) -> None:
    await site.store.put(META, records.encode(MACHINE))
    await site.remember(META)
    newer = msgspec.structs.replace(MACHINE, tags={"rack": "a"})
    await site.store.put(META, records.encode(newer))
    await site.fail()
    assert await site.tags() == {"rack": "a", "seen": "yes"}


async def test_new_status_of_a_machine_that_only_the_store_knows_changes_it(site: Site) -> None:
    await site.store.put(META, records.encode(MACHINE))
    await site.fail()
    assert await site.tags() == {"seen": "yes"}


async def test_change_whose_answer_is_lost_is_made_once(site: Site, store: FaultyStore) -> None:
    store.lose_answers = 1
    await site.say("a")
    assert await site.logs() == ["a"]
