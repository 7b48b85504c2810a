"""What a plan says of disks, and what of it this agent can carry out.

The same shape as `lpmos.model.diskplan`, declared once more because the agent stands alone. A block
is named by what makes it: `p3` a partition, `md-root` an array, `crypt-root` what LUKS opens,
`vg0/root` a volume. The rule: a layout of which one word is not understood is refused as a whole.
"""

import re
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from lpmos.agent.fields import mapping, not_understood, optional, sequence, take

T = TypeVar("T")

ROLES = ("bios_boot", "esp", "root", "layer")
FILESYSTEMS = {"bios_boot": (None,), "esp": ("vfat",), "root": ("ext4",), "layer": (None,)}
"""What may stand directly in a partition of each role."""
KINDS = ("ext4", "xfs", "btrfs", "swap")
LEAST_DISKS = {"raid1": 2, "raid5": 3, "raid10": 2}
"""How many disks each level of RAID needs (md(4); its RAID 10 takes also two)."""
ERASE_LEVELS = ("signatures", "discard", "nvme_format")
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,30}")
_MOUNT = re.compile(r"/|(/[A-Za-z0-9_.@-]+)+")


class Partition(NamedTuple):
    """One GPT partition; `size_bytes` None takes the rest."""

    number: int
    role: str
    size_bytes: int | None
    filesystem: str | None


class Member(NamedTuple):
    """A disk that a person saw and approved; `overwrites` is what stood on it then."""

    device: str
    size_bytes: int
    serial: str | None
    wwn: str | None
    model: str | None
    overwrites: tuple[str, ...]


class Array(NamedTuple):
    """Software RAID over the partition of this number of every disk."""

    id: str
    level: str
    partition: int


class Encrypted(NamedTuple):
    """LUKS2 over another block."""

    id: str
    on: str


class Volume(NamedTuple):
    """A logical volume; `size_bytes` None takes the rest of its group."""

    name: str
    size_bytes: int | None


class VolumeGroup(NamedTuple):
    """An LVM volume group over one block."""

    id: str
    on: str
    volumes: tuple[Volume, ...]


class Filesystem(NamedTuple):
    """A file system or swap space; one without `mount` is not mounted in the install."""

    on: str
    kind: str
    mount: str | None


class Disk(NamedTuple):
    """The disks of a plan: the first by its own fields, further ones as `members`.

    Each is partitioned as the first. Where there are several, only arrays are put on partitions.
    """

    device: str
    size_bytes: int
    serial: str | None
    wwn: str | None
    model: str | None
    overwrites: tuple[str, ...]
    partitions: tuple[Partition, ...]
    members: tuple[Member, ...] = ()
    arrays: tuple[Array, ...] = ()
    encrypted: tuple[Encrypted, ...] = ()
    groups: tuple[VolumeGroup, ...] = ()
    filesystems: tuple[Filesystem, ...] = ()
    erase: str = ERASE_LEVELS[0]
    whole_image: bool = False

    @property
    def disks(self) -> tuple[Member, ...]:
        """Every disk that is written, the first one first."""
        return (Member(*self[:6]), *self.members)

    def partition(self, role: str) -> Partition | None:
        """The first partition of this role."""
        return next((part for part in self.partitions if part.role == role), None)

    def all_filesystems(self) -> tuple[Filesystem, ...]:
        """The file systems, that of a partition with the role `root` among them."""
        root = self.partition("root")
        if root is None:
            return self.filesystems
        return (Filesystem(f"p{root.number}", "ext4", "/"), *self.filesystems)


def parse_disk(disk: dict[str, object]) -> Disk:
    """Take the disks of a plan.

    Raises:
        InstallError: a field is missing, of the wrong type, or asks for what this agent cannot do.
    """
    _refuse_unknown(disk, Disk._fields)
    found = Disk(
        *_identity(disk),
        partitions=_each(disk, "partitions", _partition),
        members=_each(disk, "members", parse_member),
        arrays=_each(disk, "arrays", _array),
        encrypted=_each(disk, "encrypted", _encrypted),
        groups=_each(disk, "groups", _group),
        filesystems=_each(disk, "filesystems", _filesystem),
        erase=_one_of(disk, "erase", ERASE_LEVELS) if "erase" in disk else ERASE_LEVELS[0],
        whole_image=optional(disk, "whole_image", bool) or False,
    )
    if found.whole_image:
        if any((found.partitions, *found[7:11])):
            raise not_understood("disk.whole_image", "together with a layout of its own")
    else:
        _check_partitions(found)
        _check_blocks(found)
    return found


def _check_partitions(disk: Disk) -> None:
    roles = [part.role for part in disk.partitions if part.role != "layer"]
    numbers = [part.number for part in disk.partitions]
    once = len(set(roles)) == len(roles) and len(set(numbers)) == len(numbers)
    roots = [filesystem for filesystem in disk.all_filesystems() if filesystem.mount == "/"]
    if not once or len(roots) != 1 or any(number < 1 for number in numbers):
        raise not_understood("disk.partitions", ", ".join(part.role for part in disk.partitions))


