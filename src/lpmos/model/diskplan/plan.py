"""What will be written to the disks of one machine, byte for byte; ADR 0024 says why so.

The rule: a plan names each disk as the agent reported it, with what stands on it, and is made once:
its digest is what a person approves.

Blocks are named: `p4` is the partition of that number (of every disk, where an array is over it),
an array or encrypted block is its `id`, `vg0/root` a volume of a group.
"""

import hashlib
from typing import Any, Literal

import msgspec

from lpmos.model.diskplan.layout import Erase, Raid


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One GPT partition; `size_bytes` None takes the rest of the disk.

    What one of the role `layer` holds is said by the plan's arrays, groups and file systems.
    """

    number: int
    role: Literal["bios_boot", "esp", "root", "layer"]
    size_bytes: int | None
    filesystem: Literal["vfat", "ext4"] | None


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A further disk that is overwritten, partitioned exactly as the first."""

    device: str
    size_bytes: int
    serial: str | None = None
    wwn: str | None = None
    model: str | None = None
    overwrites: tuple[str, ...] = ()


class Array(msgspec.Struct, frozen=True, kw_only=True):
    """A software RAID over the partition of this number of every disk."""

    id: str
    level: Raid
    partition: int


class Encrypted(msgspec.Struct, frozen=True, kw_only=True):
    """A LUKS2 block over another one."""

    id: str
    on: str


class Volume(msgspec.Struct, frozen=True, kw_only=True):
    """A logical volume; `size_bytes` None takes the rest of its group, and stands last."""

    name: str
    size_bytes: int | None


class VolumeGroup(msgspec.Struct, frozen=True, kw_only=True):
    """An LVM group over one block."""

    id: str
    on: str
    volumes: tuple[Volume, ...]


class Filesystem(msgspec.Struct, frozen=True, kw_only=True):
    """A file system or swap on a block; without a `mount` it is made and not mounted."""

    on: str
    kind: Literal["ext4", "xfs", "btrfs", "swap"]
    mount: str | None = None


class DiskPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The disks that will be overwritten, identified as the agent reported them.

    `device` to `overwrites` are of the first disk, `members` are the others. With `whole_image`
    the image brings its own partitions.
    """

    device: str
    size_bytes: int
    serial: str | None = None
    wwn: str | None = None
    model: str | None = None
    overwrites: tuple[str, ...] = ()
    partitions: tuple[Partition, ...]
    members: tuple[Member, ...] = ()
    arrays: tuple[Array, ...] = ()
    encrypted: tuple[Encrypted, ...] = ()
    groups: tuple[VolumeGroup, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()
    erase: Erase = "signatures"
    whole_image: bool = False

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all that the plan says: an approval names by it what was seen.

        Of the fields that came later only those that say something count, so that the digest of a
        plan that was made before them stays what it was.
        """
        said: dict[str, Any] = {
            name: value
            for name, value in msgspec.structs.asdict(self).items()
            if name not in _LATER or value != _LATER[name]
        }
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()

    @property
    def disks(self) -> tuple[Member, ...]:
        """Every disk that is overwritten, the first one first."""
        first = Member(
            device=self.device,
            size_bytes=self.size_bytes,
            serial=self.serial,
            wwn=self.wwn,
            model=self.model,
            overwrites=self.overwrites,
        )
        return (first, *self.members)

    @property
    def made_filesystems(self) -> tuple[Filesystem, ...]:
        """Every file system; the layout `auto` says its only one by a partition's role."""
        return self.filesystems or tuple(
            Filesystem(on=f"p{each.number}", kind="ext4", mount="/")
            for each in self.partitions
            if each.role == "root"
        )

    @property
    def all_overwrites(self) -> tuple[str, ...]:
        """What stands on any of its disks now, each kind once."""
        return tuple(dict.fromkeys(kind for disk in self.disks for kind in disk.overwrites))


_LATER: dict[str, object] = {
    "members": (),
    "arrays": (),
    "encrypted": (),
    "groups": (),
    "filesystems": (),
    "erase": "signatures",
    "whole_image": False,
}
