"""Finding, refusing, partitioning and formatting the one disk."""

import re
from pathlib import Path
from typing import Any

import pytest

from lpmos.agent.commands import Output
from lpmos.agent.disk import (
    DiskWriter,
    find,
    new_uuid,
    partition_path,
    refuse_in_use,
    refuse_new_contents,
    table_script,
)
from lpmos.agent.errors import CommandFailed, InstallError
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.plan import Disk, Partition
from lpmos.agent.stop import Stop
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import lay_out, recorded_machine

PARTITIONS = (
    Partition(1, "bios_boot", 1 << 20, None),
    Partition(2, "esp", 512 << 20, "vfat"),
    Partition(3, "root", None, "ext4"),
)


def _wanted(device: str, size_bytes: int, **identity: Any) -> Disk:
    fields = {"serial": None, "wwn": None, "model": None, "overwrites": ()} | identity
    return Disk(device=device, size_bytes=size_bytes, partitions=PARTITIONS, **fields)


NVME = ("/dev/nvme0n1", 1875385008 * 512)


def test_find_by_serial_follows_a_disk_whose_name_moved(tmp_path: Path) -> None:
    tree = recorded_machine("two-socket-uefi", tmp_path).tree
    assert find(tree, _wanted(*NVME, serial="S64GNE0R700002")) == "nvme1n1"


def test_find_by_wwn_follows_a_disk_whose_name_moved(tmp_path: Path) -> None:
    tree = recorded_machine("two-socket-uefi", tmp_path).tree
    assert find(tree, _wanted(*NVME, wwn="eui.36344730527000020025384700000002")) == "nvme1n1"


@pytest.mark.parametrize(
    ("device", "size_bytes", "identity", "reason"),
    [
        (*NVME, {"serial": "OTHER"}, "no disk has the serial OTHER"),
        ("/dev/nvme0n1", 1 << 30, {"serial": "S64GNE0R700001"}, "size_bytes"),
        (*NVME, {"model": "OTHER"}, "model"),
        ("/dev/nvme7n1", 1 << 30, {}, "no disk has the device /dev/nvme7n1"),
    ],
)
def test_find_refuses_a_disk_that_is_not_the_approved_one(
    device: str, size_bytes: int, identity: dict[str, str], reason: str, tmp_path: Path
) -> None:
    tree = recorded_machine("two-socket-uefi", tmp_path).tree
    with pytest.raises(InstallError, match=reason) as failure:
        find(tree, _wanted(device, size_bytes, **identity))
    assert "nothing was written" in str(failure.value)
    assert failure.value.hint


def test_find_refuses_a_read_only_disk(tmp_path: Path) -> None:
    tree = recorded_machine("white-box-odd", tmp_path).tree
    with pytest.raises(InstallError, match="read-only"):
        find(tree, _wanted("/dev/sdb", 1953525168 * 512))


def _disks(root: Path, **disks: dict[str, str]) -> Tree:
    """Disks of 8 blocks, but for what is said of each."""
    for name, files in disks.items():
        lay_out(root, {f"sys/block/{name}/{f}": v for f, v in ({"size": "8"} | files).items()}, {})
    return Tree(root)


@pytest.mark.parametrize(
    ("files", "identity"),
    [
        ({}, {}),
        ({"serial": "S"}, {"serial": "S"}),
        ({"wwid": "eui.1"}, {"wwn": "eui.1"}),
        ({"serial": "S", "wwid": "eui.1"}, {"serial": "S", "wwn": "eui.1"}),
        ({"device/model": "M"}, {"model": "M"}),
    ],
)
def test_find_among_disks_that_nothing_tells_apart_is_refused(
    files: dict[str, str], identity: dict[str, str], tmp_path: Path
) -> None:
    tree = _disks(tmp_path, sda=files, sdb=files)
    with pytest.raises(InstallError, match="not certain to be the disk that was approved") as error:
        find(tree, _wanted("/dev/sdb", 8 * 512, **identity))
    assert "/dev/sda, /dev/sdb" in str(error.value)
    assert "nothing was written" in str(error.value)
    assert "serial" in error.value.hint


def test_find_of_a_shared_serial_takes_the_wwn(tmp_path: Path) -> None:
    tree = _disks(
        tmp_path, sda={"serial": "S", "wwid": "eui.1"}, sdb={"serial": "S", "wwid": "eui.2"}
    )
    assert find(tree, _wanted("/dev/sdb", 8 * 512, serial="S", wwn="eui.1")) == "sda"


def test_find_of_a_shared_serial_takes_the_only_one_of_the_size(tmp_path: Path) -> None:
    tree = _disks(tmp_path, sda={"serial": "S"}, sdb={"serial": "S", "size": "16"})
    assert find(tree, _wanted("/dev/sda", 16 * 512, serial="S")) == "sdb"


