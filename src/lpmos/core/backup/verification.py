"""Whether a backup is good: every byte of it, every document in it, and that it can be restored.

A document that was damaged in the store is as damaged in its backup. That is told, but the backup
is good all the same: it is what the store had.
"""

import asyncio
import hashlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TypeVar

import msgspec

from lpmos.core.backup.content import Content
from lpmos.core.backup.form import Manifest, Record, framed, read_manifest
from lpmos.core.backup.form import read_records as records_in
from lpmos.core.backup.kinds import fault_of
from lpmos.core.backup.loading import load
from lpmos.model.errors import DamagedBackup
from lpmos.store.api import Store

FAULTS_KEPT = 100

T = TypeVar("T")
Scratch = Callable[[Path], AbstractAsyncContextManager[Store]]
"""Opens a store of its own in a directory."""


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """A good backup: `faults` are documents that cannot be read, by key, the first of `faulty`."""

    manifest: Manifest
    faults: dict[str, str]
    faulty: int


async def verify(path: Path) -> Verdict:
    """Read all of a backup.

    Raises:
        DamagedBackup: it is not whole.
        OSError: it cannot be read.
    """
    return await asyncio.to_thread(_verified, path)


def _verified(path: Path) -> Verdict:
    faults: dict[str, str] = {}
    faulty = 0
    for batch in records_in(path):
        for record in batch:
            fault = fault_of(record.key, record.value)
            if fault is not None:
                faulty += 1
                if len(faults) < FAULTS_KEPT:
                    faults[record.key] = fault
    return Verdict(manifest=read_manifest(path), faults=faults, faulty=faulty)


async def prove(path: Path, scratch: Scratch) -> Verdict:
    """Read all of a backup, restore it into a store that is thrown away, and compare that store.

    The store stands beside the file, so there must be room for it.

    Raises:
        DamagedBackup: the file is not whole, or what was restored is not what it holds.
        OSError, StoreError: there is no room, or the store failed.
    """
    verdict = await verify(path)
    directory = path.with_name(f".{path.name.lstrip('.')}.restored")
    try:
        await asyncio.to_thread(directory.mkdir, 0o700)
        async with scratch(directory) as store:
            async for batch in batches(path):
                await load(store, batch)
            digest = hashlib.sha256()
            async for page in Content(store).pages():
                await asyncio.to_thread(_digest, digest, page)
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
    if digest.hexdigest() != verdict.manifest.sha256:
        raise DamagedBackup(f"{path}: what was restored from it is not what it holds")
    return verdict


async def batches(path: Path) -> AsyncIterator[list[Record]]:
    """The records of a backup, read in a thread; raises as `read_records` of the file's form."""
    reading: Iterator[list[Record]] = records_in(path)
    while batch := await asyncio.to_thread(next, reading, None):
        yield batch


def _digest(digest: "hashlib._Hash", page: list[Record]) -> None:
    for record in page:
        digest.update(framed(record))
