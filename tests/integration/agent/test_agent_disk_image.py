"""Real installs of tiny disk images onto a loop device: real zstd, sfdisk, e2fsck and resize2fs.

UEFI is left out: the kernel that runs the tests need not know FAT (see test_agent_image_start.py).
"""

import io
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.errors import InstallError
from lpmos.agent.installer import Installer
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.pace import Pace
from lpmos.agent.plan import parse_plan
from lpmos.agent.region import Region
from lpmos.agent.reporter import Progress
from lpmos.agent.stop import Stop
from lpmos.model.diskplan import DiskPlan
from lpmos.model.installplan import PlannedFile
from tests.support.agent_region import AgentRegion, agent_region, plan_document, plan_for
from tests.support.disk_images import (
    ARM_64,
    DISK_BYTES,
    MIB,
    SYSTEM,
    disk_image,
    loop_device,
    run,
    zstd,
)
from tests.support.losable_disk import losable_disk

TARGET_BYTES = 128 * MIB
BTRFS_TARGET_BYTES = 320 * MIB
"""The kernel gives a btrfs no new size below 256 MiB."""
LOST_TIMEOUT_S = 60.0
NONE_LEFT_OUT = re.compile(r"(?!)")
OLD = b"an old system's secret"


class BiosTree(Tree):
    """This machine's tree, as after a start by BIOS."""

    def exists(self, name: str) -> bool:
        return name != "sys/firmware/efi" and super().exists(name)


@pytest.fixture
def backing(tmp_path: Path) -> Path:
    """The target disk's bytes: an old system's everywhere."""
    path = tmp_path / "target.img"
    with path.open("wb") as file:
        file.truncate(TARGET_BYTES)
        for at in range(0, TARGET_BYTES, MIB):
            file.seek(at + 4096)
            file.write(OLD)
    return path


@pytest.fixture
def loop(backing: Path) -> Iterator[str]:
    with loop_device(backing) as name:
        yield name


class Install:
    """One install of the region's image onto a loop device."""

    def __init__(
        self, region: AgentRegion, name: str, target: Path, *, size_bytes: int = TARGET_BYTES,
        disk_bytes: int = DISK_BYTES,
    ) -> None:  # fmt: skip
        self.stream = io.StringIO()
        self.reports: list[Progress] = []
        console, stop = Console(self.stream), Stop()
        job = Job(
            Region(region.url), console, stop, Pace(first_s=0.01, most_s=0.05),
            self.reports.append, first_boot_token="secret",
        )  # fmt: skip
        self.installer = Installer(
            Commands(stop, console.info), BiosTree(), job, target=target, not_disks=NONE_LEFT_OUT
        )
        self.plan = parse_plan(document(region.image, name, size_bytes, disk_bytes))

    def run(self) -> None:
        self.installer.run(self.plan)


def document(image: bytes, name: str, size_bytes: int, disk_bytes: int) -> dict[str, Any]:
    """The plan as an agent gets it."""
    disk = DiskPlan(device=f"/dev/{name}", size_bytes=size_bytes, partitions=(), whole_image=True)
    files = (
        PlannedFile(path="/etc/hostname", content="tiny\n"),
        PlannedFile(path="/etc/token", content="{{FIRST_BOOT_TOKEN}}"),
    )
    plan = plan_for(image, disk=disk, files=files, boot_loader="image")
    assert plan.image is not None
    source = msgspec.structs.replace(plan.image, format="raw.zst", disk_bytes=disk_bytes)
    return plan_document(msgspec.structs.replace(plan, image=source))


def test_disk_image_is_written_grown_and_made_the_machines_own(
    loop: str, backing: Path, tmp_path: Path
) -> None:
    raw = disk_image(tmp_path)
    identity = json.loads(run("sfdisk", "--json", str(raw)))["partitiontable"]
    with agent_region(zstd(raw), break_after=[2_000]) as region:
        install = Install(region, loop, tmp_path / "target")
        install.run()
    assert f"/dev/{loop}" not in Path("/proc/self/mountinfo").read_text()
    table = json.loads(run("sfdisk", "--json", f"/dev/{loop}"))["partitiontable"]
    assert table["id"] != identity["id"]
    assert [part["uuid"] for part in table["partitions"]] == [
        part["uuid"] for part in identity["partitions"]
    ]
    assert table["lastlba"] > TARGET_BYTES // 512 - 2048
    assert table["partitions"][1]["size"] > (TARGET_BYTES - 4 * MIB) // 512
    run("e2fsck", "-fn", f"/dev/{loop}p2")
    listed = run("dumpe2fs", "-h", f"/dev/{loop}p2")
    assert int(re.search(r"Block count: +(\d+)", listed)[1]) > 100_000 // 4  # type: ignore[index]
    read = "\n".join(run("debugfs", "-R", f"cat {name}", f"/dev/{loop}p2")
                     for name in ("/etc/hostname", "/etc/token", "/etc/machine-id"))  # fmt: skip
    assert read.split() == ["tiny", "secret"]
    assert "ssh_host" not in run("debugfs", "-R", "ls -p /etc/ssh", f"/dev/{loop}p2")
    with backing.open("rb") as file:
        assert OLD not in file.read(DISK_BYTES)
    said = install.stream.getvalue()
    assert "of zeros were left to the disk" in said
    assert [report.stage for report in install.reports][-1] == "configuring"


def test_disk_image_with_a_dos_table_keeps_its_disk_id(loop: str, tmp_path: Path) -> None:
    raw = disk_image(tmp_path, label="dos")
    with agent_region(zstd(raw)) as region:
        Install(region, loop, tmp_path / "target").run()
    before, after = (
        json.loads(run("sfdisk", "--json", str(disk)))["partitiontable"]
        for disk in (raw, f"/dev/{loop}")
    )
    assert after["id"] == before["id"]
    assert after["partitions"][0]["size"] > before["partitions"][0]["size"]


