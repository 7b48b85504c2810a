"""A process that holds a lease and a lock on an embedded store.

    python -m tests.support.sqlite_holder <path> <ttl_s>

It prints `held` once `HELD_KEY` is on the lease, and `lost` when the lease is lost and its key is
gone, then ends.
"""

import asyncio
import sys
from pathlib import Path

from lpmos.store.sqlite import SqliteStore

HELD_KEY = "/os/held"


async def main() -> None:
    store = await SqliteStore.open(Path(sys.argv[1]))
    lease = await store.grant(int(sys.argv[2]))
    revision = await store.put(HELD_KEY, b"", lease=lease.id)
    print("held", flush=True)
    await lease.lost.wait()
    async for batch in store.watch(HELD_KEY, from_revision=revision + 1):
        print("lost", batch.events[0].type, flush=True)
        break
    await store.close()


if __name__ == "__main__":
    asyncio.run(main())
