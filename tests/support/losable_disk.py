"""A disk that vanishes when told: from then on every read and every write of it fails (EIO).

The kernel that runs the tests need not know device mapper. So the disk is a loop device over a file
on a file system of its own, and that one is shut down: `EXT4_IOC_SHUTDOWN` of `fs/ext4/ext4.h`.
"""

import fcntl
import os
import struct
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.disk_images import MIB, loop_device, run

ROOM_BYTES = 160 * MIB
_SHUTDOWN = 0x8004587D
_NO_LOG_FLUSH = 2


class LosableDisk:
    """`name` is the kernel's name of it."""

    def __init__(self, name: str, below: Path) -> None:
        self.name = name
        self._below = below

    def lose(self) -> None:
        """Nothing of it can be read or written any more."""
        file = os.open(self._below, os.O_RDONLY)
        try:
            fcntl.ioctl(file, _SHUTDOWN, struct.pack("I", _NO_LOG_FLUSH))
        finally:
            os.close(file)


@contextmanager
def losable_disk(directory: Path, size_bytes: int) -> Iterator[LosableDisk]:
    """A blank disk, of which at most `ROOM_BYTES` are written to."""
    image, below = directory / "below.img", directory / "below"
    with image.open("wb") as file:
        file.truncate(ROOM_BYTES)
    run("mke2fs", "-q", "-F", "-t", "ext4", str(image))
    below.mkdir()
    run("mount", "-o", "loop", str(image), str(below))
    try:
        backing = below / "disk.img"
        with backing.open("wb") as file:
            file.truncate(size_bytes)
        with loop_device(backing) as name:
            yield LosableDisk(name, below)
    finally:
        # Lazily: what met the loss may hold a file open for a moment more.
        subprocess.run(["umount", "--lazy", str(below)], check=True)