def test_root_on_btrfs_has_the_rest_of_the_disk(tmp_path: Path) -> None:
    raw = disk_image(tmp_path, filesystem="btrfs")
    backing = tmp_path / "large.img"
    with backing.open("wb") as file:
        file.truncate(BTRFS_TARGET_BYTES)
    with loop_device(backing) as name, agent_region(zstd(raw)) as region:
        install = Install(region, name, tmp_path / "target", size_bytes=BTRFS_TARGET_BYTES)
        install.run()
        assert f"/dev/{name}p2 (btrfs) has the rest of the disk" in install.stream.getvalue()
        table = json.loads(run("sfdisk", "--json", f"/dev/{name}"))["partitiontable"]
        part_bytes = table["partitions"][1]["size"] * 512
        assert part_bytes > BTRFS_TARGET_BYTES - 4 * MIB
        said = run("btrfs", "inspect-internal", "dump-super", f"/dev/{name}p2")
        total_bytes = re.search(r"^total_bytes\s+(\d+)", said, re.MULTILINE)
        assert total_bytes is not None and part_bytes - 4096 < int(total_bytes[1]) <= part_bytes
        run("btrfs", "check", "--readonly", f"/dev/{name}p2")


def test_disk_that_vanishes_while_the_image_is_written_fails_soon_and_is_named(
    tmp_path: Path,
) -> None:
    raw = disk_image(tmp_path)
    with raw.open("r+b") as file:  # more than one download brings, in the root's free space
        file.seek(20 * MIB)
        file.write(os.urandom(8 * MIB))
    with (
        losable_disk(tmp_path, TARGET_BYTES) as disk,
        agent_region(zstd(raw), break_after=[4 * MIB]) as region,
    ):
        install = Install(region, disk.name, tmp_path / "target")
        downloads: list[float] = []

        def download() -> None:
            downloads.append(time.monotonic())
            if len(downloads) == 2:
                disk.lose()

        region.on_download = download
        with pytest.raises(InstallError, match=f"cannot be written to /dev/{disk.name}") as failed:
            install.run()
        assert time.monotonic() - downloads[1] < LOST_TIMEOUT_S
    assert f"/dev/{disk.name}: Input/output error" in failed.value.output
    assert "cable" in failed.value.hint


def broken(tmp_path: Path, what: str) -> tuple[bytes, dict[str, int]]:
    """An image that cannot be installed, and what its plan says otherwise."""
    if what == "no boot code":
        return zstd(disk_image(tmp_path, boot_code=b"")), {}
    if what == "other architecture":
        return zstd(disk_image(tmp_path, files={**SYSTEM, "usr/bin/sh": ARM_64})), {}
    if what == "no system":
        return zstd(disk_image(tmp_path, files={"data": b"x"})), {}
    if what == "no file system":
        return zstd(disk_image(tmp_path, filesystem=None)), {}
    image = disk_image(tmp_path)
    if what == "no table":
        image.write_bytes(bytes(DISK_BYTES))
        return zstd(image), {}
    if what == "shorter":
        return zstd(image), {"disk_bytes": DISK_BYTES + MIB}
    if what == "longer":
        return zstd(image), {"disk_bytes": DISK_BYTES - MIB}
    assert what == "cut off"
    return zstd(image)[:-2000], {}


@pytest.mark.parametrize(
    ("what", "message", "evidence"),
    [
        ("no boot code", "has no boot loader for BIOS", "code: 000000"),
        ("other architecture", "is of another architecture", "7f 45 4c 46"),
        ("no system", "no partition .* holds a Linux system", "ext4"),
        ("no file system", "no partition .* holds a Linux system", "nothing known"),
        ("no table", "has no partition table that fits", ""),
        ("shorter", f"unpacks to {DISK_BYTES} bytes, not the planned", ""),
        ("longer", "unpacks to more than the planned", ""),
        ("cut off", "zstd failed", "premature end"),
    ],
)
def test_disk_image_that_cannot_start_fails_with_evidence_and_leaves_a_blank_disk(
    loop: str, tmp_path: Path, what: str, message: str, evidence: str
) -> None:
    image, said = broken(tmp_path, what)
    with agent_region(image) as region:
        install = Install(region, loop, tmp_path / "target", **said)
        with pytest.raises(InstallError, match=message) as failed:
            install.run()
    assert evidence in failed.value.output
    assert failed.value.hint
    assert f"/dev/{loop}" not in Path("/proc/self/mountinfo").read_text()
    probed = subprocess.run(["blkid", "-p", f"/dev/{loop}"], capture_output=True, check=False)
    assert (probed.returncode, probed.stdout) == (2, b"")


def test_disk_image_with_another_digest_is_damaged(loop: str, tmp_path: Path) -> None:
    image = zstd(disk_image(tmp_path))
    with agent_region(image) as region:
        install = Install(region, loop, tmp_path / "target")
        region.image = image[:-1] + bytes([image[-1] ^ 1])
        with pytest.raises(InstallError) as failed:
            install.run()
    assert "damaged" in str(failed.value) + failed.value.hint


def test_disk_image_larger_than_the_disk_writes_nothing(
    loop: str, backing: Path, tmp_path: Path
) -> None:
    image = zstd(disk_image(tmp_path))
    with agent_region(image) as region:
        install = Install(region, loop, tmp_path / "target", disk_bytes=TARGET_BYTES + MIB)
        with pytest.raises(InstallError, match="nothing was written"):
            install.run()
    assert backing.read_bytes().count(OLD) == TARGET_BYTES // MIB
