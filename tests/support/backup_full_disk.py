"""A process that makes a backup, fills the disk of its directory, and tries again.

    python -m tests.support.backup_full_disk <store's directory> <directory for backups>

The second directory is a small file system of its own. One JSON object is printed.
"""

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

from lpmos.core.backup.directory import Directory, backups_in
from lpmos.core.backup.making import make_backup
from lpmos.core.backup.verification import verify
from lpmos.core.clock import utc_now
from lpmos.store.sqlite import SqliteStore
from tests.support.backups import files_in

VALUES = 200
VALUE_BYTES = 20_000


async def _report(state: Path, directory: Path) -> dict[str, Any]:
    store = await SqliteStore.open(state / "store.db")
    first = await make_backup(store, Directory(directory), cluster="c", clock=utc_now)
    for number in range(VALUES):
        await store.put(f"/os/noise/{number}", os.urandom(VALUE_BYTES))
    try:
        await make_backup(store, Directory(directory), cluster="c", clock=utc_now)
        error = "none"
    except OSError as full:
        error = str(full.strerror)
    await store.close()
    (kept,) = backups_in(directory)
    return {
        "error": error,
        "kept": kept == first,
        "good": (await verify(Path(kept.where))).manifest == first.manifest,
        "files": len(files_in(directory)),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_report(Path(sys.argv[1]), Path(sys.argv[2])))))
