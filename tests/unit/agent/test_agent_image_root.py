"""The root of a disk image: which lines of its fstab are mounted with it, what is made anew."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.console import Console
from lpmos.agent.disktable import Entry, Table
from lpmos.agent.errors import InstallError
from lpmos.agent.imageroot import ImageRoot, own_host_keys, parse_fstab, relabel
from lpmos.agent.mounts import Mounts
from lpmos.agent.rootfiles import RootFiles
from tests.support.agent_commands import RecordingCommands

FSTAB = """\
# a comment
UUID=1111 / ext4 defaults 0 1
UUID=2222 /boot/efi vfat umask=0077 0 1
LABEL=BOOT /boot ext4 defaults 0 2
UUID=1111 /home btrfs compress=zstd,subvol=home 0 0
UUID=3333 none swap sw 0 0
/dev/sdb1 /data ext4 defaults 0 0
UUID=4444 /mnt/usb vfat noauto 0 0
UUID=5555 /srv nfs defaults 0 0
tmpfs /tmp tmpfs defaults 0 0
"""


def test_fstab_gives_what_belongs_to_the_system_parents_first() -> None:
    assert [tuple(place) for place in parse_fstab(FSTAB)] == [
        ("LABEL=BOOT", "/boot", "ext4", ""),
        ("UUID=1111", "/home", "btrfs", "subvol=home"),
        ("UUID=2222", "/boot/efi", "vfat", ""),
    ]


@given(st.text())
def test_any_fstab_names_only_places_below_the_root(text: str) -> None:
    for place in parse_fstab(text):
        assert place.where.startswith("/") and ".." not in place.where.split("/")


ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
TABLE = Table(
    "gpt",
    (
        Entry(1, "/dev/vda1", 2048, 100, "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"),
        Entry(2, "/dev/vda2", 4096, 100, "0FC63DAF-8483-4772-8E79-3D69D8477DE4"),
        Entry(3, "/dev/vda3", 8192, 900, "E6D6D379-F507-44C2-A23C-238F2A3DF928"),
    ),
)
FACTS = {
    "/dev/vda1": {"TYPE": "vfat", "UUID": "2222"},
    "/dev/vda2": {"TYPE": "ext4", "UUID": "9999", "LABEL": "BOOT"},
    "/dev/vda3": {"TYPE": "LVM2_member"},
}


def test_root_on_lvm_fails_and_the_evidence_names_every_partition(tmp_path: Path) -> None:
    commands = RecordingCommands()
    with Mounts(commands, Console(io.StringIO())) as mounts:
        root = ImageRoot(mounts, FACTS.get, tmp_path / "target", "rocky-9")
        with pytest.raises(InstallError, match="no partition of image rocky-9") as failed:
            root.mount(TABLE)
    assert "/dev/vda3: type E6D6D379-F507-44C2-A23C-238F2A3DF928, LVM2_member" in (
        failed.value.output
    )
    assert "LVM" in failed.value.hint
    assert [ran.split()[0] for ran in commands.ran] == ["mount", "umount"]


def test_root_is_mounted_with_what_its_fstab_names_on_the_same_disk(tmp_path: Path) -> None:
    target = tmp_path / "target"
    (target / "etc").mkdir(parents=True)
    (target / "etc/os-release").write_text("ID=tiny\n")
    (target / "etc/fstab").write_text(FSTAB)
    entries = (*TABLE.entries[:2], Entry(3, "/dev/vda3", 8192, 900, ROOT_TYPE))
    facts = {**FACTS, "/dev/vda3": {"TYPE": "ext4", "UUID": "1111"}}
    commands = RecordingCommands()
    with Mounts(commands, Console(io.StringIO())) as mounts:
        found = ImageRoot(mounts, facts.get, target, "x").mount(Table("gpt", entries))
        assert found.number == 3
        mounted = [ran for ran in commands.ran if ran.startswith("mount")]
    assert mounted == [
        f"mount -t ext4 /dev/vda3 {target}",
        f"mount -t ext4 /dev/vda2 {target}/boot",
        f"mount -t btrfs -o subvol=home /dev/vda3 {target}/home",
        f"mount -t vfat /dev/vda1 {target}/boot/efi",
    ]


def test_host_keys_that_the_image_brought_are_made_anew(tmp_path: Path) -> None:
    for name in ("etc/ssh/ssh_host_rsa_key", "etc/ssh/ssh_host_rsa_key.pub", "etc/ssh/sshd_config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("shared")
    (tmp_path / "usr/bin").mkdir(parents=True)
    (tmp_path / "usr/bin/ssh-keygen").touch()
    commands = RecordingCommands()
    own_host_keys(commands, tmp_path)
    assert [path.name for path in (tmp_path / "etc/ssh").iterdir()] == ["sshd_config"]
    assert commands.ran == [f"chroot {tmp_path} /usr/bin/ssh-keygen -A"]


def test_image_without_host_keys_makes_them_itself(tmp_path: Path) -> None:
    commands = RecordingCommands()
    own_host_keys(commands, tmp_path)
    assert commands.ran == []


@pytest.mark.parametrize(
    ("config", "labels"),
    [
        ("# SELINUX= can be\nSELINUX=enforcing\nSELINUXTYPE=targeted\n", True),
        ("SELINUX=disabled\n", False),
        (None, False),
    ],
)
def test_system_with_selinux_labels_at_its_first_boot(
    tmp_path: Path, config: str | None, labels: bool
) -> None:
    if config is not None:
        (tmp_path / "etc/selinux").mkdir(parents=True)
        (tmp_path / "etc/selinux/config").write_text(config)
    assert relabel(RootFiles(tmp_path, {})) is labels
    assert (tmp_path / ".autorelabel").exists() is labels
