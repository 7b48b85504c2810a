"""LVM: volume groups made, and switched off again."""

from collections.abc import Sequence

from lpmos.agent.commands import Commands
from lpmos.agent.diskplan import VolumeGroup
from lpmos.agent.errors import InstallError


def mapper_path(group: str, volume: str) -> str:
    """The device of a volume; device mapper doubles the dashes of names (lvm(8))."""
    return f"/dev/mapper/{group.replace('-', '--')}-{volume.replace('-', '--')}"


def refuse_taken_names(
    commands: Commands, wanted: Sequence[VolumeGroup], disks: Sequence[str]
) -> None:
    """Go on only if no other disk has a volume group of the same name.

    Args:
        commands: runs LVM.
        wanted: the groups of the plan.
        disks: the blocks that will be overwritten, whatever group they hold.

    Raises:
        InstallError: one has: LVM could not tell the two apart.
    """
    if not wanted:
        return
    listing = commands.ask(["lvm", "pvs", "--noheadings", "--options", "pv_name,vg_name"]).text
    for line in listing.splitlines():
        device, _, group = line.strip().partition(" ")
        others = device.startswith("/dev/") and device not in disks
        if others and group.strip() in {group.id for group in wanted}:
            raise InstallError(
                f"{device} already has a volume group {group.strip()}: nothing was written",
                hint="Remove that disk, or wipe it; LVM cannot tell two groups of a name apart.",
            )


class Volumes:
    """The volume groups of one install."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._active: list[str] = []

    def create(self, wanted: VolumeGroup, device: str) -> dict[str, str]:
        """Make a group over `device`; returns the device of each of its blocks.

        Raises:
            CommandFailed: LVM failed.
        """
        self._commands.run(["lvm", "pvcreate", "--quiet", "--yes", "-ff", device])
        self._commands.run(["lvm", "vgcreate", "--quiet", "--yes", wanted.id, device])
        self._active.append(wanted.id)
        # The one that takes the rest comes last.
        for volume in sorted(wanted.volumes, key=lambda volume: volume.size_bytes is None):
            size = f"--size={volume.size_bytes}b" if volume.size_bytes else "--extents=100%FREE"
            self._commands.run(
                [
                    *("lvm", "lvcreate", "--quiet", "--yes", "--wipesignatures=y"),
                    *(f"--name={volume.name}", size, wanted.id),
                ]
            )
        return {
            f"{wanted.id}/{volume.name}": mapper_path(wanted.id, volume.name)
            for volume in wanted.volumes
        }

    def stop(self) -> None:
        """Switch all off.

        Raises:
            CommandFailed: one is in use.
        """
        while self._active:
            self._commands.run(["lvm", "vgchange", "--quiet", "-an", self._active[-1]])
            self._active.pop()

    def abandon(self) -> None:
        """Switch off what can be, after a failure, and take the groups off their blocks."""
        for group in reversed(self._active):
            self._commands.clean_up(["lvm", "vgremove", "--quiet", "--yes", "-ff", group])
