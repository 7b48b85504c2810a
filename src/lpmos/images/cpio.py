"""The initramfs archive format: the same entries always give the same bytes.

Format: "newc", as the kernel reads it (Documentation/driver-api/early-userspace/buffer-format.rst
and init/initramfs.c). Entries are sorted, owned by root and carry one fixed time.
"""

import stat
from collections.abc import Iterator, Mapping

import msgspec

FIXED_MTIME_S = 315532800
"""1980-01-01, the oldest date that every archive format can hold."""
BLOCK_BYTES = 512
TRAILER = "TRAILER!!!"


class Entry(msgspec.Struct, frozen=True):
    """One file: `mode` with its type bits; `data` is a link's target for a symbolic link.

    `device` is (major, minor) of a device node.
    """

    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def file(data: bytes, *, executable: bool = False) -> Entry:
    """A regular file of root's."""
    return Entry(stat.S_IFREG | (0o755 if executable else 0o644), data)


def directory() -> Entry:
    """A directory of root's that all may read."""
    return Entry(stat.S_IFDIR | 0o755)


def symlink(target: str) -> Entry:
    """A symbolic link."""
    return Entry(stat.S_IFLNK | 0o777, target.encode())


def character_device(major: int, minor: int, mode: int) -> Entry:
    """A character device node."""
    return Entry(stat.S_IFCHR | mode, device=(major, minor))


def archive(entries: Mapping[str, Entry]) -> Iterator[bytes]:
    """The archive of `entries` (path without leading slash to entry), in pieces.

    Every directory on the way to an entry must be among the entries: the kernel makes none.
    """
    length = 0
    for number, path in enumerate(sorted(entries), start=1):
        piece = _member(number, path, entries[path])
        length += len(piece)
        yield piece
    piece = _member(0, TRAILER, Entry(0), mtime_s=0)
    yield piece + bytes(-(length + len(piece)) % BLOCK_BYTES)


def _member(number: int, path: str, entry: Entry, mtime_s: int = FIXED_MTIME_S) -> bytes:
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (
        number,
        entry.mode,
        0,  # owner
        0,  # group
        links,
        mtime_s,
        len(entry.data),
        0,  # device that the file was on
        0,
        *entry.device,
        len(name),
        0,  # checksum, unused in this variant
    )
    head = b"070701" + b"".join(b"%08X" % value for value in fields) + name
    return head + bytes(-len(head) % 4) + entry.data + bytes(-len(entry.data) % 4)
