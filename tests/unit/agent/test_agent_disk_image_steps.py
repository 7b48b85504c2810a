"""The order of a disk image's install under UEFI, with nothing real in it."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lpmos.agent.commands import Output
from lpmos.agent.console import Console
from lpmos.agent.diskimage import DiskImageInstall
from lpmos.agent.errors import InstallError
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Plan, parse_plan
from lpmos.agent.region import Download, Region
from lpmos.agent.reporter import Progress
from lpmos.agent.stop import Stop
from lpmos.model.diskplan import DiskPlan
from lpmos.model.installplan import PlannedFile
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import lay_out
from tests.support.agent_region import plan_document, plan_for

DISK = b"\1" * 4096
ESP_TYPE, ROOT_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B", "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
TABLE = {
    "partitiontable": {
        "label": "gpt",
        "partitions": [
            {"node": "/dev/vda1", "start": 2048, "size": 100, "type": ESP_TYPE},
            {"node": "/dev/vda2", "start": 4096, "size": 900, "type": ROOT_TYPE},
        ],
    }
}


class OneDownload(Download):
    def __init__(self) -> None:
        """Nothing is open."""

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def __iter__(self) -> Iterator[bytes]:
        yield DISK


class OneImage(Region):
    def download(self, path: str, offset: int, size_bytes: int) -> Download:
        return OneDownload()


class Setting:
    """A machine that started by UEFI, and an image whose root is on xfs."""

    def __init__(self, root: Path) -> None:
        self.commands = RecordingCommands()
        self.commands.on("sfdisk --json", Output(0, json.dumps(TABLE)))
        self.commands.on("blkid .*vda1", Output(0, "TYPE=vfat\nUUID=2222\n"))
        self.commands.on("blkid .*vda2", Output(0, "TYPE=xfs\nUUID=1111\n"))
        self.commands.on("efibootmgr$", Output(0, "BootOrder: 0001\nBoot0001* rocky"))
        self.target = root / "target"
        self.reports: list[Progress] = []
        files = {"dev/vda": "old", "dev/vda1": "", "dev/vda2": "", "sys/firmware/efi/x": ""}
        lay_out(root, files, {})
        lay_out(self.target, {"etc/os-release": "ID=rocky"}, {})
        self.root = root
        job = Job(
            OneImage("http://region"),
            Console(io.StringIO()),
            Stop(),
            Pace(first_s=0, most_s=0, scale=0),
            self.reports.append,
        )
        self.install = DiskImageInstall(self.commands, Tree(root), job, self.target)

    def run(self) -> None:
        self.install.install(plan(), "/dev/vda")

    def first(self, start: str) -> int:
        """Where the first command that begins so was run."""
        return next(n for n, ran in enumerate(self.commands.ran) if ran.startswith(start))


def plan() -> Plan:
    disk = DiskPlan(device="/dev/vda", size_bytes=8192, partitions=(), whole_image=True)
    files = (PlannedFile(path="/etc/hostname", content="web-1\n"),)
    made = plan_for(DISK, disk=disk, files=files, boot_loader="image", boot_entry="rocky")
    assert made.image is not None
    image = msgspec.structs.replace(made.image, format="raw.zst", disk_bytes=len(DISK))
    return parse_plan(plan_document(msgspec.structs.replace(made, image=image)))


@pytest.mark.parametrize(
    ("kind", "growing"), [("xfs", "xfs_growfs"), ("btrfs", "btrfs filesystem resize max")]
)
def test_install_under_uefi_grows_the_root_and_sets_the_entry_of_the_removable_path(
    tmp_path: Path, kind: str, growing: str
) -> None:
    setting = Setting(tmp_path)
    setting.commands.rules.insert(0, ("blkid .*vda2", Output(0, f"TYPE={kind}\nUUID=1111\n")))
    lay_out(tmp_path / "target-esp", {"EFI/BOOT/BOOTX64.EFI": "MZ"}, {})
    setting.run()
    assert (tmp_path / "dev/vda").read_bytes() == DISK
    order = ["zstd -dc", "sfdisk --quiet --relocate gpt-bak-std", "sfdisk --quiet --no-reread -N 2",
             f"mount -t {kind} /dev/vda2 {setting.target}", f"{growing} {setting.target}",
             f"mount -t vfat /dev/vda1 {setting.target}-esp", "efibootmgr --quiet --create",
             "sync -f"]  # fmt: skip
    places = [setting.first(start) for start in order]
    assert places == sorted(places)
    created = setting.commands.ran[setting.first("efibootmgr --quiet --create")]
    assert created.endswith("--part 1 --label rocky --loader \\EFI\\BOOT\\BOOTX64.EFI")
    assert (setting.target / "etc/hostname").read_text() == "web-1\n"
    assert (setting.target / "etc/machine-id").read_bytes() == b""
    percents = [report.percentage for report in setting.reports]
    assert percents == sorted(percents)


def test_install_of_an_image_without_a_loader_for_uefi_fails_before_anything_is_configured(
    tmp_path: Path,
) -> None:
    setting = Setting(tmp_path)
    lay_out(tmp_path / "target-esp", {"EFI/BOOT/BOOTAA64.EFI": "MZ"}, {})
    with pytest.raises(InstallError, match="no UEFI loader") as failed:
        setting.run()
    assert failed.value.output == "EFI/BOOT/BOOTAA64.EFI"
    assert not (setting.target / "etc/hostname").exists()
    mounted = sum(ran.startswith("mount ") for ran in setting.commands.ran)
    assert sum(ran.startswith("umount ") for ran in setting.commands.ran) == mounted


def test_install_of_an_image_without_an_esp_on_uefi_fails_with_its_partitions(
    tmp_path: Path,
) -> None:
    setting = Setting(tmp_path)
    table = json.dumps(TABLE).replace(ESP_TYPE, "0FC63DAF-8483-4772-8E79-3D69D8477DE4")
    setting.commands.rules.insert(0, ("sfdisk --json", Output(0, table)))
    with pytest.raises(InstallError, match="no EFI system partition") as failed:
        setting.run()
    assert "/dev/vda2: type" in failed.value.output


def test_file_system_that_cannot_be_repaired_fails_with_what_the_check_said(
    tmp_path: Path,
) -> None:
    setting = Setting(tmp_path)
    setting.commands.rules.insert(0, ("blkid .*vda2", Output(0, "TYPE=ext4\n")))
    setting.commands.on("e2fsck", Output(4, "UNEXPECTED INCONSISTENCY"))
    with pytest.raises(InstallError, match="is damaged") as failed:
        setting.run()
    assert failed.value.output == "UNEXPECTED INCONSISTENCY"
    assert "shut down" in failed.value.hint


@pytest.mark.parametrize("kind", ["LVM2_member", "swap", "crypto_LUKS"])
def test_last_partition_that_cannot_grow_here_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    setting = Setting(tmp_path)
    setting.commands.rules.insert(0, ("blkid .*vda2", Output(0, f"TYPE={kind}\n")))
    lay_out(tmp_path / "target-esp", {"EFI/BOOT/BOOTX64.EFI": "MZ"}, {})
    with pytest.raises(InstallError, match="holds a Linux system"):
        setting.run()
    assert not any("-N 2" in ran for ran in setting.commands.ran)
