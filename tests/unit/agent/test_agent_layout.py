"""Clearing and partitioning one disk."""

from pathlib import Path

import pytest

from lpmos.agent.commands import Output
from lpmos.agent.diskplan import Array, Disk, Encrypted, Filesystem, Partition, Volume, VolumeGroup
from lpmos.agent.errors import CommandFailed, Stopped
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.layout import DiskWriter, partition_path, table_script
from lpmos.agent.stop import Stop
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import lay_out, recorded_machine

FIRMWARE = (Partition(1, "bios_boot", 1 << 20, None), Partition(2, "esp", 512 << 20, "vfat"))
PLAN = Disk(
    *("/dev/sda", 1 << 30, None, None, None, ()),
    partitions=(*FIRMWARE, Partition(3, "root", None, "ext4")),
)
SFDISK = "sfdisk --quiet --wipe always --wipe-partitions always /dev/sda"


def _writer(root: Path, commands: RecordingCommands, name: str = "sda") -> DiskWriter:
    return DiskWriter(commands, Tree(root), Stop(), name)


def test_partition_path_has_a_p_after_a_digit() -> None:
    assert partition_path("/dev/sda", 3) == "/dev/sda3"
    assert partition_path("/dev/nvme0n1", 3) == "/dev/nvme0n1p3"


def test_table_script_is_what_sfdisk_reads() -> None:
    assert table_script(PLAN._replace(partitions=PLAN.partitions[::-1])) == (
        "label: gpt\n\n"
        "1 : size=1024KiB, type=21686148-6449-6E6F-744E-656564454649, name=bios\n"
        "2 : size=524288KiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp\n"
        "3 : type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root\n"
    )


def test_table_of_layers_names_what_stands_on_each() -> None:
    layers = tuple(Partition(number, "layer", 1 << 30, None) for number in range(3, 10))
    plan = PLAN._replace(
        partitions=layers,
        arrays=(Array("md-boot", "raid1", 3),),
        groups=(VolumeGroup("vg0", "p4", (Volume("root", None),)),),
        encrypted=(Encrypted("crypt-home", "p5"),),
        filesystems=(
            Filesystem("p6", "swap", None),
            Filesystem("p7", "xfs", "/var/lib"),
            Filesystem("p8", "btrfs", "/"),
        ),
    )
    said = [line.split(", ")[1:] for line in table_script(plan).splitlines()[2:]]
    assert said == [
        ["type=A19D880F-05FC-4D3B-A006-743F0F84911E", "name=md-boot"],
        ["type=E6D6D379-F507-44C2-A23C-238F2A3DF928", "name=vg0"],
        ["type=CA7D7CCB-63ED-4C53-861C-1742536059CC", "name=crypt-home"],
        ["type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F", "name=swap"],
        ["type=0FC63DAF-8483-4772-8E79-3D69D8477DE4", "name=var-lib"],
        ["type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709", "name=root"],
        ["type=0FC63DAF-8483-4772-8E79-3D69D8477DE4", "name=p9"],
    ]


def test_clear_takes_old_partitions_first(tmp_path: Path) -> None:
    commands = RecordingCommands()
    recorded_machine("two-socket-uefi", tmp_path)
    _writer(tmp_path, commands).clear("signatures")
    assert commands.ran == [f"wipefs --all --quiet /dev/sda{part}" for part in ("2", "1", "")]


def test_clear_by_discard_discards_the_whole_disk_last(tmp_path: Path) -> None:
    commands = RecordingCommands()
    _writer(tmp_path, commands).clear("discard")
    assert commands.ran == ["wipefs --all --quiet /dev/sda", "blkdiscard /dev/sda"]


def test_clear_by_discard_of_a_disk_that_cannot_says_so(tmp_path: Path) -> None:
    commands = RecordingCommands()
    commands.on("blkdiscard", Output(1, "blkdiscard: BLKDISCARD ioctl failed: not supported"))
    with pytest.raises(CommandFailed) as failure:
        _writer(tmp_path, commands).clear("discard")
    assert "disk_layout.erase" in failure.value.hint


def test_partition_writes_the_table_then_waits_for_nodes(tmp_path: Path) -> None:
    commands = RecordingCommands()
    lay_out(tmp_path, {f"dev/sda{n}": "" for n in (1, 2, 3)}, {})
    _writer(tmp_path, commands).partition(PLAN)
    assert commands.ran == [SFDISK]
    assert commands.stdin[SFDISK] == table_script(PLAN)


def test_partition_that_fails_stops_before_anything_else(tmp_path: Path) -> None:
    commands = RecordingCommands()
    commands.on("sfdisk", Output(1, "This disk is currently in use"))
    with pytest.raises(CommandFailed, match="sfdisk failed with exit code 1"):
        _writer(tmp_path, commands).partition(PLAN)
    assert commands.ran == [SFDISK]


def test_blank_leaves_a_disk_alone_that_was_not_begun(tmp_path: Path) -> None:
    commands, stop = RecordingCommands(), Stop()
    writer = DiskWriter(commands, Tree(tmp_path), stop, "sda")
    writer.blank()
    stop.set("cancelled")
    with pytest.raises(Stopped):
        writer.clear("signatures")
    writer.blank()
    assert commands.ran == []


def test_blank_wipes_partitions_and_disk_whatever_fails(tmp_path: Path) -> None:
    commands = RecordingCommands()
    commands.on("sda2", Output(1, "busy"))
    recorded_machine("two-socket-uefi", tmp_path)
    writer = _writer(tmp_path, commands)
    with pytest.raises(CommandFailed):
        writer.clear("signatures")
    begun = len(commands.ran)
    writer.blank()
    assert commands.ran[begun:] == [
        "wipefs --all --quiet /dev/sda2",
        "wipefs --all --quiet /dev/sda2 --force",
        "wipefs --all --quiet /dev/sda1",
        "wipefs --all --quiet /dev/sda",
    ]
