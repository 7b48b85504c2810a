"""What a region knows, on its disk: one moment of the store, checked when it is read."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from lpmos.region.memory import Memory
from lpmos.store import keys
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore

TIMEOUT_S = 30
PREFIX = keys.idc_prefix("dc1")


class Known:
    """A mirror whose memory is `path`."""

    def __init__(self, store: SqliteStore, path: Path) -> None:
        self.mirror = Mirror(store, PREFIX)
        self.memory = Memory(path, self.mirror)

    def values(self) -> dict[str, bytes]:
        return {kv.key: kv.value for kv in self.mirror.items(PREFIX)}


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(tmp_path / "store.db")
    yield store
    await store.close()


async def written(store: SqliteStore, path: Path) -> Known:
    """A region's memory of all that the store has."""
    known = Known(store, path)
    await known.memory.restore()
    running = asyncio.create_task(known.mirror.run())
    revision = await store.put(PREFIX + "probe", b"")
    async with asyncio.timeout(TIMEOUT_S):
        await known.mirror.wait_for(revision)
    await known.memory.flush()
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    return known


async def test_restore_gives_tasks_and_machines_at_their_revision(
    store: SqliteStore, tmp_path: Path
) -> None:
    large = bytes(range(256)) * 50
    await store.put(keys.task("dc1", "SN-1"), b"task")
    await store.put(keys.meta("dc1", "SN-1"), large)
    await store.put(keys.history("dc1", "SN-1", "x"), b"past")
    before = await written(store, tmp_path / "m.db")
    after = Known(store, tmp_path / "m.db")
    assert await after.memory.restore() == 2
    assert after.values() == {keys.task("dc1", "SN-1"): b"task", keys.meta("dc1", "SN-1"): large}
    assert after.mirror.revision == before.mirror.revision
    assert not after.mirror.connected
    for key in after.values():
        assert after.mirror.get(key) == before.mirror.get(key)


async def test_restore_knows_who_may_read_the_logs(store: SqliteStore, tmp_path: Path) -> None:
    await store.put(keys.log_reader("dc1"), b"key")
    await written(store, tmp_path / "m.db")
    after = Known(store, tmp_path / "m.db")
    await after.memory.restore()
    assert after.values() == {keys.log_reader("dc1"): b"key"}


async def test_restore_then_the_store_tells_what_changed_meanwhile(
    store: SqliteStore, tmp_path: Path
) -> None:
    await store.put(keys.task("dc1", "SN-1"), b"old")
    await store.put(keys.task("dc1", "SN-2"), b"gone")
    await written(store, tmp_path / "m.db")
    await store.put(keys.task("dc1", "SN-1"), b"new")
    await store.delete(keys.task("dc1", "SN-2"))
    await written(store, tmp_path / "m.db")
    after = Known(store, tmp_path / "m.db")
    await after.memory.restore()
    assert after.values() == {keys.task("dc1", "SN-1"): b"new"}


async def test_restore_leaves_out_a_damaged_row(store: SqliteStore, tmp_path: Path) -> None:
    for number in range(3):
        await store.put(keys.task("dc1", f"SN-{number}"), b"task")
    await written(store, tmp_path / "m.db")
    connection = sqlite3.connect(tmp_path / "m.db")
    with connection:
        connection.execute(
            "UPDATE documents SET mod_revision = 1 WHERE key = ?", (keys.task("dc1", "SN-1"),)
        )
    connection.close()
    after = Known(store, tmp_path / "m.db")
    assert await after.memory.restore() == 2
    assert keys.task("dc1", "SN-1") not in after.values()


async def test_restore_of_a_file_that_is_no_data_base_begins_anew(
    store: SqliteStore, tmp_path: Path
) -> None:
    (tmp_path / "m.db").write_bytes(b"nothing of the kind" * 1000)
    await store.put(keys.task("dc1", "SN-1"), b"task")
    await written(store, tmp_path / "m.db")
    after = Known(store, tmp_path / "m.db")
    assert await after.memory.restore() == 1


async def test_flushes_at_once_are_one_write_though_more_changes_meanwhile(
    store: SqliteStore, tmp_path: Path
) -> None:
    known = Known(store, tmp_path / "m.db")
    await known.memory.restore()
    running = asyncio.create_task(known.mirror.run())
    async with asyncio.timeout(TIMEOUT_S):
        await known.mirror.wait_for(await store.put(keys.task("dc1", "SN-1"), b"claimed"))
        first = [asyncio.create_task(known.memory.flush()) for _ in range(10)]
        await asyncio.sleep(0)  # they have asked
        await known.mirror.wait_for(await store.put(keys.task("dc1", "SN-2"), b"later"))
        await asyncio.gather(*first)
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    after = Known(store, tmp_path / "m.db")
    assert await after.memory.restore() == 1
    assert keys.task("dc1", "SN-1") in after.values()
