"""Making a backup: written and tested under a hidden name, and put in its place at the very end.

The rule: what has a backup's name is whole, and the newest good ones are touched by nothing that
goes wrong. A maker that is killed leaves a hidden file, which the next one a day later removes.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from lpmos import __version__
from lpmos.core.backup.content import Content
from lpmos.core.backup.form import SUFFIX, BackupWriter
from lpmos.core.backup.place import Backup, Place
from lpmos.core.clock import Clock
from lpmos.store.api import Store

ABANDONED_S = 86_400.0
"""How old a hidden file must be before nobody can still be writing it."""

Check = Callable[[Path], Awaitable[object]]


async def make_backup(
    store: Store, place: Place, *, cluster: str, clock: Clock, check: Check | None = None
) -> Backup:
    """Make a backup of `store` in `place`; it has its name once `check` found it good.

    `check` is given the file under its hidden name, and raises where it is not good.

    Raises:
        OSError: the place's directory cannot be written, or the disk is full.
        BackupPlaceError: the place does not take it.
        StoreError: the store cannot be read.
        DamagedBackup: the file was not read back as it was written.
    """
    made_at = clock()
    await asyncio.to_thread(_prepare, place.work)
    hidden = place.work / f".{made_at:%Y%m%dT%H%M%S.%fZ}-{os.getpid()}.part"
    try:
        content, writer = Content(store), await asyncio.to_thread(BackupWriter, hidden)
        try:
            async for page in content.pages():
                await asyncio.to_thread(writer.add, page)
            manifest = writer.tally.manifest(
                made_at=made_at, cluster=cluster, version=__version__, revision=content.revision
            )
            await asyncio.to_thread(writer.seal, manifest)
        finally:
            writer.close()
        if check is not None:
            await check(hidden)
        name = f"lpmos-{made_at:%Y%m%dT%H%M%SZ}-r{content.revision}{SUFFIX}"
        size_bytes = hidden.stat().st_size
        where = await place.put(hidden, name)
    finally:
        hidden.unlink(missing_ok=True)
    return Backup(where, name, manifest, size_bytes)


def _prepare(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (*directory.glob(".*.part"), *directory.glob(".*.restored")):
        if time.time() - path.stat().st_mtime > ABANDONED_S:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
