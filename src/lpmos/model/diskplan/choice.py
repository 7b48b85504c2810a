"""Which disks are written: among those that may be, the smallest that suffice.

The rule that keeps data safe: a disk that holds anything is a target only where the task names it
(by serial or WWN) or says `overwrite`, and a name that several disks have names none of them: the
namespaces of an NVMe controller and the volumes of a RAID controller often share a serial number.
Nothing here guesses between equals: blank disks come before others, then the smallest, and of
equal sizes the first by device name.
"""

from collections.abc import Mapping, Sequence
from itertools import combinations

from lpmos.model.diskplan.hints import BY_PATH, RootDiskHints
from lpmos.model.diskplan.layout import Erase
from lpmos.model.diskplan.sizes import GIB
from lpmos.model.errors import NoSuitableDisk
from lpmos.model.inventory import Disk, Inventory

BIOS_SECTOR_BYTES = 512
_IDENTITIES = {"serial": "serial number", "wwn": "WWN", "path": "by-path name"}
"""The hints that are of one disk, as people say them."""


def choose(
    inventory: Inventory,
    wanted: Sequence[RootDiskHints],
    needed_bytes: int,
    erase: Erase,
    sector_bytes: int | None = None,
) -> tuple[Disk, ...]:
    """One disk for each of `wanted`, in their order, none of them twice.

    Args:
        inventory: what the agent found.
        wanted: the hints of each disk.
        needed_bytes: what each disk must have.
        erase: what each disk must be able to.
        sector_bytes: which sectors each disk must have; None where any will do.

    Raises:
        NoSuitableDisk: the text says for each disk why not, or which disks share an identity.
    """
    paths = paths_of(inventory)
    for hints in wanted:
        _refuse_shared_name(inventory, hints)
    bios = inventory.boot_mode == "bios"
    disks = sorted(inventory.disks, key=_preference)
    reasons = [
        {
            disk.device: _not_startable(disk, bios=bios)
            or _of_other_sectors(disk, sector_bytes)
            or _reason(disk, hints, needed_bytes, erase, paths)
            for disk in disks
        }
        for hints in wanted
    ]
    fit = [[disk for disk in disks if each[disk.device] is None] for each in reasons]
    order = sorted(
        range(len(wanted)), key=lambda at: (not wanted[at].names_one_disk(), len(fit[at]), at)
    )
    taken: dict[str, int] = {}
    for at in order:
        if not _place(at, fit, taken, set()):
            raise NoSuitableDisk(_refusal(wanted, at, reasons[at], taken))
    by_place = {at: device for device, at in taken.items()}
    chosen = [next(d for d in disks if d.device == by_place[at]) for at in range(len(wanted))]
    return tuple(sorted(chosen, key=_preference) if len(set(wanted)) == 1 else chosen)


def _refuse_shared_name(inventory: Inventory, hints: RootDiskHints) -> None:
    """Go on only if what names one disk is not true of several; two paths are to one disk."""
    named = next((each for each in _IDENTITIES if getattr(hints, each)), None)
    fitting = [disk for disk in inventory.disks if differing_hint(disk, hints) is None]
    if named is None or all(_are_one(*two) for two in combinations(fitting, 2)):
        return
    others = [text for each, text in _IDENTITIES.items() if getattr(hints, each) is None]
    raise NoSuitableDisk(
        f"{', '.join(disk.device for disk in fitting)} have the {_IDENTITIES[named]}"
        f" {getattr(hints, named)}: name the {' or '.join(others)} too"
    )


def _preference(disk: Disk) -> tuple[bool, int, str]:
    return bool(disk.contents), disk.size_bytes, disk.device


def _place(at: int, fit: Sequence[Sequence[Disk]], taken: dict[str, int], seen: set[str]) -> bool:
    """Give the place `at` a disk; where all that fit are taken, move another place off one."""
    for disk in fit[at]:
        if disk.device not in taken:
            taken[disk.device] = at
            return True
    for disk in fit[at]:
        if disk.device not in seen:
            seen.add(disk.device)
            if _place(taken[disk.device], fit, taken, seen):
                taken[disk.device] = at
                return True
    return False


def paths_of(inventory: Inventory) -> Mapping[str, tuple[str, ...]]:
    """By device all that are the same disk: one of a storage array is seen over several paths."""
    return {
        disk.device: tuple(other.device for other in inventory.disks if _are_one(disk, other))
        for disk in inventory.disks
    }


def _are_one(disk: Disk, other: Disk) -> bool:
    """Same WWN; but some makers give a whole batch one, and only the serials tell them apart."""
    if disk is other:
        return True
    serials = {disk.serial, other.serial} - {None}
    return disk.wwn is not None and disk.wwn == other.wwn and len(serials) < 2


