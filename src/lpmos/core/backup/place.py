"""Where backups are kept: a directory or an object store, behind one small interface.

The rule: what has a backup's name in a place is whole. `put` gives a name to nothing that is not
there to its last byte, and what was cut off has none.
"""

from pathlib import Path
from typing import NamedTuple, Protocol

from lpmos.core.backup.form import Manifest


class Backup(NamedTuple):
    """One backup: `where` it is as people name it, a file or a URL, and `name` in its place."""

    where: str
    name: str
    manifest: Manifest
    size_bytes: int


class Place(Protocol):
    """A place of backups. Every call raises OSError or `BackupPlaceError` where it cannot be done.

    `work` is a directory of this machine, where a backup is made and tested before it is put away.
    """

    @property
    def work(self) -> Path:
        """The directory to work in; it need not exist yet."""

    async def put(self, file: Path, name: str) -> str:
        """Keep a finished file of `work` under `name`; where it is now. The file may be gone."""

    async def backups(self) -> list[Backup]:
        """The backups here, the newest first; what is none, or has a damaged manifest, is not."""

    async def delete(self, name: str) -> None:
        """Take a backup away; it may be gone already."""


def newest_first(found: list[Backup]) -> list[Backup]:
    """The backups in the order in which places name them."""
    return sorted(found, key=lambda each: (each.manifest.made_at, each.name), reverse=True)


async def prune(place: Place, keep: int, cluster: str) -> list[str]:
    """Delete all backups of this cluster but the `keep` newest; the names of those deleted.

    Raises:
        OSError, BackupPlaceError: one cannot be deleted.
    """
    mine = [each for each in await place.backups() if each.manifest.cluster == cluster]
    for each in mine[keep:]:
        await place.delete(each.name)
    return [each.name for each in mine[keep:]]
