"""A process that writes to an embedded store without end and says what was acknowledged.

    python -m tests.support.sqlite_writer <path>

Each line on standard output is `<writer> <number>`: that writer's keys `a` and `b`, written in one
transaction, are acknowledged with that number. Numbers go on from what the store has.
"""

import asyncio
import os
import sys
from pathlib import Path

from lpmos.store.api import Put
from lpmos.store.sqlite import SqliteStore

WRITERS = 16
PREFIX = "/os/kill/"


async def _write(store: SqliteStore, writer: int) -> None:
    kv = await store.get(f"{PREFIX}{writer}/a")
    number = int(kv.value) if kv else 0
    while True:
        number += 1
        value = b"%d" % number
        await store.txn([], [Put(f"{PREFIX}{writer}/{half}", value) for half in "ab"])
        os.write(sys.stdout.fileno(), b"%d %d\n" % (writer, number))


async def main() -> None:
    store = await SqliteStore.open(Path(sys.argv[1]))
    async with asyncio.TaskGroup() as group:
        for writer in range(WRITERS):
            group.create_task(_write(store, writer))


if __name__ == "__main__":
    asyncio.run(main())
