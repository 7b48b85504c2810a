"""History is forgotten after its time, and only then."""

import asyncio
from pathlib import Path
from typing import Literal

import pytest

from lpmos.core.compaction import CROWDED_KEEP_S, KEEP_S, keep_compacted, kept_s
from lpmos.store.api import Compacted, StoreStatus, Unavailable
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
    keeping = asyncio.create_task(keep_compacted(store, keeps=lambda _: 0.05, interval_s=0.01))
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


@pytest.mark.parametrize(
    ("backend", "in_use", "quota", "kept"),
    [
        ("etcd", 700 << 20, None, CROWDED_KEEP_S),
        ("etcd", 600 << 20, None, KEEP_S),
        ("etcd", 700 << 20, 8 << 30, KEEP_S),
        ("etcd", 3 << 30, 8 << 30, CROWDED_KEEP_S),
        ("sqlite", 3 << 30, None, KEEP_S),
    ],
)
def test_history_is_kept_shorter_where_etcd_has_taken_a_third_of_its_quota(
    backend: Literal["etcd", "sqlite"], in_use: int, quota: int | None, kept: float
) -> None:
    status = StoreStatus(backend, "3.5.9", 1, 4 << 30, True, in_use_bytes=in_use, quota_bytes=quota)
    assert kept_s(status) == kept
