"""From an inventory and the task's wishes to exact disks, partitions, arrays, volumes, mounts.

The rule: the same machine and the same wishes give the same plan, and every layout boots with BIOS
and with UEFI from each of its disks. Everything but `auto` has its own /boot, which GRUB reads
whatever is above it.
"""

from typing import Any, NamedTuple

from lpmos.model.diskplan.choice import choose
from lpmos.model.diskplan.hints import RootDiskHints
from lpmos.model.diskplan.layout import LAYOUTS, NAMED, Kind, PartitionWish, StorageLayout
from lpmos.model.diskplan.plan import (
    Array,
    DiskPlan,
    Encrypted,
    Filesystem,
    Member,
    Partition,
    Volume,
    VolumeGroup,
)
from lpmos.model.diskplan.sizes import (
    BIOS_BOOT_BYTES,
    BOOT_BYTES,
    ESP_BYTES,
    EXTENT_BYTES,
    FEWEST,
    GROUP_BYTES,
    LEAST_BYTES,
    LUKS_BYTES,
    MIB,
    TABLE_BYTES,
    member_bytes,
    rounded_up,
)
from lpmos.model.errors import NoSuitableDisk
from lpmos.model.inventory import Disk, Inventory

FIRST_FREE = 4
"""The number of the first partition after BIOS boot, ESP and /boot."""
GROUP = "vg0"


class _Part(NamedTuple):
    """One file system or swap; `size_bytes` is the least where it `fills`."""

    name: str
    kind: Kind | None
    mount: str | None
    size_bytes: int
    fills: bool


def plan_disk(
    inventory: Inventory,
    layout: str | StorageLayout,
    hints: RootDiskHints,
    required_bytes: int,
    whole_image: bool = False,
    *,
    sector_bytes: int | None = None,
) -> DiskPlan:
    """Choose the disks and lay them out; the same layout boots with BIOS and with UEFI.

    Args:
        inventory: what the agent found.
        layout: one of `LAYOUTS`, or a checked document.
        hints: the task's wishes for each disk that the layout has no `members` for.
        required_bytes: what the root file system must hold; with `whole_image` the whole disk.
        whole_image: the image brings its own partitions.
        sector_bytes: which sectors these are made for; None where that is not known.

    Raises:
        NoSuitableDisk: the text says for each disk why not.
    """
    if isinstance(layout, str):
        if layout not in NAMED:
            raise NoSuitableDisk(f"the layout {layout!r} is unknown; known: {', '.join(LAYOUTS)}")
        layout = NAMED[layout]
    wanted = layout.members or (hints,) * disk_count(layout)
    if whole_image:
        return _whole(inventory, layout, wanted, required_bytes, sector_bytes)
    if layout == NAMED["auto"]:
        needed = required_bytes + ESP_BYTES + BIOS_BOOT_BYTES + MIB
        return _auto(choose(inventory, wanted, needed, layout.erase))
    parts = _parts(layout, required_bytes)
    count = len(wanted)
    needed = _head_bytes(layout) + sum(_partition_bytes(layout, count, parts))
    return _layered(choose(inventory, wanted, needed, layout.erase), layout, parts)


def is_one_plain_disk(layout: str | StorageLayout) -> bool:
    """Whether it asks for nothing but one disk, so that an image can bring its own partitions."""
    if isinstance(layout, str):
        return layout == "auto"
    plain = StorageLayout(erase=layout.erase, members=layout.members, disks=layout.disks)
    return layout == plain and disk_count(layout) == 1


def disk_count(layout: StorageLayout) -> int:
    """How many disks a layout is over."""
    fewest = FEWEST[layout.raid] if layout.raid else 1
    return len(layout.members) or layout.disks or fewest


def mount_name(wish: PartitionWish) -> str:
    """What the partition, array or volume of a wish is called."""
    if wish.name is not None or wish.mount is None:
        return wish.name or ""
    return "root" if wish.mount == "/" else _named_after(wish.mount)


def _named_after(mount: str) -> str:
    word = "".join(each if each.isalnum() else "-" for each in mount.strip("/").lower())
    return word if word[:1].isalpha() else f"fs-{word}"


def _whole(
    inventory: Inventory,
    layout: StorageLayout,
    wanted: tuple[RootDiskHints, ...],
    required_bytes: int,
    sector_bytes: int | None,
) -> DiskPlan:
    if not is_one_plain_disk(layout):
        raise NoSuitableDisk(
            "the image is of a whole disk and brings its own partitions: leave disk_layout at auto"
        )
    disks = choose(inventory, wanted, required_bytes, layout.erase, sector_bytes)
    return _plan(disks, (), erase=layout.erase, whole_image=True)


def _auto(disks: tuple[Disk, ...]) -> DiskPlan:
    root = Partition(number=3, role="root", size_bytes=None, filesystem="ext4")
    return _plan(disks, (*_FIRMWARE, root))


_FIRMWARE = (
    Partition(number=1, role="bios_boot", size_bytes=BIOS_BOOT_BYTES, filesystem=None),
    Partition(number=2, role="esp", size_bytes=ESP_BYTES, filesystem="vfat"),
)


