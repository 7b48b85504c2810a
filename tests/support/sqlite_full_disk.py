"""A process that fills the disk of an embedded store, makes space, and reports what it saw.

    python -m tests.support.sqlite_full_disk <directory>

The directory is a small file system of its own. One JSON object is printed.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

from lpmos.store.api import NoSpace, WatchBatch
from lpmos.store.sqlite import SqliteStore

PREFIX = "/os/full/"
BALLAST_BYTES = 1_000_000
VALUE = b"x" * 20_000
MOST_WRITES = 10_000


async def _fill(store: SqliteStore) -> dict[str, int]:
    """Write until there is no space; what was acknowledged."""
    acknowledged: dict[str, int] = {}
    for number in range(MOST_WRITES):
        key = f"{PREFIX}{number:05}"
        try:
            acknowledged[key] = await store.put(key, VALUE)
        except NoSpace:
            return acknowledged
    raise AssertionError("the disk was never full")


async def _snapshot_error(store: SqliteStore, path: Path) -> str:
    try:
        await store.snapshot(path)
    except NoSpace:
        return "NoSpace"
    return "none"


def _copies(directory: Path) -> list[str]:
    return [path.name for path in directory.glob("copy*")]


async def _report(directory: Path) -> dict[str, Any]:
    ballast = directory / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    store = await SqliteStore.open(directory / "store.db")
    start = (await store.status()).revision
    acknowledged = await _fill(store)
    full = await store.status()
    page = await store.range(PREFIX, keys_only=True)
    snapshot = await _snapshot_error(store, directory / "copy.db")
    ballast.unlink()
    after = await store.put(f"{PREFIX}after", b"")
    seen = await _events(store, start + 1, len(acknowledged) + 1)
    report = {
        "acknowledged": acknowledged,
        "full": [full.healthy, *full.alarms],
        "kept": {kv.key: kv.mod_revision for kv in page.kvs},
        "snapshot": snapshot,
        "left_behind": _copies(directory),
        "after": after,
        "healthy_after": (await store.status()).healthy,
        "watched": seen,
    }
    await store.close()
    return report


async def _events(store: SqliteStore, from_revision: int, count: int) -> list[int]:
    seen: list[int] = []
    batch: WatchBatch
    async for batch in store.watch(PREFIX, from_revision=from_revision):
        seen += [event.kv.mod_revision for event in batch.events]
        if len(seen) >= count:
            break
    return seen


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_report(Path(sys.argv[1])))))