@pytest.mark.parametrize("device", ["/dev/sda", "/dev/sdb"])
def test_find_without_identity_takes_the_only_one_of_size_and_model_whatever_its_name(
    device: str, tmp_path: Path
) -> None:
    tree = _disks(
        tmp_path,
        sda={"device/model": "M"},
        sdb={"device/model": "M", "size": "16"},
        sdc={"device/model": "N", "size": "16"},
    )
    assert find(tree, _wanted(device, 16 * 512, model="M")) == "sdb"


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"proc/self/mountinfo": "36 35 8:2 / /data rw - ext4 /dev/sda2 rw\n"}, "mounted at /data"),
        ({"proc/self/mountinfo": "36 35 8:0 / /data rw - ext4 /dev/x rw\n"}, "mounted at /data"),
        ({"sys/block/sda/sda1/holders/md127/x": ""}, "held by md127"),
        ({"sys/block/sda/holders/dm-0/x": ""}, "held by dm-0"),
        ({"proc/swaps": "Filename Type\n/dev/sda2 partition 1 0 -2\n"}, "swap space"),
    ],
)
def test_disk_in_use_is_refused(files: dict[str, str], reason: str, tmp_path: Path) -> None:
    machine = recorded_machine("two-socket-uefi", tmp_path)
    refuse_in_use(machine.tree, "sda")
    lay_out(tmp_path, files, {})
    with pytest.raises(InstallError, match=reason):
        refuse_in_use(machine.tree, "sda")


def test_disk_with_contents_that_nobody_approved_is_refused(tmp_path: Path) -> None:
    machine = recorded_machine("two-socket-uefi", tmp_path)
    seen = _wanted("/dev/sda", 1, overwrites=("gpt", "vfat", "LVM2_member"))
    refuse_new_contents(machine.tree, "sda", seen, machine.probe)
    with pytest.raises(InstallError, match="now holds gpt, LVM2_member; nothing was written"):
        refuse_new_contents(machine.tree, "sda", seen._replace(overwrites=("vfat",)), machine.probe)


def test_partition_path_has_a_p_after_a_digit() -> None:
    assert partition_path("/dev/sda", 3) == "/dev/sda3"
    assert partition_path("/dev/nvme0n1", 3) == "/dev/nvme0n1p3"


def test_table_script_is_what_sfdisk_reads() -> None:
    assert table_script(PARTITIONS[::-1]) == (
        "label: gpt\n\n"
        "1 : size=1024KiB, type=21686148-6449-6E6F-744E-656564454649, name=bios\n"
        "2 : size=524288KiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp\n"
        "3 : type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709, name=root\n"
    )


def _writer(root: Path, commands: RecordingCommands, name: str = "sda") -> DiskWriter:
    return DiskWriter(commands, Tree(root), Stop(), name)


def test_partition_clears_old_partitions_first_then_waits_for_nodes(tmp_path: Path) -> None:
    commands = RecordingCommands()
    recorded_machine("two-socket-uefi", tmp_path)
    lay_out(tmp_path, {f"dev/sda{n}": "" for n in (1, 2, 3)}, {})
    _writer(tmp_path, commands).partition(PARTITIONS)
    sfdisk = "sfdisk --quiet --wipe always --wipe-partitions always /dev/sda"
    assert commands.ran == [
        "wipefs --all --quiet /dev/sda2",
        "wipefs --all --quiet /dev/sda1",
        "wipefs --all --quiet /dev/sda",
        sfdisk,
    ]
    assert commands.stdin[sfdisk] == table_script(PARTITIONS)


def test_partition_that_fails_stops_before_anything_else(tmp_path: Path) -> None:
    commands = RecordingCommands()
    commands.on("sfdisk", Output(1, "This disk is currently in use"))
    with pytest.raises(CommandFailed, match="sfdisk failed with exit code 1"):
        _writer(tmp_path, commands).partition(PARTITIONS)
    assert "sfdisk" in commands.ran[-1]


def test_format_gives_the_file_systems_the_uuids_that_it_reports(tmp_path: Path) -> None:
    commands = RecordingCommands()
    made = _writer(tmp_path, commands, "nvme0n1").format(_wanted(*NVME))
    assert made.esp_uuid is not None
    assert commands.ran == [
        f"mkfs.vfat -F 32 -n ESP -i {made.esp_uuid.replace('-', '')} /dev/nvme0n1p2",
        "mkfs.ext4 -q -F -L root -E lazy_itable_init=1,lazy_journal_init=1"
        f" -U {made.root_uuid} /dev/nvme0n1p3",
    ]
    assert (made.root, made.esp, made.esp_number) == ("/dev/nvme0n1p3", "/dev/nvme0n1p2", 2)


def test_blank_wipes_partitions_and_disk_whatever_fails(tmp_path: Path) -> None:
    commands = RecordingCommands()
    commands.on("sda2", Output(1, "busy"))
    recorded_machine("two-socket-uefi", tmp_path)
    _writer(tmp_path, commands).blank()
    assert [line.split()[-1] for line in commands.ran] == ["/dev/sda2", "/dev/sda1", "/dev/sda"]


def test_new_uuid_is_a_random_version_4() -> None:
    found = {new_uuid() for _ in range(20)}
    assert len(found) == 20
    pattern = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
    assert all(re.fullmatch(pattern, text) for text in found)
