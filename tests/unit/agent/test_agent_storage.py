"""The layers of a layout: in which order they are made, and undone."""

from pathlib import Path

import pytest

from lpmos.agent.commands import Output
from lpmos.agent.diskplan import (
    ERASE_LEVELS,
    Array,
    Disk,
    Encrypted,
    Filesystem,
    Member,
    Partition,
    Volume,
    VolumeGroup,
)
from lpmos.agent.errors import CommandFailed
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.stop import Stop
from lpmos.agent.storage import Storage
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import lay_out

FIRMWARE = (Partition(1, "bios_boot", 1 << 20, None), Partition(2, "esp", 512 << 20, "vfat"))
LAYERS = (Partition(3, "layer", 1 << 30, None), Partition(4, "layer", None, None))
BOOT = Filesystem("md-boot", "ext4", "/boot")
MIRROR = Disk(
    *("/dev/sda", 1 << 34, "A", None, None, ()),
    partitions=(*FIRMWARE, *LAYERS),
    members=(Member("/dev/sdb", 1 << 34, "B", None, None, ()),),
    arrays=(Array("md-boot", "raid1", 3), Array("md-root", "raid1", 4)),
    encrypted=(Encrypted("crypt-root", "md-root"),),
    groups=(VolumeGroup("vg0", "crypt-root", (Volume("root", 1 << 30), Volume("var", None))),),
    filesystems=(
        Filesystem("vg0/var", "xfs", "/var"),
        BOOT,
        Filesystem("vg0/root", "btrfs", "/"),
    ),
)
AUTO = Disk(
    *("/dev/sda", 1 << 34, "A", None, None, ()),
    partitions=(*FIRMWARE, Partition(3, "root", None, "ext4")),
)
PASSPHRASE = "correct horse"


class Setting:
    """One storage with nothing real in it."""

    def __init__(self, root: Path, plan: Disk = MIRROR, *, parts: int = 4) -> None:
        names = [member.device.removeprefix("/dev/") for member in plan.disks]
        lay_out(root, {f"dev/{name}{n}": "" for name in names for n in range(1, parts + 1)}, {})
        self.commands = RecordingCommands()
        self.storage = Storage(
            self.commands, Tree(root), Stop(), plan, names, passphrase=PASSPHRASE
        )

    def programs(self) -> list[str]:
        """The commands by their programs and last words."""
        words = [line.split() for line in self.commands.ran]
        return [f"{line[0]} {line[-1]}" for line in words]


