"""The disk test: every block read past the kernel's cache, with a pattern written first if asked.

The rule: a disk is written only after it was found by its identity, holds nothing new, and is used
by nobody: all of them before the first is written, and each once more when its turn comes, while it
is held open, so that its name cannot become another's. Memory stays constant: one buffer for what
goes to the disk or comes from it. Where a large read fails, the blocks in it are read one by one,
so that the evidence names the place.

Sources: open(2) on O_DIRECT and on O_EXCL of block devices, linux/fs.h.
"""

import contextlib
import errno
import fcntl
import mmap
import os
import re
import time
from collections.abc import Sequence
from typing import NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.disk import find, refuse_in_use, refuse_new_contents
from lpmos.agent.diskplan import Member
from lpmos.agent.errors import InstallError
from lpmos.agent.hardwaresigns import MessagesSince
from lpmos.agent.holders import assembled, take_apart
from lpmos.agent.inventory.disks import NOT_DISKS, blkid_probe
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.joborder import DiskTest, PlannedStep
from lpmos.agent.jobs import BEGUN, EVIDENCE_LINES, Bench, Outcome
from lpmos.agent.patterns import Pattern, first_difference, random_pattern

BLOCK_BYTES = 4 << 20
SECTOR_BYTES = 512
"""What the kernel counts sectors in, whatever the disk's are."""
BAD_BLOCKS_LIMIT = 8
"""A disk with so many bad blocks is read no further."""
MB = 1_000_000
_SEED = 0xD15C
_REREAD_TABLE = 0x125F
"""BLKRRPART."""
_HINT = "Replace the disk; the kernel's messages in the evidence say more of the fault."


class Disk(NamedTuple):
    """A disk by its present kernel name, with what a person calls it by."""

    name: str
    member: Member

    @property
    def title(self) -> str:
        """Device and serial number."""
        serial = f" (serial {self.member.serial})" if self.member.serial else ""
        return f"/dev/{self.name}{serial}"


