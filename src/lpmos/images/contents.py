"""The files of a boot image while it is put together, each with the part that asked for it.

A path is claimed once: whoever asks first owns it, a later request changes nothing.
Directories on the way are made by themselves. Paths have no leading slash; `/bin`, `/sbin`, `/lib`
and `/lib64` are links into `/usr`.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from lpmos.images import cpio
from lpmos.images.cpio import Entry
from lpmos.images.elf import is_elf, needed_libraries
from lpmos.model.errors import ImageError

LIBRARIES = "usr/lib/x86_64-linux-gnu"
_PROGRAM_DIRECTORIES = ("usr/sbin", "usr/bin")
_MERGED = ("bin", "sbin", "lib", "lib64")


class Contents:
    """Collects entries, by hand or from an unpacked root with the libraries that they need."""

    def __init__(self, root: Path) -> None:
        """`root` is a tree of unpacked packages with a merged `/usr`."""
        self._root = root
        self._entries: dict[str, Entry] = {}
        self._parts: dict[str, str] = {}

    def entries(self, *parts: str) -> dict[str, Entry]:
        """What was collected, or what of it belongs to the named parts."""
        if not parts:
            return dict(self._entries)
        return {path: e for path, e in self._entries.items() if self._parts[path] in parts}

    def put(self, path: str, entry: Entry, part: str) -> None:
        """Claim a path for an entry of our own making."""
        path = merged(path)
        if path in self._entries:
            return
        for parent in reversed(PurePosixPath(path).parents[:-1]):
            if str(parent) not in self._entries:
                self._claim(str(parent), cpio.directory(), part)
        self._claim(path, entry, part)

    def add_file(self, path: str, part: str) -> None:
        """Take a file from the unpacked root: with what it links to, and the libraries it needs.

        Raises:
            ImageError: the packages have no such file, or a library of it.
        """
        path = merged(path)
        if path in self._entries:
            return
        source = self._root / path
        if source.is_symlink():
            target = str(source.readlink())
            self.put(path, cpio.symlink(target), part)
            self.add_file(os.path.normpath(PurePosixPath("/", path).parent / target), part)
            return
        if not source.is_file():
            raise ImageError(f"the packages of part {part!r} hold no file /{path}")
        data = source.read_bytes()
        executable = bool(source.stat().st_mode & stat.S_IXUSR)
        self.put(path, cpio.file(data, executable=executable), part)
        for library in needed_libraries(data) if is_elf(data) else ():
            if not library.startswith("ld-linux"):
                self.add_file(f"{LIBRARIES}/{library}", part)

    def add_program(self, name: str, part: str) -> str:
        """Take a program by its name; returns its path."""
        for directory in _PROGRAM_DIRECTORIES:
            if (self._root / directory / name).is_file():
                self.add_file(f"{directory}/{name}", part)
                return f"{directory}/{name}"
        raise ImageError(f"the packages of part {part!r} hold no program {name!r}")

    def has_program(self, name: str) -> bool:
        """Whether a program of this name was collected."""
        return any(f"{directory}/{name}" in self._entries for directory in _PROGRAM_DIRECTORIES)

    def _claim(self, path: str, entry: Entry, part: str) -> None:
        self._entries[path] = entry
        self._parts[path] = part


def merged(path: str) -> str:
    """The path without its leading slash, below `/usr` where that is merged."""
    path = path.lstrip("/")
    first = path.partition("/")[0]
    return f"usr/{path}" if first in _MERGED and "/" in path else path


def merged_links() -> Iterator[tuple[str, Entry]]:
    """The links at the top that a merged `/usr` has."""
    for name in _MERGED:
        yield name, cpio.symlink(f"usr/{name}")


def own_files(directory: Path) -> list[Path]:
    """The files below a directory of sources, sorted, without compiled bytecode."""
    found = (p for p in directory.rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    return sorted(found)