def _plan(disks: tuple[Disk, ...], partitions: tuple[Partition, ...], **said: Any) -> DiskPlan:
    first, *others = ({name: getattr(disk, name) for name in _IDENTITY} for disk in disks)
    return DiskPlan(
        **first,
        overwrites=disks[0].contents,
        partitions=partitions,
        members=tuple(
            Member(**other, overwrites=disk.contents)
            for other, disk in zip(others, disks[1:], strict=True)
        ),
        **said,
    )


_IDENTITY = ("device", "size_bytes", "serial", "wwn", "model")


def _parts(layout: StorageLayout, required_bytes: int) -> list[_Part]:
    """The swap, root and every wish, what fills last; /boot apart.

    Raises:
        NoSuitableDisk: the root that was asked for is too small for the image.
    """
    swap = [_Part("swap", None, None, layout.swap_bytes, False)] if layout.swap_bytes else []
    wishes = [wish for wish in layout.partitions if wish.mount != "/boot"]
    if all(wish.mount != "/" for wish in wishes):
        wishes = [*wishes, PartitionWish(mount="/", fill=True)]
    parts = [*swap, *(_part(wish, layout.filesystem, required_bytes) for wish in wishes)]
    return sorted(parts, key=lambda part: part.fills)


def _part(wish: PartitionWish, filesystem: Kind, required_bytes: int) -> _Part:
    given = wish.size_bytes or wish.min_bytes or MIB
    if wish.mount == "/":
        if wish.size_bytes is not None and wish.size_bytes < required_bytes:
            raise NoSuitableDisk(
                f"the root file system is to have {wish.size_bytes} bytes, and the image needs"
                f" {required_bytes}: enlarge the partition / of disk_layout"
            )
        given = max(given, required_bytes)
    kind = wish.filesystem or filesystem
    size_bytes = max(given, LEAST_BYTES[kind])
    return _Part(mount_name(wish), kind, wish.mount, size_bytes, wish.fill)


def _boot_bytes(layout: StorageLayout) -> int:
    sizes = (wish.size_bytes for wish in layout.partitions if wish.mount == "/boot")
    return rounded_up(next(sizes, None) or BOOT_BYTES, MIB)


def _head_bytes(layout: StorageLayout) -> int:
    return TABLE_BYTES + BIOS_BOOT_BYTES + ESP_BYTES + _boot_bytes(layout)


def _partition_bytes(layout: StorageLayout, disks: int, parts: list[_Part]) -> list[int]:
    """The least that each partition after /boot must have: one of all parts under LVM."""
    luks = LUKS_BYTES if layout.encrypt else 0
    if layout.lvm:
        volumes = sum(rounded_up(part.size_bytes, EXTENT_BYTES) for part in parts)
        return [member_bytes(layout.raid, disks, volumes + GROUP_BYTES + luks)]
    return [member_bytes(layout.raid, disks, part.size_bytes + luks) for part in parts]


def _layered(disks: tuple[Disk, ...], layout: StorageLayout, parts: list[_Part]) -> DiskPlan:
    names = ["root"] if layout.lvm else [part.name for part in parts]
    sizes = _partition_bytes(layout, len(disks), parts)
    last_fills = layout.lvm or parts[-1].fills
    partitions = [_layer(3, _boot_bytes(layout))] + [
        _layer(number, None if last_fills and number == 3 + len(sizes) else size_bytes)
        for number, size_bytes in enumerate(sizes, FIRST_FREE)
    ]
    arrays = tuple(
        Array(id=f"md-{name}", level="raid1" if number == 3 else layout.raid, partition=number)
        for number, name in enumerate(["boot", *names], 3)
        if layout.raid is not None
    )
    blocks = (
        [f"md-{name}" for name in names]
        if layout.raid
        else [f"p{number}" for number in range(FIRST_FREE, FIRST_FREE + len(names))]
    )
    encrypted: tuple[Encrypted, ...] = ()
    if layout.encrypt:
        encrypted = tuple(
            Encrypted(id=f"crypt-{name}", on=block)
            for name, block in zip(names, blocks, strict=True)
        )
        blocks = [each.id for each in encrypted]
    groups: tuple[VolumeGroup, ...] = ()
    if layout.lvm:
        volumes = tuple(
            Volume(
                name=part.name,
                size_bytes=None if part.fills else rounded_up(part.size_bytes, EXTENT_BYTES),
            )
            for part in parts
        )
        groups = (VolumeGroup(id=GROUP, on=blocks[0], volumes=volumes),)
        blocks = [f"{GROUP}/{part.name}" for part in parts]
    boot = Filesystem(on="md-boot" if layout.raid else "p3", kind="ext4", mount="/boot")
    return _plan(
        disks,
        (*_FIRMWARE, *partitions),
        arrays=arrays,
        encrypted=encrypted,
        groups=groups,
        filesystems=_filesystems(boot, parts, blocks),
        erase=layout.erase,
    )


def _layer(number: int, size_bytes: int | None) -> Partition:
    return Partition(number=number, role="layer", size_bytes=size_bytes, filesystem=None)


def _filesystems(boot: Filesystem, parts: list[_Part], blocks: list[str]) -> tuple[Filesystem, ...]:
    """In the order in which they are mounted: each after what it is mounted in."""
    found = [
        boot,
        *(
            Filesystem(on=block, kind=part.kind or "swap", mount=part.mount)
            for part, block in zip(parts, blocks, strict=True)
        ),
    ]
    return tuple(sorted(found, key=lambda each: (each.mount is None, each.mount or "")))