class DiskTester:
    """Tests the disks of one step, one after the other."""

    def __init__(
        self,
        planned: PlannedStep,
        bench: Bench,
        tree: Tree,
        commands: Commands,
        not_disks: re.Pattern[str] = NOT_DISKS,
    ) -> None:
        self._asked = DiskTest(*planned.asked)
        self._bench = bench
        self._tree = tree
        self._commands = commands
        self._not_disks = not_disks
        self._disks = find_disks(tree, planned.disks, self._asked.writes, not_disks)
        self._lengths = [self._length(disk) for disk in self._disks]
        runs = self._asked.passes * (2 if self._asked.writes else 1)
        self._total = runs * sum(self._lengths)
        self._done = 0
        self._begun = time.monotonic()
        self._buffer = mmap.mmap(-1, BLOCK_BYTES)

    def run(self) -> Outcome:
        """Test them all.

        Raises:
            InstallError: a block could not be read or written, or was not as it was written.
            Stopped: the run was told to end.
        """
        if self._asked.writes:
            make_free(self._tree, self._commands, self._disks)
        lines = []
        try:
            for each, length in zip(self._disks, self._lengths, strict=True):
                disk = self._again(each)
                log, errors = MessagesSince(self._tree), self._errors(disk)
                begun = time.monotonic()
                try:
                    self._test(disk, length)
                except InstallError as failure:
                    counted = self._errors(disk) - errors
                    more = [f"{disk.title}: the kernel counts {counted} more errors"] * bool(
                        counted
                    )
                    failure.output = "\n".join((failure.output, *more, *log.end(disk.name)))
                    raise
                said = log.end(disk.name)
                lines += [self._line(disk, length, time.monotonic() - begun), *said]
        finally:
            self._buffer.close()
        what = "written and compared" if self._asked.writes else "read"
        passes = f"{self._asked.passes} pass{'es' if self._asked.passes > 1 else ''}"
        count = f"{len(self._disks)} disk{'s' if len(self._disks) > 1 else ''}"
        return Outcome(f"{count} {what}, {passes}", tuple(lines[: 2 * EVIDENCE_LINES]))

    def _length(self, disk: Disk) -> int:
        block = self._block_bytes(disk)
        limit = self._asked.size_bytes or disk.member.size_bytes
        return min(limit, disk.member.size_bytes) // block * block

    def _again(self, disk: Disk) -> Disk:
        """The disk when its turn comes: those before it may have taken hours."""
        disk = found_again(self._tree, disk, self._asked.writes, self._not_disks)
        if self._asked.writes:
            make_free(self._tree, self._commands, [disk])
        return disk

    def _open(self, disk: Disk) -> int:
        flags = os.O_RDWR | os.O_EXCL if self._asked.writes else os.O_RDONLY
        try:
            return os.open(f"/dev/{disk.name}", flags | os.O_DIRECT | os.O_CLOEXEC)
        except OSError as error:
            raise InstallError(f"{disk.title} cannot be opened: {error.strerror}") from error

    def _check_held(self, device: int, disk: Disk) -> None:
        """Go on only if what is open is the approved disk, and holds nothing new.

        The kernel gives its number and its name to no other as long as it is open.
        """
        name = found_again(self._tree, disk, self._asked.writes, self._not_disks).name
        number = os.fstat(device).st_rdev
        opened = f"{os.major(number)}:{os.minor(number)}"
        if self._tree.text(f"sys/block/{name}/dev") != opened:
            raise InstallError(
                f"{disk.title} is now /dev/{name}: nothing was written to it",
                hint="Disks were moved in the middle of the job: create the task again.",
            )
        if self._asked.writes:
            probe = blkid_probe(self._commands, self._tree)
            refuse_new_contents(self._tree, name, disk.member, probe)
            refuse_in_use(self._tree, [name])

    def _test(self, disk: Disk, length: int) -> None:
        device = self._open(disk)
        try:
            self._check_held(device, disk)
            for number in range(self._asked.passes):
                what = f"{disk.title}, pass {number + 1} of {self._asked.passes}"
                if not self._asked.writes:
                    self._read(device, disk, length, f"{what}, reading", None)
                    continue
                pattern = random_pattern(BLOCK_BYTES, _SEED + number)
                self._bench.tell(self._share or BEGUN, f"{what}, writing")
                self._write(device, disk, length, f"{what}, writing", pattern)
                self._read(device, disk, length, f"{what}, comparing", pattern)
            if self._asked.writes:
                with contextlib.suppress(OSError):  # a loop device may have no partitions
                    fcntl.ioctl(device, _REREAD_TABLE)
        finally:
            with contextlib.suppress(OSError):  # the disk may be gone
                os.close(device)

    def _write(self, device: int, disk: Disk, length: int, what: str, pattern: Pattern) -> None:
        for number, start in enumerate(range(0, length, BLOCK_BYTES)):
            size = min(BLOCK_BYTES, length - start)
            self._buffer[:size] = pattern.block(number)[:size]
            if error := self._put(device, start, size):
                raise self._bad(disk, [self._place(disk, start, "writing", error)]) from error
            self._tell(size, what)
        try:
            os.fsync(device)
        except OSError as error:
            raise self._bad(disk, [f"{disk.title}: {error.strerror} at the end"]) from error

    def _read(
        self, device: int, disk: Disk, length: int, what: str, pattern: Pattern | None
    ) -> None:
        bad: list[str] = []
        for number, start in enumerate(range(0, length, BLOCK_BYTES)):
            size = min(BLOCK_BYTES, length - start)
            if self._fill(device, start, size) is not None:
                bad += self._places(device, disk, start, size)
            elif pattern is not None and (line := self._differs(disk, number, size, pattern)):
                bad.append(line)
            if len(bad) >= BAD_BLOCKS_LIMIT:
                break
            self._tell(size, what)
        if bad:
            raise self._bad(disk, bad)

    def _put(self, device: int, start: int, size: int) -> OSError | None:
        """Write the buffer; why it failed."""
        try:
            written = os.pwrite(device, memoryview(self._buffer)[:size], start)
        except OSError as error:
            return error
        return None if written == size else OSError(errno.EIO, f"only {written} bytes were written")

    def _fill(self, device: int, start: int, size: int) -> OSError | None:
        """Read into the buffer; why it failed."""
        try:
            read = os.preadv(device, [memoryview(self._buffer)[:size]], start)
        except OSError as error:
            return error
        return None if read == size else OSError(errno.EIO, f"{read} of {size} bytes were read")

    def _places(self, device: int, disk: Disk, start: int, size: int) -> list[str]:
        """The blocks of a stretch that cannot be read; where each can now, the stretch itself."""
        block = self._block_bytes(disk)
        found: list[str] = []
        for offset in range(start, start + size, block):
            self._bench.job.stop.check()
            if error := self._fill(device, offset, block):
                found.append(self._place(disk, offset, "reading", error))
            if len(found) >= BAD_BLOCKS_LIMIT:
                break
        return found or [
            f"{disk.title}: {size} bytes from {start} were read at the second try only"
        ]

    def _differs(self, disk: Disk, number: int, size: int, pattern: Pattern) -> str | None:
        expected, found = pattern.block(number)[:size], self._buffer[:size]
        if expected == found:
            return None
        at = first_difference(expected, found)
        offset = number * BLOCK_BYTES + at.offset
        return (
            f"{disk.title}: at offset {offset} (sector {offset // SECTOR_BYTES}) expected"
            f" {at.expected.hex()}, found {at.found.hex()} ({pattern.name})"
        )

    def _place(self, disk: Disk, offset: int, doing: str, error: OSError) -> str:
        sector = offset // SECTOR_BYTES
        return f"{disk.title}: {doing} at offset {offset} (sector {sector}): {error.strerror}"

    def _bad(self, disk: Disk, lines: Sequence[str]) -> InstallError:
        least = "at least " if len(lines) >= BAD_BLOCKS_LIMIT else ""
        blocks = f"{least}{len(lines)} bad block{'s' if len(lines) > 1 else ''}"
        return InstallError(f"{disk.title} has {blocks}", output="\n".join(lines), hint=_HINT)

    def _tell(self, size: int, what: str) -> None:
        self._done += size
        rate = self._done / max(time.monotonic() - self._begun, 0.001)
        text = f"{what}, {rate / MB:.0f} MB/s"
        self._bench.tell(self._share, text, self._done, self._total, round(rate, 1))

    @property
    def _share(self) -> float:
        return self._done / max(self._total, 1)

    def _line(self, disk: Disk, length: int, seconds: float) -> str:
        moved = length * self._asked.passes * (2 if self._asked.writes else 1)
        return f"{disk.title}: {length / MB:.0f} MB, {moved / max(seconds, 0.001) / MB:.0f} MB/s"

    def _block_bytes(self, disk: Disk) -> int:
        size = self._tree.number(f"sys/block/{disk.name}/queue/logical_block_size")
        return size or SECTOR_BYTES

    def _errors(self, disk: Disk) -> int:
        """What the SCSI layer counts of a disk's errors, in hexadecimal; 0 of other disks."""
        text = self._tree.text(f"sys/block/{disk.name}/device/ioerr_cnt")
        try:
            return int(text or "0", 16)
        except ValueError:
            return 0


