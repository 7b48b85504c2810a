"""The layout of a plan on its disks, from the first write to what can be mounted, and back.

The order is the plan's: disks cleared and partitioned, arrays over partitions, LUKS and volume
groups over those, file systems over all. Undone in reverse, the disks that were begun are left
blank.
"""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from lpmos.agent.arrays import Arrays
from lpmos.agent.commands import Commands
from lpmos.agent.diskplan import Disk
from lpmos.agent.encryption import Encryption
from lpmos.agent.filesystems import Made, make, make_esp
from lpmos.agent.holders import take_apart
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.layout import DiskWriter, partition_path
from lpmos.agent.stop import Stop
from lpmos.agent.uuids import new_volume_id
from lpmos.agent.volumes import Volumes

ESP_PLACE = "boot/efi"
"""Where the first disk's EFI system partition is mounted, below the root."""


class Esp(NamedTuple):
    """The EFI system partition of one disk."""

    disk: str
    number: int
    device: str


class System(NamedTuple):
    """What the new system stands on; `filesystems` are in the order in which they are mounted.

    `encrypted` are the blocks with a LUKS header.
    All EFI system partitions have the same volume id, so that any of them is mounted by it.
    """

    disks: tuple[str, ...]
    filesystems: tuple[Made, ...]
    esps: tuple[Esp, ...] = ()
    esp_uuid: str | None = None
    array_uuids: tuple[tuple[str, str], ...] = ()
    encrypted: tuple[Made, ...] = ()

    @property
    def root(self) -> Made:
        """The root file system."""
        return next(made for made in self.filesystems if made.mount == "/")

    @property
    def boot(self) -> Made:
        """The file system that holds /boot."""
        return next((made for made in self.filesystems if made.mount == "/boot"), self.root)

    def mounts(self) -> tuple[tuple[str, str, str], ...]:
        """Device, place below the root and kind of all that is mounted, in this order."""
        found = [(m.device, m.mount.lstrip("/"), m.kind) for m in self.filesystems if m.mount]
        return (*found, *((esp.device, ESP_PLACE, "vfat") for esp in self.esps[:1]))

    def placeholders(self) -> dict[str, str]:
        """What files of the plan may name of it."""
        return {
            "ROOT_UUID": self.root.uuid,
            "ESP_UUID": self.esp_uuid or "",
            **{f"UUID:{made.block}": made.uuid for made in (*self.filesystems, *self.encrypted)},
            **{f"ARRAY_UUID:{name}": uuid for name, uuid in self.array_uuids},
        }


class Storage:
    """The approved disks of one install, by their present kernel names."""

    def __init__(
        self,
        commands: Commands,
        tree: Tree,
        stop: Stop,
        plan: Disk,
        names: Sequence[str],
        *,
        passphrase: str = "",
    ) -> None:
        self._commands = commands
        self._tree = tree
        self._plan = plan
        self._disks = [DiskWriter(commands, tree, stop, name) for name in names]
        self._arrays = Arrays(commands, tree)
        self._encryption = Encryption(commands, passphrase)
        self._volumes = Volumes(commands)
        self.devices = tuple(disk.device for disk in self._disks)

    def check_erase(self) -> None:
        """Refuse an erase that one of the disks cannot do alone; nothing is written.

        Raises:
            InstallError: the first such disk.
        """
        for disk in self._disks:
            disk.check_erase(self._plan.erase)

    @property
    def erase_limit_s(self) -> float:
        """How long it may take to erase all disks, one after the other."""
        return DiskWriter.erase_limit_s(self._plan.erase) * len(self._disks)

    def clear(self, holders: Sequence[str]) -> None:
        """Take apart what old systems left assembled, then clear and erase every disk.

        Raises:
            InstallError: a step failed.
        """
        take_apart(self._commands, self._tree, holders)
        for disk in self._disks:
            disk.clear(self._plan.erase)

    def partition(self) -> None:
        """Write the same table on every disk.

        Raises:
            InstallError: a step failed.
        """
        for disk in self._disks:
            disk.partition(self._plan)

    def make(self) -> System:
        """Make all that the plan puts on the partitions.

        Raises:
            InstallError: a step failed.
        """
        esps = self._esps()
        volume_id = new_volume_id()
        for esp in esps:
            make_esp(self._commands, esp.device, volume_id)
        blocks = {
            f"p{part.number}": partition_path(self.devices[0], part.number)
            for part in self._plan.partitions
        }
        array_uuids = []
        for array in self._plan.arrays:
            members = [partition_path(device, array.partition) for device in self.devices]
            blocks[array.id], uuid = self._arrays.create(array, members)
            array_uuids.append((array.id, uuid))
        encrypted = []
        for each in self._plan.encrypted:
            blocks[each.id], uuid = self._encryption.create(each, blocks[each.on])
            encrypted.append(Made(each.on, blocks[each.on], "luks", uuid, None))
        for group in self._plan.groups:
            blocks |= self._volumes.create(group, blocks[group.on])
        made = [
            make(self._commands, filesystem, blocks[filesystem.on])
            for filesystem in self._plan.all_filesystems()
        ]
        return System(
            disks=self.devices,
            filesystems=tuple(sorted(made, key=_depth)),
            esps=esps,
            esp_uuid=f"{volume_id[:4]}-{volume_id[4:]}" if esps else None,
            array_uuids=tuple(array_uuids),
            encrypted=tuple(encrypted),
        )

    def check(self) -> None:
        """Go on only if every disk is still there and takes what is written.

        Raises:
            InstallError: one is not.
        """
        self._arrays.check()

    def close(self) -> None:
        """Leave all of it as after a clean shutdown.

        Raises:
            InstallError: something is still in use.
        """
        self._volumes.stop()
        self._encryption.stop()
        self._arrays.stop()

    def blank(self) -> None:
        """After a failed install: leave the disks that were begun so that they boot nothing."""
        self._volumes.abandon()
        self._encryption.abandon()
        self._arrays.abandon()
        for disk in self._disks:
            disk.blank()

    def _esps(self) -> tuple[Esp, ...]:
        part = self._plan.partition("esp")
        if part is None:
            return ()
        return tuple(
            Esp(device, part.number, partition_path(device, part.number)) for device in self.devices
        )


def _depth(made: Made) -> int:
    """How deep it is mounted: the root first, swap with it."""
    return len(PurePosixPath(made.mount or "/").parts)