def _check_blocks(disk: Disk) -> None:
    """Every block stands on one that was made before it, and each is used once.

    The order is arrays, LUKS, volumes, file systems.
    """
    free = {f"p{part.number}" for part in disk.partitions if part.role in ("root", "layer")}
    for array in disk.arrays:
        if len(disk.disks) < LEAST_DISKS[array.level]:
            raise not_understood("disk.arrays", f"{array.level} of {len(disk.disks)} disks")
        _use(free, f"p{array.partition}", array.id)
    if disk.members:
        free = {block for block in free if not block[1:].isdecimal()}
    for encrypted in disk.encrypted:
        _use(free, encrypted.on, encrypted.id)
    for group in disk.groups:
        _use(free, group.on, *(f"{group.id}/{volume.name}" for volume in group.volumes))
    mounts = [filesystem.mount for filesystem in disk.all_filesystems() if filesystem.mount]
    if len(set(mounts)) != len(mounts):
        raise not_understood("disk.filesystems", ", ".join(mounts))
    for filesystem in disk.all_filesystems():
        _use(free, filesystem.on)


def _use(free: set[str], block: str, *made: str) -> None:
    if block not in free or len({*made} - free) != len(made):
        raise not_understood("disk", f"{', '.join(made) or 'a file system'} on {block}")
    free.remove(block)
    free.update(made)


def _each(
    document: dict[str, object], name: str, parse: Callable[[dict[str, object]], T]
) -> tuple[T, ...]:
    items = sequence(document.get(name, []), f"disk.{name}")
    return tuple(parse(mapping(item, f"disk.{name}")) for item in items)


def parse_member(disk: dict[str, object]) -> Member:
    """Take one disk as a person saw it; raises as `parse_disk`."""
    _refuse_unknown(disk, Member._fields)
    return _identity(disk)


def _identity(disk: dict[str, object]) -> Member:
    return Member(
        device=take(disk, "device", str),
        size_bytes=take(disk, "size_bytes", int),
        serial=optional(disk, "serial", str),
        wwn=optional(disk, "wwn", str),
        model=optional(disk, "model", str),
        overwrites=tuple(str(name) for name in sequence(disk.get("overwrites", []), "overwrites")),
    )


def _partition(part: dict[str, object]) -> Partition:
    _refuse_unknown(part, Partition._fields)
    role = take(part, "role", str)
    filesystem = optional(part, "filesystem", str)
    if filesystem not in FILESYSTEMS.get(role, ()):
        raise not_understood("disk.partitions", f"{role} with {filesystem}")
    return Partition(
        number=take(part, "number", int),
        role=role,
        size_bytes=optional(part, "size_bytes", int),
        filesystem=filesystem,
    )


def _array(array: dict[str, object]) -> Array:
    _refuse_unknown(array, Array._fields)
    level = _one_of(array, "level", tuple(LEAST_DISKS))
    return Array(_name(array, "id"), level, take(array, "partition", int))


def _encrypted(encrypted: dict[str, object]) -> Encrypted:
    _refuse_unknown(encrypted, Encrypted._fields)
    return Encrypted(_name(encrypted, "id"), take(encrypted, "on", str))


def _group(group: dict[str, object]) -> VolumeGroup:
    _refuse_unknown(group, VolumeGroup._fields)
    volumes = _each(group, "volumes", _volume)
    if sum(volume.size_bytes is None for volume in volumes) > 1:
        raise not_understood("disk.groups", "two volumes take the rest")
    return VolumeGroup(_name(group, "id"), take(group, "on", str), volumes)


def _volume(volume: dict[str, object]) -> Volume:
    _refuse_unknown(volume, Volume._fields)
    return Volume(_name(volume, "name"), optional(volume, "size_bytes", int))


def _filesystem(filesystem: dict[str, object]) -> Filesystem:
    _refuse_unknown(filesystem, Filesystem._fields)
    mount = optional(filesystem, "mount", str)
    kind = _one_of(filesystem, "kind", KINDS)
    if mount is not None and (not _is_place(mount) or kind == "swap"):
        raise not_understood("disk.filesystems", f"{kind} at {mount}")
    return Filesystem(take(filesystem, "on", str), kind, mount)


def _is_place(mount: str) -> bool:
    return _MOUNT.fullmatch(mount) is not None and not {".", ".."} & set(mount.split("/"))


def _name(document: dict[str, object], field: str) -> str:
    name = take(document, field, str)
    if not _NAME.fullmatch(name):
        raise not_understood(field, name)
    return name


def _one_of(document: dict[str, object], field: str, known: tuple[str, ...]) -> str:
    value = take(document, field, str)
    if value not in known:
        raise not_understood(field, value)
    return value


def _refuse_unknown(document: dict[str, object], known: tuple[str, ...]) -> None:
    if unknown := sorted(set(document) - set(known)):
        raise not_understood("disk", ", ".join(unknown))