def _not_startable(disk: Disk, *, bios: bool) -> str | None:
    """INT 13h of a BIOS reads sectors of 512 bytes (EDD 3.0), and the system would never start."""
    if bios and disk.logical_block_bytes != BIOS_SECTOR_BYTES:
        return (
            f"has sectors of {disk.logical_block_bytes} bytes, from which no BIOS starts:"
            " let the machine boot by UEFI"
        )
    return None


def _of_other_sectors(disk: Disk, sector_bytes: int | None) -> str | None:
    """GPT counts in sectors, and stands in the second: on a disk of others it is not found."""
    if sector_bytes is not None and disk.logical_block_bytes != sector_bytes:
        return (
            f"has sectors of {disk.logical_block_bytes} bytes, and the image was made on a disk of"
            f" {sector_bytes}: make the image on a disk like this one, or name another disk"
        )
    return None


def _reason(
    disk: Disk,
    hints: RootDiskHints,
    needed_bytes: int,
    erase: Erase,
    paths: Mapping[str, tuple[str, ...]],
) -> str | None:
    """Why this disk cannot be taken; None where it can."""
    return (
        unusable(disk, paths)
        or _too_small(disk, needed_bytes)
        or not_erasable(disk, erase)
        or _not_wanted(disk, hints)
    )


def unusable(disk: Disk, paths: Mapping[str, tuple[str, ...]]) -> str | None:
    if len(devices := paths[disk.device]) > 1:
        return f"is one of {len(devices)} paths to one disk ({', '.join(devices)})"
    if disk.read_only:
        return "is read-only"
    if disk.removable:
        return "is removable"
    return None


def _too_small(disk: Disk, needed_bytes: int) -> str | None:
    if disk.size_bytes < needed_bytes:
        return (
            f"has {disk.size_bytes / GIB:.1f} GiB, needs {needed_bytes / GIB:.1f} GiB"
            f" ({disk.size_bytes} and {needed_bytes} bytes)"
        )
    return None


def not_erasable(disk: Disk, erase: Erase) -> str | None:
    if erase == "nvme_format" and disk.kind != "nvme":
        return "is no NVMe disk, and erase is nvme_format"
    if erase == "discard" and disk.discard is False:
        return "cannot discard, and erase is discard"
    return None


def _not_wanted(disk: Disk, hints: RootDiskHints) -> str | None:
    if hints.unknown:
        return f"may not match root_disk.{hints.unknown}, which a newer version of LPMOS knows"
    name = differing_hint(disk, hints)
    if name is not None:
        return f"does not match root_disk.{name}"
    if disk.contents and not hints.names_one_disk() and not hints.overwrite:
        return (
            f"holds {', '.join(disk.contents)}: name it by root_disk.serial"
            " or set root_disk.overwrite"
        )
    return None


def differing_hint(disk: Disk, hints: RootDiskHints) -> str | None:
    """The first hint that the disk does not match."""
    path = (hints.path or "").removeprefix(BY_PATH)
    least, most = hints.min_size_bytes or 0, hints.max_size_bytes or disk.size_bytes
    checks = (
        ("serial", hints.serial, hints.serial == disk.serial),
        ("wwn", hints.wwn, hints.wwn == disk.wwn),
        ("device", hints.device, hints.device == disk.device),
        ("path", hints.path, path == (disk.path or "").removeprefix(BY_PATH)),
        ("model", hints.model, (hints.model or "").lower() in (disk.model or "").lower()),
        ("rotational", hints.rotational, hints.rotational == disk.rotational),
        ("nvme", hints.nvme, hints.nvme == (disk.kind == "nvme")),
        ("min_size_bytes", hints.min_size_bytes, disk.size_bytes >= least),
        ("max_size_bytes", hints.max_size_bytes, disk.size_bytes <= most),
    )
    return next((name for name, hint, fits in checks if hint is not None and not fits), None)


def _refusal(
    wanted: Sequence[RootDiskHints],
    at: int,
    reasons: Mapping[str, str | None],
    taken: Mapping[str, int],
) -> str:
    listing = "; ".join(
        f"{device}: {reason or ('is taken' if device in taken else 'can be taken')}"
        for device, reason in sorted(reasons.items())
    )
    what = (
        "no disk can be the root disk"
        if len(wanted) == 1
        else f"the layout is over {len(wanted)} disks, and {len(taken)} can be taken"
        if len(set(wanted)) == 1
        else f"no disk can be member {at + 1} of {len(wanted)}"
    )
    return f"{what}: {listing or 'the machine has none'}"
