"""The disk test on real loop devices: what is read, what is written, what shows a fault."""

import io
import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

import pytest

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.diskerase import run as erase
from lpmos.agent.diskplan import Member
from lpmos.agent.disktest import DiskTester
from lpmos.agent.errors import InstallError, Stopped
from lpmos.agent.inventory.disks import blkid_probe, read_contents
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.joborder import DiskErase, DiskTest, PlannedStep
from lpmos.agent.jobs import Bench, Outcome
from lpmos.agent.pace import Pace
from lpmos.agent.region import Region
from lpmos.agent.reporter import Progress
from lpmos.agent.stop import Stop

NONE_LEFT_OUT = re.compile(r"(?!)")
DISK_BYTES = 24 << 20
SECOND_BYTES = 17 << 20
THIRD_BYTES = 11 << 20
MIB = 1 << 20


class LoopDisk:
    """A loop device and the file under it."""

    def __init__(self, backing: Path, size_bytes: int = DISK_BYTES, device: str = "--find") -> None:
        self.backing = backing
        self.size_bytes = size_bytes
        self.filled_with = os.urandom(size_bytes)
        backing.write_bytes(self.filled_with)
        self.attach(device)
        self.stop = Stop()
        self.told: list[Progress] = []
        self.now_s = 0.0

    def attach(self, device: str = "--find") -> None:
        shown = ["losetup", "--show", "--partscan", device, str(self.backing)]
        self.device = subprocess.check_output(shown, text=True).strip()
        self.name = self.device.removeprefix("/dev/")

    def detach(self) -> None:
        subprocess.run(["losetup", "--detach", self.device], check=True)

    def member(self, *overwrites: str) -> Member:
        return Member(self.device, self.size_bytes, None, None, None, overwrites)

    def clock(self) -> float:
        self.now_s += 10
        return self.now_s

    def bench(self) -> Bench:
        region = Region("http://127.0.0.1:1")
        job = Job(region, Console(io.StringIO()), self.stop, Pace(), self.report)
        return Bench(job, "step 1 of 1", 0, 99, self.clock)

    def report(self, progress: Progress) -> None:
        self.told.append(progress)

    def test(self, asked: DiskTest, *overwrites: str) -> Outcome:
        return self.test_of(asked, self.member(*overwrites))

    def test_of(self, asked: DiskTest, *members: Member) -> Outcome:
        planned = PlannedStep("disk_test", asked, members)
        commands = Commands(self.stop, lambda _: None)
        tester = DiskTester(planned, self.bench(), Tree(), commands, NONE_LEFT_OUT)
        return tester.run()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    """A disk of random bytes."""
    loop = LoopDisk(tmp_path / "disk.img")
    try:
        yield loop
    finally:
        loop.detach()


@pytest.fixture
def second(tmp_path: Path) -> Iterator[LoopDisk]:
    """Another disk; its size tells it from the first."""
    loop = LoopDisk(tmp_path / "second.img", SECOND_BYTES)
    try:
        yield loop
    finally:
        loop.detach()


READ = DiskTest(writes=False, passes=1, size_bytes=None)
WRITE = DiskTest(writes=True, passes=1, size_bytes=None)


def test_disk_test_that_reads_changes_nothing(disk: LoopDisk) -> None:
    before = disk.backing.read_bytes()
    outcome = disk.test(READ._replace(passes=2))
    assert outcome.summary == "1 disk read, 2 passes"
    assert f"{disk.device}: 25 MB" in outcome.evidence[0]
    assert disk.backing.read_bytes() == before
    assert (disk.told[-1].bytes_done, disk.told[-1].bytes_total) == (2 * DISK_BYTES, 2 * DISK_BYTES)


def test_disk_test_that_writes_fills_the_disk_and_compares_it(disk: LoopDisk) -> None:
    before = disk.backing.read_bytes()
    outcome = disk.test(WRITE)
    assert outcome.summary == "1 disk written and compared, 1 pass"
    after = disk.backing.read_bytes()
    assert all(after[at : at + MIB] != before[at : at + MIB] for at in range(0, DISK_BYTES, MIB))


def test_disk_test_with_a_size_goes_no_further(disk: LoopDisk) -> None:
    before = disk.backing.read_bytes()
    disk.test(WRITE._replace(size_bytes=5 * MIB))
    after = disk.backing.read_bytes()
    assert after[5 * MIB :] == before[5 * MIB :]
    assert after[4 * MIB : 5 * MIB] != before[4 * MIB : 5 * MIB]


def test_disk_test_of_a_disk_with_unreadable_blocks_names_the_first(disk: LoopDisk) -> None:
    os.truncate(disk.backing, 10 * MIB)  # what is beyond cannot be read
    with pytest.raises(InstallError, match="at least 8 bad blocks") as failure:
        disk.test(READ)
    first = failure.value.output.splitlines()[0]
    expected = f"{disk.device}: reading at offset {10 * MIB} (sector {10 * MIB // 512})"
    assert first == f"{expected}: Input/output error"


def test_disk_test_of_a_disk_that_forgets_a_word_names_it(disk: LoopDisk) -> None:
    at = 9 * MIB + 4096

    def forget(progress: Progress) -> None:
        if "comparing" in progress.message:
            with disk.backing.open("r+b") as file:
                file.seek(at)
                file.write(b"forgotten")

    disk.report = forget  # type: ignore[method-assign]
    with pytest.raises(InstallError, match="1 bad block") as failure:
        disk.test(WRITE)
    (line,) = failure.value.output.splitlines()
    assert f"at offset {at} (sector {at // 512}) expected " in line
    assert f"found {b'forgotte'.hex()}" in line


