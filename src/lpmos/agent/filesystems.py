"""File systems and swap spaces, made with UUIDs that are known before they are."""

from typing import NamedTuple

from lpmos.agent.commands import Commands
from lpmos.agent.diskplan import Filesystem
from lpmos.agent.uuids import new_uuid

_PROGRAMS = {
    # Lazily: the kernel zeroes the inode tables later, beside its other work.
    "ext4": ("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=1,lazy_journal_init=1", "-U"),
    "xfs": ("mkfs.xfs", "-q", "-f", "-m"),
    "btrfs": ("mkfs.btrfs", "-q", "-f", "-U"),
    "swap": ("mkswap", "-q", "-U"),
}
_ROOT_LABEL = ("-L", "root")


class Made(NamedTuple):
    """A file system that was made: its block in the plan, its device and its UUID."""

    block: str
    device: str
    kind: str
    uuid: str
    mount: str | None


def make(commands: Commands, wanted: Filesystem, device: str) -> Made:
    """Make one file system or swap space.

    Raises:
        CommandFailed: its program failed.
    """
    uuid = new_uuid()
    label = _ROOT_LABEL if wanted.mount == "/" else ()
    value = f"uuid={uuid}" if wanted.kind == "xfs" else uuid
    commands.run([*_PROGRAMS[wanted.kind], value, *label, device])
    return Made(wanted.on, device, wanted.kind, uuid, wanted.mount)


def make_esp(commands: Commands, device: str, volume_id: str) -> None:
    """Make an EFI system partition's file system.

    Raises:
        CommandFailed: its program failed.
    """
    commands.run(["mkfs.vfat", "-F", "32", "-n", "ESP", "-i", volume_id, device])