def find_disks(
    tree: Tree, members: Sequence[Member], writes: bool, not_disks: re.Pattern[str]
) -> list[Disk]:
    """The approved disks as they are called now.

    Raises:
        InstallError: one is not there or not certain, or two of them are one.
    """
    found: list[Disk] = []
    for member in members:
        name = find(tree, member, not_disks, for_reading=not writes)
        if any(name == disk.name for disk in found):
            raise InstallError(f"{member.device} and another disk of the job are both /dev/{name}")
        found.append(Disk(name, member))
    return found


def found_again(tree: Tree, disk: Disk, writes: bool, not_disks: re.Pattern[str]) -> Disk:
    """The disk as it is called now; raises as `find_disks`."""
    return disk._replace(name=find(tree, disk.member, not_disks, for_reading=not writes))


def make_free(tree: Tree, commands: Commands, disks: Sequence[Disk]) -> None:
    """Take apart what old systems left assembled on disks that are to be written.

    Raises:
        InstallError: one is in use, or holds what nobody approved; nothing was written.
    """
    probe = blkid_probe(commands, tree)
    for disk in disks:
        refuse_new_contents(tree, disk.name, disk.member, probe)
    names = [disk.name for disk in disks]
    holders = assembled(tree, names)
    refuse_in_use(tree, [*names, *holders])
    take_apart(commands, tree, holders)