def test_disk_test_that_is_cancelled_stops(disk: LoopDisk) -> None:
    def cancel(progress: Progress) -> None:
        disk.stop.set(f"cancelled at {progress.percentage}")

    disk.report = cancel  # type: ignore[method-assign]
    with pytest.raises(Stopped, match="cancelled"):
        disk.test(READ)


def test_disk_test_never_writes_what_was_not_there_at_the_approval(disk: LoopDisk) -> None:
    subprocess.run(["mke2fs", "-q", "-F", disk.device], check=True)
    before = disk.backing.read_bytes()
    with pytest.raises(InstallError, match="it now holds ext2; nothing was written"):
        disk.test(WRITE)
    assert disk.backing.read_bytes() == before
    assert disk.test(WRITE, "ext2").summary.startswith("1 disk written")


def test_disk_test_never_writes_a_disk_in_use(disk: LoopDisk, tmp_path: Path) -> None:
    subprocess.run(["mke2fs", "-q", "-F", disk.device], check=True)
    place = tmp_path / "mounted"
    place.mkdir()
    subprocess.run(["mount", disk.device, place], check=True)
    try:
        with pytest.raises(InstallError, match=f"is mounted at {place}"):
            disk.test(WRITE, "ext2")
    finally:
        subprocess.run(["umount", place], check=True)


def test_disk_erase_leaves_a_blank_disk(disk: LoopDisk) -> None:
    subprocess.run(["mke2fs", "-q", "-F", disk.device], check=True)
    commands = Commands(disk.stop, lambda _: None)
    planned = PlannedStep("disk_erase", DiskErase("signatures"), (disk.member("ext2"),))
    outcome = erase(planned, disk.bench(), Tree(), commands, NONE_LEFT_OUT)
    assert outcome == Outcome("1 disk erased (signatures)", (f"{disk.device}: held ext2",))
    assert read_contents(Tree(), disk.name, blkid_probe(commands, Tree())) == []


def erase_all(
    disk: LoopDisk, level: Literal["signatures", "nvme_format"], *disks: Member
) -> Outcome:
    commands = Commands(disk.stop, lambda _: None)
    planned = PlannedStep("disk_erase", DiskErase(level), disks)
    return erase(planned, disk.bench(), Tree(), commands, NONE_LEFT_OUT)


def test_disk_erase_that_a_disk_cannot_do_writes_to_none(disk: LoopDisk) -> None:
    subprocess.run(["mke2fs", "-q", "-F", disk.device], check=True)
    before = disk.backing.read_bytes()
    with pytest.raises(InstallError):
        erase_all(disk, "nvme_format", disk.member("ext2"))
    assert disk.backing.read_bytes() == before


def once(disk: LoopDisk, change: Callable[[], object]) -> None:
    """Have `change` happen when the job first says how far it is."""

    def report(progress: Progress) -> None:
        disk.told.append(progress)
        if len(disk.told) == 1:
            change()

    disk.report = report  # type: ignore[method-assign]


@pytest.mark.parametrize("job", ["test", "erase"])
def test_disk_job_says_that_it_writes_after_its_checks_and_before_it_does(
    disk: LoopDisk, job: str
) -> None:
    subprocess.run(["mke2fs", "-q", "-F", disk.device], check=True)
    before, found = disk.backing.read_bytes(), []
    once(disk, lambda: found.append(disk.backing.read_bytes()))

    def begin(*approved: str) -> None:
        if job == "test":
            disk.test(WRITE, *approved)
        else:
            erase_all(disk, "signatures", disk.member(*approved))

    with pytest.raises(InstallError, match="it now holds ext2"):
        begin()
    assert disk.told == []
    begin("ext2")
    assert disk.told[0].percentage == 0.01
    assert found == [before] != [disk.backing.read_bytes()]


@pytest.mark.parametrize("job", ["test", "erase"])
def test_disk_that_is_filled_while_the_one_before_is_written_stays(
    disk: LoopDisk, second: LoopDisk, job: str
) -> None:
    once(disk, lambda: subprocess.run(["mke2fs", "-q", "-F", second.device], check=True))
    with pytest.raises(InstallError, match="it now holds ext2"):
        if job == "test":
            disk.test_of(WRITE, disk.member(), second.member())
        else:
            erase_all(disk, "signatures", disk.member(), second.member())
    probe = blkid_probe(Commands(Stop(), lambda _: None), Tree())
    assert read_contents(Tree(), second.name, probe) == ["ext2"]


def test_disk_whose_name_another_has_when_its_turn_comes_is_written_by_its_new_name(
    disk: LoopDisk, second: LoopDisk, tmp_path: Path
) -> None:
    name = second.name
    others: list[LoopDisk] = []

    def swap() -> None:
        second.detach()
        others.append(LoopDisk(tmp_path / "other.img", THIRD_BYTES, f"/dev/{name}"))
        second.attach()

    once(disk, swap)
    approved = second.member()
    try:
        disk.test_of(WRITE, disk.member(), approved)
        assert second.name != name
        assert second.backing.read_bytes()[:MIB] != second.filled_with[:MIB]
        assert others[-1].backing.read_bytes() == others[-1].filled_with
    finally:
        for each in others:
            each.detach()


def test_disk_whose_name_changes_as_it_is_opened_is_not_written(
    disk: LoopDisk, second: LoopDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = second.backing.read_bytes()
    flags = os.O_RDWR | os.O_EXCL | os.O_DIRECT
    monkeypatch.setattr(DiskTester, "_open", lambda *_: os.open(second.device, flags))
    with pytest.raises(InstallError, match="nothing was written to it"):
        disk.test(WRITE)
    assert second.backing.read_bytes() == before