def test_every_disk_is_cleared_before_one_is_partitioned(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.storage.clear(())
    setting.storage.partition()
    assert setting.programs() == [
        "wipefs /dev/sda", "wipefs /dev/sdb", "sfdisk /dev/sda", "sfdisk /dev/sdb",
    ]  # fmt: skip


def test_erase_of_two_disks_may_take_twice_as_long_as_of_one_and_no_erase_takes_no_time(
    tmp_path: Path,
) -> None:
    limits = {
        (plan, erase): Setting(tmp_path, plan._replace(erase=erase)).storage.erase_limit_s
        for plan in (AUTO, MIRROR)
        for erase in ERASE_LEVELS
    }
    for erase in ERASE_LEVELS:
        assert limits[MIRROR, erase] == 2 * limits[AUTO, erase]
    assert [limits[AUTO, erase] > 0 for erase in ERASE_LEVELS] == [False, True, True]


def test_layers_are_made_from_below(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    system = setting.storage.make()
    assert setting.programs() == [
        "mkfs.vfat /dev/sda2", "mkfs.vfat /dev/sdb2",
        "mdadm /dev/sdb3", "mdadm /dev/sdb4",
        "cryptsetup /dev/md1", "cryptsetup crypt-root",
        "lvm /dev/mapper/crypt-root", "lvm /dev/mapper/crypt-root", "lvm vg0", "lvm vg0",
        "mkfs.xfs /dev/mapper/vg0-var", "mkfs.ext4 /dev/md0", "mkfs.btrfs /dev/mapper/vg0-root",
    ]  # fmt: skip
    assert [made.mount for made in system.filesystems] == ["/", "/var", "/boot"]
    assert system.mounts() == (
        ("/dev/mapper/vg0-root", "", "btrfs"),
        ("/dev/mapper/vg0-var", "var", "xfs"),
        ("/dev/md0", "boot", "ext4"),
        ("/dev/sda2", "boot/efi", "vfat"),
    )


def test_all_esps_have_one_volume_id(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    system = setting.storage.make()
    assert system.esp_uuid is not None
    digits = system.esp_uuid.replace("-", "")
    assert all(f"-i {digits} /dev/sd" in line for line in setting.commands.ran[:2])


def test_placeholders_are_the_uuids_that_were_given(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    found = setting.storage.make().placeholders()
    ran = "\n".join(setting.commands.ran)
    assert f"-U {found['ROOT_UUID']} -L root /dev/mapper/vg0-root" in ran
    assert found["UUID:vg0/root"] == found["ROOT_UUID"]
    assert f"uuid={found['UUID:vg0/var']} /dev/mapper/vg0-var" in ran
    assert f"-U {found['UUID:md-boot']} /dev/md0" in ran
    assert f"--uuid={found['UUID:md-root']} /dev/md1" in ran
    assert f"--name=md-root --uuid={found['ARRAY_UUID:md-root']}" in ran


def test_passphrase_is_told_to_cryptsetup_alone(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.storage.make()
    told = [line for line, text in setting.commands.stdin.items() if text]
    assert [line.split()[:3] for line in told] == [
        ["cryptsetup", "--key-file=-", "luksFormat"],
        ["cryptsetup", "--key-file=-", "open"],
    ]
    assert {setting.commands.stdin[line] for line in told} == {PASSPHRASE}
    assert PASSPHRASE not in "\n".join(setting.commands.ran)


def test_closing_undoes_from_above(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.storage.make()
    made = len(setting.commands.ran)
    setting.storage.close()
    assert setting.commands.ran[made:] == [
        "lvm vgchange --quiet -an vg0",
        "cryptsetup close crypt-root",
        "mdadm --stop --quiet /dev/md1",
        "mdadm --stop --quiet /dev/md0",
    ]


@pytest.mark.parametrize(
    "failing", ["vfat", "md-root", "luksFormat", "open", "vgcreate", "lvcreate", "xfs", "btrfs"]
)
def test_blanking_after_any_failure_undoes_all_and_wipes_every_disk(
    failing: str, tmp_path: Path
) -> None:
    setting = Setting(tmp_path)
    setting.storage.clear(())
    setting.commands.on(failing, Output(1, "it broke"))
    with pytest.raises(CommandFailed):
        setting.storage.make()
    begun = len(setting.commands.ran)
    setting.storage.blank()
    undone = setting.commands.ran[begun:]
    assert undone[-2:] == ["wipefs --all --quiet /dev/sda", "wipefs --all --quiet /dev/sdb"]
    order = ["lvm", "cryptsetup", "mdadm", "wipefs"]
    places = [order.index(line.split()[0]) for line in undone]
    assert places == sorted(places)


def test_auto_layout_makes_what_it_always_made(tmp_path: Path) -> None:
    setting = Setting(tmp_path, AUTO, parts=3)
    system = setting.storage.make()
    assert system.esp_uuid is not None
    assert setting.commands.ran == [
        f"mkfs.vfat -F 32 -n ESP -i {system.esp_uuid.replace('-', '')} /dev/sda2",
        "mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1"
        f" -U {system.root.uuid} -L root /dev/sda3",
    ]
    assert system.boot == system.root
    setting.storage.check()
    setting.storage.close()
    assert len(setting.commands.ran) == 2


def test_plan_without_esp_makes_none(tmp_path: Path) -> None:
    plan = AUTO._replace(partitions=(AUTO.partitions[0], AUTO.partitions[2]))
    system = Setting(tmp_path, plan, parts=3).storage.make()
    assert system.esps == ()
    assert system.placeholders()["ESP_UUID"] == ""
    assert system.mounts() == (("/dev/sda3", "", "ext4"),)
