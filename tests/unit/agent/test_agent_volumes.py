"""LVM: what it is told, and names that another disk has already."""

import pytest

from lpmos.agent.commands import Output
from lpmos.agent.diskplan import Volume, VolumeGroup
from lpmos.agent.errors import InstallError
from lpmos.agent.volumes import Volumes, mapper_path, refuse_taken_names
from tests.support.agent_commands import RecordingCommands

GROUP = VolumeGroup("vg0", "md-root", (Volume("root", None), Volume("var-lib", 1 << 30)))
LISTING = "  /dev/sda4  vg0  \n  /dev/sdb1       \n  /dev/md127 data\n"


def test_volume_that_takes_the_rest_is_made_last() -> None:
    commands = RecordingCommands()
    assert Volumes(commands).create(GROUP, "/dev/md1") == {
        "vg0/root": "/dev/mapper/vg0-root",
        "vg0/var-lib": "/dev/mapper/vg0-var--lib",
    }
    assert commands.ran == [
        "lvm pvcreate --quiet --yes -ff /dev/md1",
        "lvm vgcreate --quiet --yes vg0 /dev/md1",
        "lvm lvcreate --quiet --yes --wipesignatures=y --name=var-lib --size=1073741824b vg0",
        "lvm lvcreate --quiet --yes --wipesignatures=y --name=root --extents=100%FREE vg0",
    ]


def test_dashes_of_names_are_doubled() -> None:
    assert mapper_path("vg-a", "b-c-d") == "/dev/mapper/vg--a-b--c--d"


def test_groups_are_switched_off_once() -> None:
    commands = RecordingCommands()
    volumes = Volumes(commands)
    volumes.create(GROUP, "/dev/md1")
    volumes.stop()
    volumes.abandon()
    assert commands.ran[4:] == ["lvm vgchange --quiet -an vg0"]


def test_groups_of_a_failed_install_are_removed() -> None:
    commands = RecordingCommands()
    volumes = Volumes(commands)
    volumes.create(GROUP, "/dev/md1")
    volumes.abandon()
    assert commands.ran[4:] == ["lvm vgremove --quiet --yes -ff vg0"]


def test_name_of_a_group_on_another_disk_is_refused() -> None:
    commands = RecordingCommands()
    commands.on("^lvm pvs", Output(0, LISTING))
    with pytest.raises(InstallError, match=r"/dev/sda4 already has .* vg0: nothing was written"):
        refuse_taken_names(commands, [GROUP], ["/dev/sdb", "/dev/sdb1"])


def test_name_of_a_group_that_is_overwritten_is_free() -> None:
    commands = RecordingCommands()
    commands.on("^lvm pvs", Output(0, LISTING))
    refuse_taken_names(commands, [GROUP], ["/dev/sda", "/dev/sda4"])


def test_plan_without_groups_asks_nothing() -> None:
    commands = RecordingCommands()
    refuse_taken_names(commands, [], ["/dev/sda"])
    assert commands.ran == []
