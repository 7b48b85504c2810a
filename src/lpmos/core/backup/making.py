"""Making a backup, and the directory of those that were made.

The rule: what has a backup's name is whole, and the newest good ones are touched by nothing that
goes wrong. A maker that is killed leaves a hidden file, which the next one a day later removes.
"""

import asyncio
import os
import shutil
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from lpmos import __version__
from lpmos.core.backup.content import Content
from lpmos.core.backup.form import (
    SUFFIX,
    BackupWriter,
    Manifest,
    read_manifest,
)
from lpmos.core.clock import Clock
from lpmos.model.errors import DamagedBackup
from lpmos.store.api import Store

ABANDONED_S = 86_400.0
"""How old a hidden file must be before nobody can still be writing it."""

Check = Callable[[Path], Awaitable[object]]


class Backup(NamedTuple):
    """One backup in a directory."""

    path: Path
    manifest: Manifest
    size_bytes: int


async def make_backup(
    store: Store, directory: Path, *, cluster: str, clock: Clock, check: Check | None = None
) -> Backup:
    """Write a backup of `store` into `directory`; it has its name once `check` found it good.

    `check` is given the file under its hidden name, and raises where it is not good.

    Raises:
        OSError: the directory cannot be written, or the disk is full.
        StoreError: the store cannot be read.
        DamagedBackup: the file was not read back as it was written.
    """
    made_at = clock()
    await asyncio.to_thread(_prepare, directory)
    hidden = directory / f".{made_at:%Y%m%dT%H%M%S.%fZ}-{os.getpid()}.part"
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
        path = directory / f"lpmos-{made_at:%Y%m%dT%H%M%SZ}-r{content.revision}{SUFFIX}"
        await asyncio.to_thread(_give_name, hidden, path)
    finally:
        hidden.unlink(missing_ok=True)
    return Backup(path, manifest, path.stat().st_size)


def backups_in(directory: Path) -> list[Backup]:
    """The backups of a directory, the newest first; a file that is none, or damaged, is left out.

    Raises:
        OSError: the directory cannot be read.
    """
    found = []
    for path in directory.glob(f"*{SUFFIX}") if directory.exists() else ():
        try:
            found.append(Backup(path, read_manifest(path), path.stat().st_size))
        except (DamagedBackup, FileNotFoundError):
            continue
    return sorted(found, key=lambda each: (each.manifest.made_at, each.path), reverse=True)


def prune(directory: Path, keep: int, cluster: str) -> list[Path]:
    """Delete all backups of this cluster but the `keep` newest; those that were deleted.

    Raises:
        OSError: one cannot be deleted.
    """
    mine = [each for each in backups_in(directory) if each.manifest.cluster == cluster]
    for each in mine[keep:]:
        each.path.unlink(missing_ok=True)
    return [each.path for each in mine[keep:]]


def _prepare(directory: Path) -> None:
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (*directory.glob(".*.part"), *directory.glob(".*.restored")):
        if time.time() - path.stat().st_mtime > ABANDONED_S:
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _give_name(hidden: Path, path: Path) -> None:
    """The file under its name, which is on the disk too."""
    hidden.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
