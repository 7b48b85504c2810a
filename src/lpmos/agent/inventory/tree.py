"""Reading the kernel's files below a root directory: the real `/`, or a recorded machine.

Every read answers `None` (or nothing) where the file is missing or the driver refuses: on real
hardware any attribute can fail at any time (`speed` of a link that is down gives EINVAL).
"""

import os
from pathlib import Path

READ_LIMIT_BYTES = 1 << 20


class Tree:
    """A file tree shaped as `/proc`, `/sys` and `/dev` are; paths are relative to it."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Where `name` stands on this machine."""
        return self._root / name

    def data(self, name: str, limit_bytes: int = READ_LIMIT_BYTES) -> bytes | None:
        """The bytes of a file, at most `limit_bytes`."""
        try:
            with (self._root / name).open("rb") as file:
                return file.read(limit_bytes)
        except OSError:
            return None

    def ends_readable(self, name: str, size_bytes: int) -> bool:
        """Whether the first and the last `size_bytes` of a file can be read; not of an empty one.

        A shorter file must be readable as a whole.
        """
        try:
            with (self._root / name).open("rb", buffering=0) as file:
                length = file.seek(0, os.SEEK_END)
                expected = min(size_bytes, length)
                for start in (0, length - expected):
                    file.seek(start)
                    if len(file.read(expected)) != expected:
                        return False
                return length > 0
        except OSError:
            return False

    def text(self, name: str, limit_bytes: int = READ_LIMIT_BYTES) -> str | None:
        """The text of a file without surrounding space; None where it is empty."""
        data = self.data(name, limit_bytes)
        if data is None:
            return None
        return data.decode(errors="replace").replace("\0", "").strip() or None

    def number(self, name: str) -> int | None:
        """The decimal number in a file."""
        text = self.text(name)
        try:
            return int(text) if text is not None else None
        except ValueError:
            return None

    def flag(self, name: str) -> bool:
        """Whether a file holds a number other than 0."""
        return bool(self.number(name))

    def names(self, name: str) -> list[str]:
        """What a directory holds, sorted."""
        try:
            return sorted(entry.name for entry in (self._root / name).iterdir())
        except OSError:
            return []

    def exists(self, name: str) -> bool:
        """Whether something stands there."""
        return (self._root / name).exists()

    def link_name(self, name: str) -> str | None:
        """The last part of what a symbolic link points to: the driver's name, for `driver`."""
        try:
            return (self._root / name).readlink().name
        except OSError:
            return None

    def real(self, name: str) -> str:
        """The path with every symbolic link followed: which bus a device hangs on."""
        try:
            return str((self._root / name).resolve())
        except (OSError, RuntimeError):
            return ""
