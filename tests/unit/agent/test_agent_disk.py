"""Finding the disks of a plan again, and refusing what is not as it was approved."""

from pathlib import Path
from typing import Any

import pytest

from lpmos.agent.disk import find, find_all, refuse_in_use, refuse_new_contents
from lpmos.agent.diskplan import Disk, Member
from lpmos.agent.errors import InstallError
from lpmos.agent.inventory.tree import Tree
from tests.support.agent_machines import lay_out, recorded_machine


def _wanted(device: str, size_bytes: int, **identity: Any) -> Member:
    fields = {"serial": None, "wwn": None, "model": None, "overwrites": ()} | identity
    return Member(device=device, size_bytes=size_bytes, **fields)


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


def test_find_refuses_the_disk_that_is_left_of_a_shared_serial(tmp_path: Path) -> None:
    """The namespace that was approved is gone; the other has its serial, size and model."""
    tree = _disks(tmp_path, nvme0n2={"serial": "S", "wwid": "eui.1"})
    with pytest.raises(InstallError, match=r"its wwn is now eui[.]1, approved was eui[.]2"):
        find(tree, _wanted("/dev/nvme0n2", 8 * 512, serial="S", wwn="eui.2"))


def test_find_of_two_paths_takes_one_to_read_and_none_to_write(tmp_path: Path) -> None:
    path = {"serial": "S", "wwid": "naa.5000c500a1b2c3d4"}
    tree = _disks(tmp_path, sda=path, sdb=path)
    wanted = _wanted("/dev/sdb", 8 * 512, serial="S", wwn="0x5000c500a1b2c3d4")
    assert find(tree, wanted, for_reading=True) == "sda"
    with pytest.raises(InstallError, match="not certain"):
        find(tree, wanted)


def test_find_of_a_shared_serial_without_wwn_takes_none_also_to_read(tmp_path: Path) -> None:
    """Without a WWN nothing says that they are paths to one disk."""
    tree = _disks(tmp_path, sda={"serial": "S"}, sdb={"serial": "S"})
    with pytest.raises(InstallError, match="not certain"):
        find(tree, _wanted("/dev/sdb", 8 * 512, serial="S"), for_reading=True)


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
        (
            {"proc/self/mountinfo": "36 35 0:40 / /data rw - btrfs /dev/sda2 rw\n"},
            "mounted at /data",
        ),
        ({"proc/swaps": "Filename Type\n/dev/sda2 partition 1 0 -2\n"}, "swap space"),
    ],
)
def test_disk_in_use_is_refused(files: dict[str, str], reason: str, tmp_path: Path) -> None:
    machine = recorded_machine("two-socket-uefi", tmp_path)
    refuse_in_use(machine.tree, ["sda"])
    lay_out(tmp_path, files, {})
    with pytest.raises(InstallError, match=reason):
        refuse_in_use(machine.tree, ["sda"])


def test_disk_with_contents_that_nobody_approved_is_refused(tmp_path: Path) -> None:
    machine = recorded_machine("two-socket-uefi", tmp_path)
    seen = _wanted("/dev/sda", 1, overwrites=("gpt", "vfat", "LVM2_member"))
    refuse_new_contents(machine.tree, "sda", seen, machine.probe)
    with pytest.raises(InstallError, match="now holds gpt, LVM2_member; nothing was written"):
        refuse_new_contents(machine.tree, "sda", seen._replace(overwrites=("vfat",)), machine.probe)


def _plan(*members: Member) -> Disk:
    return Disk(*members[0], partitions=(), members=members[1:])


def test_find_all_names_every_disk_in_the_plans_order(tmp_path: Path) -> None:
    tree = _disks(tmp_path, sda={"serial": "A"}, sdb={"serial": "B"}, sdc={"serial": "C"})
    plan = _plan(*(_wanted("/dev/sdx", 8 * 512, serial=serial) for serial in "CA"))
    assert find_all(tree, plan) == ("sdc", "sda")


def test_find_all_where_one_is_gone_is_refused(tmp_path: Path) -> None:
    tree = _disks(tmp_path, sda={"serial": "A"})
    plan = _plan(*(_wanted("/dev/sdx", 8 * 512, serial=serial) for serial in "AB"))
    with pytest.raises(InstallError, match="no disk has the serial B; nothing was written"):
        find_all(tree, plan)


def test_find_all_of_two_that_are_one_is_refused(tmp_path: Path) -> None:
    tree = _disks(tmp_path, sda={"serial": "A", "wwid": "eui.1"})
    plan = _plan(
        _wanted("/dev/sda", 8 * 512, serial="A"), _wanted("/dev/sdb", 8 * 512, wwn="eui.1")
    )
    with pytest.raises(InstallError, match="/dev/sdb is not certain to be the disk"):
        find_all(tree, plan)
