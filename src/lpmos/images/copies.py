"""The items that a region fetched from a control plane, in its own images directory.

    <images_dir>/<item>/fetched.json               `Mark`: this item is a copy, and of which source
    <images_dir>/.unfinished-fetch/<SHA-256>       the bytes so far of a file on its way
    <images_dir>/.unfinished-fetch.lock            held by the one client that fetches or removes

The rule: an item is a copy only while its mark names the very manifest that stands beside it;
whatever else is in the directory was put there by hand, and is never changed or removed here. A
new item appears by the rename of its whole directory; a newer one of the same name as any other
that is built again: files first, then the manifest. The file that was replaced stays for one more.
"""

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from lpmos.images.atomic import (
    UNFINISHED,
    point_link,
    remove_directory,
    scratch_directory,
    sync_directory,
    write_file,
)
from lpmos.images.catalog import AGENT, KEPT_AGENTS
from lpmos.images.catalog_files import MANIFEST
from lpmos.images.catalog_manifests import PREVIOUS, RESERVED
from lpmos.images.installers import DIRECTORY
from lpmos.images.items import (
    ARCHITECTURE,
    Item,
    ItemKind,
    Key,
    System,
    digest_of,
    item_of,
)
from lpmos.model.errors import ImageError
from lpmos.model.installer import FileRef

MARK = "fetched.json"


