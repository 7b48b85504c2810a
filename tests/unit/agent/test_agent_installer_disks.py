"""An install over two disks: nothing is written before both were checked, and both are undone."""

import io
from pathlib import Path

import pytest

from lpmos.agent.commands import Output
from lpmos.agent.console import Console
from lpmos.agent.diskplan import Array, Disk, Filesystem, Member, Partition
from lpmos.agent.errors import CommandFailed, InstallError, Stopped
from lpmos.agent.installer import Installer
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.pace import Pace
from lpmos.agent.plan import parse_plan
from lpmos.agent.region import Region
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import lay_out
from tests.support.agent_region import plan_document, plan_for

SIZE_BYTES = 8 * 512
MIRROR = Disk(
    *("/dev/sda", SIZE_BYTES, "A", None, None, ()),
    partitions=(Partition(1, "layer", None, None),),
    members=(Member("/dev/sdb", SIZE_BYTES, "B", None, None, ()),),
    arrays=(Array("md-root", "raid1", 1),),
    filesystems=(Filesystem("md-root", "ext4", "/"),),
)
WIPED = ["wipefs --all --quiet /dev/sda", "wipefs --all --quiet /dev/sdb"]


class Setting:
    """Two disks with nothing real in them."""

    def __init__(self, root: Path) -> None:
        for name, serial in (("sda", "A"), ("sdb", "B")):
            lay_out(root, {f"sys/block/{name}/size": "8", f"sys/block/{name}/serial": serial}, {})
            lay_out(root, {f"dev/{name}": "blank", f"dev/{name}1": "blank"}, {})
        self.commands = RecordingCommands()
        self.commands.on("blkid", Output(2, ""))
        job = Job(
            Region("http://region"),
            Console(io.StringIO()),
            self.commands.stop,
            Pace(first_s=0, most_s=0, scale=0),
            lambda _: None,
        )
        self._installer = Installer(self.commands, Tree(root), job, target=root / "target")

    def run(self, disk: Disk = MIRROR) -> None:
        self._installer.run(parse_plan(plan_document(plan_for(b"image")))._replace(disk=disk))


def test_both_disks_are_looked_at_before_one_is_written(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.commands.on("sfdisk", Output(1, "it broke"))
    with pytest.raises(CommandFailed):
        setting.run()
    assert setting.commands.ran[:4] == [
        "blkid -p -o export /dev/sda",
        "blkid -p -o export /dev/sdb",
        *WIPED,
    ]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({"sys/block/sdb/serial": "C"}, "no disk has the serial B"),
        ({"sys/block/sdb/ro": "1"}, "read-only"),
        ({"proc/swaps": "Filename Type\n/dev/sdb partition 1 0 -2\n"}, "swap space in use"),
        (
            {
                "sys/block/sdb/holders/md127/x": "",
                "sys/block/md127/slaves/sdb/x": "",
                "sys/block/md127/slaves/sdc/x": "",
            },
            "held by md127, which stands on sdc as well",
        ),
    ],
)
def test_second_disk_that_must_not_be_written_spares_the_first(
    files: dict[str, str], reason: str, tmp_path: Path
) -> None:
    setting = Setting(tmp_path)
    lay_out(tmp_path, files, {})
    with pytest.raises(InstallError, match=reason) as failure:
        setting.run()
    assert "nothing was written" in str(failure.value)
    assert setting.commands.ran == []


def put_old_array(root: Path) -> None:
    """One that the kernel has assembled over both disks."""
    for name in ("sda", "sdb"):
        lay_out(
            root,
            {f"sys/block/{name}/holders/md127/x": "", f"sys/block/md127/slaves/{name}/x": ""},
            {},
        )


def test_old_array_over_both_disks_is_stopped_before_they_are_wiped(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    put_old_array(tmp_path)
    setting.commands.on("sfdisk", Output(1, "it broke"))
    with pytest.raises(CommandFailed):
        setting.run()
    assert setting.commands.ran[2:5] == ["mdadm --stop /dev/md127", *WIPED]


@pytest.mark.parametrize("failing", ["sfdisk .*sdb", "mdadm --create", "mkfs.ext4", "mount"])
def test_failure_at_any_step_blanks_both_disks(failing: str, tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.commands.on(failing, Output(1, "it broke"))
    with pytest.raises(CommandFailed) as failure:
        setting.run()
    assert failure.value.output == "it broke"
    assert setting.commands.ran[-2:] == WIPED


def ending(setting: Setting, how: str) -> Output:
    """The answer of a command in which the install is cancelled, or which fails."""
    if how == "cancelled":
        setting.commands.stop.set("cancelled")
    return Output(1, "it broke")


ENDS = pytest.mark.parametrize(
    ("how", "error"), [("cancelled", Stopped), ("failed", CommandFailed)]
)


@ENDS
def test_disk_whose_turn_had_not_come_keeps_what_it_holds(
    tmp_path: Path, how: str, error: type[Exception]
) -> None:
    setting = Setting(tmp_path)
    setting.commands.on("blkdiscard /dev/sda", lambda _: ending(setting, how))
    with pytest.raises(error):
        setting.run(MIRROR._replace(erase="discard"))
    written = [line for line in setting.commands.ran if not line.startswith("blkid")]
    assert written == [WIPED[0], "blkdiscard /dev/sda", WIPED[0]]


@ENDS
def test_disks_whose_old_array_was_being_stopped_keep_what_they_hold(
    tmp_path: Path, how: str, error: type[Exception]
) -> None:
    setting = Setting(tmp_path)
    put_old_array(tmp_path)
    setting.commands.on("mdadm --stop", lambda _: ending(setting, how))
    with pytest.raises(error):
        setting.run()
    assert setting.commands.ran[2:] == ["mdadm --stop /dev/md127"]
