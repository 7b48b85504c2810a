"""History is forgotten after its time, and only then."""

import asyncio
from pathlib import Path

import pytest

from lpmos.core.compaction import keep_compacted
from lpmos.store.api import Compacted, Unavailable
from lpmos.store.sqlite import SqliteStore
from tests.support.faulty_store import FaultyStore

TIMEOUT_S = 30.0


async def compacted(store: FaultyStore, revision: int) -> bool:
    try:
        await store.get("/os/a", revision=revision)
    except Compacted:
        return True
    except Unavailable:
        return False
    return False


async def test_keep_compacted_forgets_what_is_older_and_outlives_an_outage(tmp_path: Path) -> None:
    store = FaultyStore(await SqliteStore.open(tmp_path / "store.db"))
    revisions = [await store.put("/os/a", b"%d" % number) for number in range(5)]
    store.away = True
    keeping = asyncio.create_task(keep_compacted(store, keep_s=0.05, interval_s=0.01))
    store.away = False
    async with asyncio.timeout(TIMEOUT_S):
        while not await compacted(store, revisions[0]):  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(0.01)
    now = await store.get("/os/a")
    assert now is not None and now.value == b"4"
    assert not keeping.done()
    keeping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await keeping
    await store.close()