class Mark(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """That an item was fetched: from where, and the digests of its manifest, newest first.

    The digest of the one before stays in it: a stop between two writes takes the mark from nobody.
    `missing_since` is when the source first did not list it any more.
    """

    source: str
    manifests: tuple[str, ...]
    missing_since: datetime | None = None


class Held(NamedTuple):
    """An item that is there. `source` is whose copy it is, None where it is somebody's own.

    `whole`: its manifest can be read, and its files have the sizes that it says. `missing_since` is
    when the source first did not list it any more.
    """

    kind: ItemKind
    name: str
    digest: str | None
    source: str | None
    whole: bool
    system: System | None = None
    missing_since: datetime | None = None

    @property
    def key(self) -> Key:
        """What it is among the others."""
        return self.kind, self.name


class Copies:
    """One images directory; of several clients that share it, one at a time is `alone`."""

    def __init__(self, images_dir: Path) -> None:
        """The directory may be missing: it is made with the first file."""
        self.directory = images_dir
        self._unfinished = images_dir / f"{UNFINISHED}fetch"

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Hold the directory; False where another process does.

        Raises:
            OSError: the directory cannot be written.
        """
        self._unfinished.mkdir(parents=True, exist_ok=True)
        os.utime(self._unfinished)  # one that nobody uses for a day is removed by who writes here
        with (self.directory / f"{UNFINISHED}fetch.lock").open("ab") as file:
            try:
                fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True

    def held(self) -> list[Held]:
        """Every item that is there, of the agent the present one.

        Raises:
            OSError: the directory cannot be read.
        """
        link = self.directory / AGENT / ARCHITECTURE
        found = [_held("agent", ARCHITECTURE, link)] if link.exists() else []
        images = (name for name in _names(self.directory) if name not in RESERVED)
        found += [_held("image", name, self.directory / name) for name in images]
        installers = self.directory / DIRECTORY
        found += [_held("installer", name, installers / name) for name in _names(installers)]
        return found

    def missing(self, item: Item) -> list[tuple[FileRef, int]]:
        """The files of an item that are not there, each with its bytes so far.

        What has come whole, and waits for the item's other files, is among them.
        """
        place = self.directory / item.place
        absent = [each for each in item.files if _size(place / each.file) != each.size_bytes]
        return [(each, _size(self.unfinished(each)) or 0) for each in absent]

    def unfinished(self, file: FileRef) -> Path:
        """Where the bytes of a file on its way are."""
        return self._unfinished / file.sha256

    def leftovers(self, wanted: Iterable[Item]) -> list[Path]:
        """The bytes of files that no item wants any more."""
        names = {file.sha256 for item in wanted for file in item.files}
        try:
            return [path for path in self._unfinished.iterdir() if path.name not in names]
        except FileNotFoundError:
            return []

    def forget_unfinished(self, wanted: Iterable[Item]) -> None:
        """Remove the bytes of files that no item wants any more; to be held `alone`."""
        for path in self.leftovers(wanted):
            path.unlink(missing_ok=True)

    def put(self, item: Item, source: str) -> None:
        """Make an item appear, all of whose missing files have come whole; to be held `alone`.

        Raises:
            ImageError: somebody put an item of this name there meanwhile.
            OSError: the directory cannot be written.
        """
        place = self.directory / item.place
        if place.exists() and _held(item.kind, item.name, place).source is None:
            if item.kind == "agent":  # the very same files, built here: only the link is ours
                self._start_agent(place)
                return
            raise ImageError(f"{place} was put there by hand: it stays as it is")
        place.parent.mkdir(parents=True, exist_ok=True)
        if place.exists():
            self._replace(item, place, source)
        else:
            self._appear(item, place, source)
        if item.kind == "agent":
            self._start_agent(place)

    def note_missing(self, held: Held, since: datetime | None) -> None:
        """Write into a copy's mark since when the source lists it no more; None where it does.

        To be held `alone`.

        Raises:
            OSError: the directory cannot be written.
        """
        path = self._place(held) / MARK
        if _held(held.kind, held.name, path.parent).source is None:
            return  # it has become somebody's own
        mark = msgspec.json.decode(path.read_bytes(), type=Mark)
        write_file(path, _document(msgspec.structs.replace(mark, missing_since=since)))

    def remove(self, held: Held) -> None:
        """Remove a copy; who reads a file of it at this moment reads it to the end.

        Raises:
            OSError: the directory cannot be written.
        """
        place = self._place(held)
        if _held(held.kind, held.name, place).source is None:
            return  # it has become somebody's own
        remove_directory(place)

    def _place(self, held: Held) -> Path:
        """Where an image or an installer is."""
        parent = self.directory / DIRECTORY if held.kind == "installer" else self.directory
        return parent / held.name

    def _appear(self, item: Item, place: Path, source: str) -> None:
        with scratch_directory(place.parent) as scratch:
            write_file(scratch / MARK, _document(Mark(source=source, manifests=(item.digest,))))
            write_file(scratch / MANIFEST, _readable(item.manifest))
            for file in item.files:  # last: a stop before this leaves them where they are found
                self._move(file, scratch)
            scratch.rename(place)
        sync_directory(place.parent)

    def _replace(self, item: Item, place: Path, source: str) -> None:
        was = (place / MANIFEST).read_bytes()
        before = item_of(item.kind, item.name, was)
        for file, _ in self.missing(item):
            self._move(file, place)
        sync_directory(place)
        mark = Mark(source=source, manifests=(item.digest, before.digest))
        write_file(place / MARK, _document(mark))
        if before.files == item.files:
            write_file(place / MANIFEST, _readable(item.manifest))
            return
        kept = {MARK, MANIFEST, *(each.file for each in (*item.files, *before.files))}
        if item.kind == "image":
            write_file(place / PREVIOUS, was)
            kept.add(PREVIOUS)
        write_file(place / MANIFEST, _readable(item.manifest))
        for leftover in place.iterdir():
            if leftover.name not in kept:
                leftover.unlink()

    def _move(self, file: FileRef, into: Path) -> None:
        """Bring a file that has come whole; one of two with the same bytes is there already."""
        path = self.unfinished(file)
        with contextlib.suppress(FileNotFoundError):
            path.chmod(0o644)
            path.replace(into / file.file)

    def _start_agent(self, generation: Path) -> None:
        """Make it the agent that machines boot; of the copies before it, the last one stays."""
        point_link(self.directory / AGENT / ARCHITECTURE, generation.name)
        copies = [
            each
            for each in generation.parent.glob(f"{ARCHITECTURE}-*")
            if each != generation and _held("agent", ARCHITECTURE, each).source is not None
        ]
        newest_first = sorted(copies, key=lambda path: -(path / MARK).stat().st_mtime_ns)
        for old in newest_first[KEPT_AGENTS - 1 :]:
            shutil.rmtree(old)


def _held(kind: ItemKind, name: str, place: Path) -> Held:
    try:
        manifest = (place / MANIFEST).read_bytes()
        digest = digest_of(manifest)
        item = item_of(kind, name, manifest)
    except (OSError, ImageError, msgspec.MsgspecError, UnicodeError):
        return Held(kind, name, None, None, whole=False)
    whole = all(_size(place / each.file) == each.size_bytes for each in item.files)
    source = missing_since = None
    with contextlib.suppress(OSError, msgspec.MsgspecError, UnicodeError):
        mark = msgspec.json.decode((place / MARK).read_bytes(), type=Mark)
        if digest in mark.manifests:
            source, missing_since = mark.source, mark.missing_since
    return Held(kind, name, digest, source, whole, item.system, missing_since)


def _names(directory: Path) -> list[str]:
    try:
        with os.scandir(directory) as entries:
            return sorted(
                each.name
                for each in entries
                if each.is_dir() and not each.name.startswith(UNFINISHED)
            )
    except FileNotFoundError:
        return []


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except OSError:
        return None


def _document(mark: Mark) -> bytes:
    return msgspec.json.encode(mark) + b"\n"


def _readable(manifest: bytes) -> bytes:
    return msgspec.json.format(manifest, indent=2) + b"\n"
