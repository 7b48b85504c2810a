"""The bytes of a whole disk, written to it in constant memory; zeros are asked for, not sent.

The rule: after `finish` the disk holds exactly the planned bytes and they are on it, zeros
included. A run of zeros is left to the disk (BLKZEROOUT of `linux/fs.h`, what `blkdiscard -z`
does), and written where it cannot do that: nothing of an old system can show through.
"""

import errno
import fcntl
import os
import struct
from pathlib import Path

from lpmos.agent.errors import InstallError
from lpmos.agent.hints import hint_for

BLOCK_BYTES = 1 << 20
RUN_BYTES = 256 << 20
"""So much of zeros is asked for at once: a stop is heard in between."""
BLKZEROOUT = 0x127F
_ZEROS = bytes(BLOCK_BYTES)
_NOT_THERE = (errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL)


class DiskSink:
    """Takes a disk of `size_bytes` from its first byte on, in blocks of `BLOCK_BYTES` but the last.

    Nobody else may have the device open for himself (O_EXCL), so nothing of it can be mounted.
    """

    def __init__(self, device: Path, size_bytes: int, image: str) -> None:
        """Open the device.

        Raises:
            InstallError: it is in use, or cannot be written.
        """
        self._device = device
        self._size_bytes = size_bytes
        self._image = image
        self._written = 0
        self._zeros_from: int | None = None
        self.asked_bytes = 0
        try:
            self._fd = os.open(device, os.O_WRONLY | os.O_EXCL | os.O_CLOEXEC)
        except OSError as error:
            raise self._failed("open", error) from error

    def take(self, block: bytes) -> None:
        """Write the next block.

        Raises:
            InstallError: the disk refuses, or these are more bytes than planned.
        """
        at, after = self._written, self._written + len(block)
        if after > self._size_bytes:
            raise self._wrong(f"more than the planned {self._size_bytes}")
        self._written = after
        if block == _ZEROS[: len(block)]:
            self._zeros_from = at if self._zeros_from is None else self._zeros_from
            if after - self._zeros_from >= RUN_BYTES:
                self._end_zeros(after)
            return
        self._end_zeros(at)
        self._write(block, at)

    def finish(self) -> None:
        """Wait until all of it is on the disk.

        Raises:
            InstallError: bytes are missing, or the disk refuses.
        """
        if self._written != self._size_bytes:
            raise self._wrong(f"{self._written} bytes, not the planned {self._size_bytes}")
        self._end_zeros(self._written)
        try:
            os.fsync(self._fd)
        except OSError as error:
            raise self._failed("fsync", error) from error

    def close(self) -> None:
        """Let the device go."""
        os.close(self._fd)

    def _end_zeros(self, end: int) -> None:
        """Have the run of zeros that ends here on the disk."""
        if self._zeros_from is None:
            return
        start, self._zeros_from = self._zeros_from, None
        try:
            fcntl.ioctl(self._fd, BLKZEROOUT, struct.pack("=QQ", start, end - start))
            self.asked_bytes += end - start
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise self._failed("zero", error) from error
            for at in range(start, end, BLOCK_BYTES):
                self._write(_ZEROS[: min(BLOCK_BYTES, end - at)], at)

    def _write(self, block: bytes, at: int) -> None:
        left = memoryview(block)
        try:
            while left:
                count = os.pwrite(self._fd, left, at)
                left, at = left[count:], at + count
        except OSError as error:
            raise self._failed("write", error) from error

    def _failed(self, what: str, error: OSError) -> InstallError:
        text = f"{what} {self._device}: {error.strerror}"
        return InstallError(
            f"the image cannot be written to {self._device} at byte {self._written}:"
            f" {error.strerror}",
            command=f"{what} {self._device}",
            output=text,
            hint=hint_for("dd", text),
        )

    def _wrong(self, what: str) -> InstallError:
        return InstallError(
            f"image {self._image} is not of the disk that its manifest says: it unpacks to {what}",
            hint="The image's file and manifest do not belong together: upload the image again.",
        )
