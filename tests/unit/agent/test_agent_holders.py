"""Old arrays and volumes on disks that are to be overwritten."""

from pathlib import Path

import pytest

from lpmos.agent.commands import Output
from lpmos.agent.errors import CommandFailed, InstallError
from lpmos.agent.holders import assembled, take_apart
from lpmos.agent.inventory.tree import Tree
from tests.support.agent_commands import RecordingCommands


def _tree(root: Path, **below: str) -> Tree:
    """Disks sda to sdc with a partition each, and what is built on which of their blocks."""
    for disk in ("sda", "sdb", "sdc"):
        part = root / f"sys/block/{disk}/{disk}1"
        part.mkdir(parents=True)
        (part / "partition").write_text("1")
    for holder, slaves in below.items():
        name = holder.replace("dm", "dm-")
        block = root / f"sys/block/{name}"
        for slave in slaves.split():
            disk = slave.rstrip("1") if slave.startswith("sd") else slave
            place = root / f"sys/block/{disk}" / (slave if slave != disk else "")
            (place / "holders" / name).mkdir(parents=True)
            (block / "slaves" / slave).mkdir(parents=True)
        if name.startswith("dm-"):
            (block / "dm").mkdir()
            (block / "dm/name").write_text(f"old-{name}\n")
    return Tree(root)


def test_disks_with_nothing_on_them_have_no_holders(tmp_path: Path) -> None:
    assert assembled(_tree(tmp_path), ["sda", "sdb"]) == ()


def test_old_volumes_over_an_old_array_are_taken_apart_from_the_top(tmp_path: Path) -> None:
    tree = _tree(tmp_path, md127="sda1 sdb1", dm0="md127", dm1="md127")
    holders = assembled(tree, ["sda", "sdb"])
    assert holders == ("dm-0", "dm-1", "md127")
    commands = RecordingCommands()
    take_apart(commands, tree, holders)
    assert commands.ran == [
        "dmsetup remove old-dm-0",
        "dmsetup remove old-dm-1",
        "mdadm --stop /dev/md127",
    ]


def test_array_over_whole_disks_is_found(tmp_path: Path) -> None:
    assert assembled(_tree(tmp_path, md0="sda sdb"), ["sda", "sdb"]) == ("md0",)


@pytest.mark.parametrize("below", [{"md127": "sda1 sdc1"}, {"dm0": "sda1 sdc1"}])
def test_what_stands_on_another_disk_too_is_refused(below: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(InstallError, match=r"sdc1 as well: nothing was written") as failure:
        assembled(_tree(tmp_path, **below), ["sda", "sdb"])
    assert failure.value.hint


def test_volume_over_two_arrays_one_of_them_elsewhere_is_refused(tmp_path: Path) -> None:
    tree = _tree(tmp_path, md1="sda1", md2="sdc1", dm0="md1 md2")
    with pytest.raises(InstallError, match="dm-0, which stands on md2 as well"):
        assembled(tree, ["sda"])


def test_holder_that_is_neither_array_nor_volume_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="bcache0, which the agent cannot take apart"):
        assembled(_tree(tmp_path, bcache0="sda1"), ["sda"])


def test_array_that_cannot_be_stopped_fails(tmp_path: Path) -> None:
    tree = _tree(tmp_path, md127="sda1")
    commands = RecordingCommands()
    commands.on("mdadm", Output(1, "mdadm: Cannot get exclusive access to /dev/md127"))
    with pytest.raises(CommandFailed):
        take_apart(commands, tree, assembled(tree, ["sda"]))
