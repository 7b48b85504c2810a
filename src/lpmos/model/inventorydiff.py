"""How one hardware report of a machine differs from another, in words for people.

Parts are the same where their identity is: a disk by serial number or WWN, a memory module by its
slot, a NIC by its MAC. What changes without anybody's doing is no difference: the names that a
kernel gives, what stands on a disk, whether a cable has a link.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Literal, TypeVar

import msgspec

from lpmos.model.inventory import Dimm, Disk, Inventory, Nic

Part = TypeVar("Part", Disk, Dimm, Nic)

KERNEL_SHARE = 0.02
"""By so much of it the memory that a kernel has may differ with the kernel."""

_GB = 10**9
_GIB = 1024**3


class HardwareChange(msgspec.Struct, frozen=True, kw_only=True):
    """One difference; `path` names the part as `disks/SERIAL` or `bios/version`, once in a list.

    `before` is null for what was added, `after` for what is gone.
    """

    path: str
    change: Literal["added", "removed", "changed"]
    what: str
    before: str | None
    after: str | None


def hardware_changes(before: Inventory, after: Inventory) -> tuple[HardwareChange, ...]:
    """Every difference between two reports of one machine, in a fixed order."""
    return (
        *_scalars(before, after),
        *_memory(before, after),
        *_parts("disks", "disk", before.disks, after.disks, name=_disk_name, words=_disk_words),
        *_parts(
            *("dimms", "memory module", before.memory.dimms, after.memory.dimms),
            name=_slot,
            words=_dimm,
        ),
        *_parts("nics", "network interface", before.nics, after.nics, name=_mac, words=_nic),
    )


def _scalars(before: Inventory, after: Inventory) -> Iterator[HardwareChange]:
    for path, what, value in _SCALARS:
        if change := _change(path, what, _text(value(before)), _text(value(after))):
            yield change


def _memory(before: Inventory, after: Inventory) -> Iterator[HardwareChange]:
    """The memory that the kernel has, where that is more than another kernel's share."""
    was, now = before.memory.total_bytes, after.memory.total_bytes
    if abs(was - now) <= KERNEL_SHARE * max(was, now):
        return
    if change := _change("memory/total", "memory", _gib(was), _gib(now)):
        yield change


def _parts(
    kind: str,
    word: str,
    before: Iterable[Part],
    after: Iterable[Part],
    *,
    name: Callable[[Part], str],
    words: Callable[[Part], str],
) -> Iterator[HardwareChange]:
    was, now = _named(before, name), _named(after, name)
    for each in sorted(was.keys() | now.keys()):
        there = words(was[each]) if each in was else None
        here = words(now[each]) if each in now else None
        if change := _change(f"{kind}/{each}", f"{word} {each}", there or None, here or None):
            yield change


def _named(parts: Iterable[Part], name: Callable[[Part], str]) -> dict[str, Part]:
    """The parts by their identity; one that others have too gets a number."""
    found: dict[str, Part] = {}
    for part in parts:
        known, number = name(part), 2
        unique = known
        while unique in found:
            unique, number = f"{known} ({number})", number + 1
        found[unique] = part
    return found


def _change(path: str, what: str, before: str | None, after: str | None) -> HardwareChange | None:
    if before == after:
        return None
    kind: Literal["added", "removed", "changed"] = (
        "added" if before is None else "removed" if after is None else "changed"
    )
    return HardwareChange(path=path, change=kind, what=what, before=before, after=after)


def _disk_name(disk: Disk) -> str:
    return disk.serial or disk.wwn or disk.device


def _disk_words(disk: Disk) -> str:
    size = f"{disk.size_bytes / _GB:.1f} GB"
    flags = ["removable"] if disk.removable else []
    flags += ["read-only"] if disk.read_only else []
    return _joined(size, disk.kind, disk.model, disk.bus, *flags)


def _slot(dimm: Dimm) -> str:
    return dimm.slot or dimm.serial or "without a name"


def _dimm(dimm: Dimm) -> str:
    """What is in the slot; an empty one is nothing."""
    if not dimm.size_bytes:
        return ""
    speed = f"{dimm.speed_mts} MT/s" if dimm.speed_mts else None
    serial = f"serial {dimm.serial}" if dimm.serial else None
    made = (dimm.manufacturer, dimm.part_number, serial)
    return _joined(_gib(dimm.size_bytes), dimm.type, speed, *made)


def _mac(nic: Nic) -> str:
    return nic.mac.lower()


def _nic(nic: Nic) -> str:
    return _joined(nic.driver or "driver unknown")


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / _GIB:.1f} GiB"


def _joined(*words: str | None) -> str:
    return " ".join(word for word in words if word)


def _text(value: object) -> str | None:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


_SCALARS: tuple[tuple[str, str, Callable[[Inventory], object]], ...] = (
    ("product/vendor", "vendor", lambda each: each.product.vendor),
    ("product/name", "product", lambda each: each.product.name),
    ("product/version", "product version", lambda each: each.product.version),
    ("product/serial", "serial number", lambda each: each.product.serial),
    ("product/uuid", "UUID", lambda each: each.product.uuid),
    ("board/name", "board", lambda each: each.board.name),
    ("board/version", "board version", lambda each: each.board.version),
    ("board/serial", "serial number of the board", lambda each: each.board.serial),
    ("chassis/serial", "serial number of the chassis", lambda each: each.chassis.serial),
    ("chassis/asset_tag", "asset tag", lambda each: each.chassis.asset_tag),
    ("bios/vendor", "firmware vendor", lambda each: each.bios.vendor),
    ("bios/version", "firmware version", lambda each: each.bios.version),
    ("bios/date", "firmware date", lambda each: each.bios.date),
    ("boot_mode", "boot mode", lambda each: each.boot_mode),
    ("secure_boot", "Secure Boot", lambda each: each.secure_boot),
    ("tpm_version", "TPM version", lambda each: each.tpm_version),
    ("bmc_address", "BMC address", lambda each: each.bmc_address),
    ("cpu/model", "processor", lambda each: each.cpu.model),
    ("cpu/sockets", "processor sockets", lambda each: each.cpu.sockets),
    ("cpu/cores", "processor cores", lambda each: each.cpu.cores),
    ("cpu/threads", "processor threads", lambda each: each.cpu.threads),
)
