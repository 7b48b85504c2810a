"""Which disk is written and how: from an inventory and the task's wishes to exact partitions.

The rule that keeps data safe: a disk that holds anything is a target only where the task names it
(by serial or WWN) or says `overwrite`. Nothing here guesses between equals: among suitable blank
disks the smallest wins, and of equal sizes the first by device name.
"""

import hashlib
from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from lpmos.model.errors import NoSuitableDisk
from lpmos.model.inventory import Disk, Inventory

MIB = 1024 * 1024
GIB = 1024 * MIB
ESP_BYTES = 512 * MIB
BIOS_BOOT_BYTES = MIB
LAYOUTS = ("auto",)
"""Names that `disk_layout` of a task may have."""

HINT_CHARACTERS = 256
Hint = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": HINT_CHARACTERS})]
HintBytes = Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
"""Every number of it is the same to every reader of JSON (RFC 8259 section 6)."""


class RootDiskHints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the task says of its root disk; every hint that is given must match.

    `model` matches as a part of the disk's model, whatever the case; the others match exactly.
    """

    serial: Hint | None = None
    wwn: Hint | None = None
    model: Hint | None = None
    device: Hint | None = None
    min_size_bytes: HintBytes | None = None
    max_size_bytes: HintBytes | None = None
    rotational: bool | None = None
    overwrite: bool = False

    def names_one_disk(self) -> bool:
        """Whether these hints name a disk by an identity that no other disk has."""
        return self.serial is not None or self.wwn is not None


class Partition(msgspec.Struct, frozen=True, kw_only=True):
    """One GPT partition; `size_bytes` None takes the rest of the disk."""

    number: int
    role: Literal["bios_boot", "esp", "root"]
    size_bytes: int | None
    filesystem: Literal["vfat", "ext4"] | None


class DiskPlan(msgspec.Struct, frozen=True, kw_only=True):
    """The one disk that will be overwritten, identified as the agent reported it."""

    device: str
    size_bytes: int
    serial: str | None = None
    wwn: str | None = None
    model: str | None = None
    overwrites: tuple[str, ...] = ()
    partitions: tuple[Partition, ...]

    @property
    def digest(self) -> str:
        """SHA-256 in hex of all that the plan says: an approval names by it what was seen."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def plan_disk(
    inventory: Inventory, layout: str, hints: RootDiskHints, required_bytes: int
) -> DiskPlan:
    """Choose the root disk and lay it out; the same layout boots with BIOS and with UEFI.

    Args:
        inventory: what the agent found.
        layout: one of `LAYOUTS`.
        hints: the task's wishes.
        required_bytes: what the root file system must hold.

    Raises:
        NoSuitableDisk: the text says for each disk why not.
    """
    if layout not in LAYOUTS:
        raise NoSuitableDisk(f"the layout {layout!r} is unknown; known: {', '.join(LAYOUTS)}")
    needed = required_bytes + ESP_BYTES + BIOS_BOOT_BYTES + MIB
    paths = _paths(inventory)
    reasons = {disk.device: _unfit(disk, hints, needed, paths) for disk in inventory.disks}
    fit = [disk for disk in inventory.disks if reasons[disk.device] is None]
    blank = [disk for disk in fit if not disk.contents]
    allowed = fit if hints.names_one_disk() or hints.overwrite else blank
    if not allowed:
        for disk in fit:
            reasons[disk.device] = (
                f"holds {', '.join(disk.contents)}: name it by root_disk.serial"
                " or set root_disk.overwrite"
            )
        listing = "; ".join(f"{device}: {reason}" for device, reason in reasons.items())
        raise NoSuitableDisk(f"no disk can be the root disk: {listing or 'the machine has none'}")
    return _lay_out(
        min(allowed, key=lambda disk: (bool(disk.contents), disk.size_bytes, disk.device))
    )


def _paths(inventory: Inventory) -> Mapping[str, tuple[str, ...]]:
    """The devices of each WWN: a disk that a storage array shows over several paths has several."""
    found: dict[str, tuple[str, ...]] = {}
    for disk in inventory.disks:
        if disk.wwn is not None:
            found[disk.wwn] = (*found.get(disk.wwn, ()), disk.device)
    return found


def _unfit(
    disk: Disk, hints: RootDiskHints, needed_bytes: int, paths: Mapping[str, tuple[str, ...]]
) -> str | None:
    """Why this disk cannot be the root disk, contents aside; None where it can."""
    if disk.wwn is not None and len(devices := paths[disk.wwn]) > 1:
        return f"is one of {len(devices)} paths to one disk ({', '.join(devices)})"
    if disk.read_only:
        return "is read-only"
    if disk.removable:
        return "is removable"
    if disk.size_bytes < needed_bytes:
        return f"has {disk.size_bytes / GIB:.1f} GiB, needs {needed_bytes / GIB:.1f} GiB"
    checks = (
        (hints.serial, hints.serial == disk.serial, "serial"),
        (hints.wwn, hints.wwn == disk.wwn, "wwn"),
        (hints.device, hints.device == disk.device, "device"),
        (hints.model, (hints.model or "").lower() in (disk.model or "").lower(), "model"),
        (hints.rotational, hints.rotational == disk.rotational, "rotational"),
        (hints.min_size_bytes, disk.size_bytes >= (hints.min_size_bytes or 0), "min_size_bytes"),
        (
            hints.max_size_bytes,
            disk.size_bytes <= (hints.max_size_bytes or disk.size_bytes),
            "max_size_bytes",
        ),
    )
    for hint, matches, name in checks:
        if hint is not None and not matches:
            return f"does not match root_disk.{name}"
    return None


def _lay_out(disk: Disk) -> DiskPlan:
    return DiskPlan(
        device=disk.device,
        size_bytes=disk.size_bytes,
        serial=disk.serial,
        wwn=disk.wwn,
        model=disk.model,
        overwrites=disk.contents,
        partitions=(
            Partition(number=1, role="bios_boot", size_bytes=BIOS_BOOT_BYTES, filesystem=None),
            Partition(number=2, role="esp", size_bytes=ESP_BYTES, filesystem="vfat"),
            Partition(number=3, role="root", size_bytes=None, filesystem="ext4"),
        ),
    )
