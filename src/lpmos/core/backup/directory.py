"""Backups as files of a directory of this machine, or of one that is mounted.

A file gets its name by a rename within the directory, and the name is on the disk before it counts.
"""

import asyncio
import os
from pathlib import Path

from lpmos.core.backup.form import SUFFIX, read_manifest
from lpmos.core.backup.place import Backup, newest_first
from lpmos.model.errors import DamagedBackup


class Directory:
    """A `Place` that is a directory; work is done in it, under hidden names."""

    def __init__(self, path: Path) -> None:
        """`path` is made where it does not exist."""
        self._path = path

    @property
    def work(self) -> Path:
        """The directory itself, so that a name is given by a rename."""
        return self._path

    async def put(self, file: Path, name: str) -> str:
        """Rename the file."""
        path = self._path / name
        await asyncio.to_thread(_give_name, file, path)
        return str(path)

    async def backups(self) -> list[Backup]:
        """See `backups_in`."""
        return await asyncio.to_thread(backups_in, self._path)

    async def delete(self, name: str) -> None:
        """Unlink the file."""
        await asyncio.to_thread((self._path / name).unlink, missing_ok=True)


def backups_in(directory: Path) -> list[Backup]:
    """The backups of a directory, the newest first; a file that is none, or damaged, is left out.

    Raises:
        OSError: the directory cannot be read.
    """
    found = []
    for path in directory.glob(f"*{SUFFIX}") if directory.exists() else ():
        try:
            manifest = read_manifest(path)
            found.append(Backup(str(path), path.name, manifest, path.stat().st_size))
        except (DamagedBackup, FileNotFoundError):
            continue
    return newest_first(found)


def _give_name(hidden: Path, path: Path) -> None:
    """The file under its name, which is on the disk too."""
    hidden.rename(path)
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
