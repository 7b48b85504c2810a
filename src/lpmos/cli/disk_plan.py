"""A disk plan for a person to read: which disks are written, what is lost, what stands on what.

The rule: all of a plan is shown before it is approved; a disk that is written and not named here
does not exist.
"""

from collections.abc import Iterator
from typing import NamedTuple

from lpmos.cli.client import Document
from lpmos.cli.display import Column, Display
from lpmos.cli.words import listed, memory, plain, size

ERASES = {
    "discard": "every block is discarded before (TRIM)",
    "nvme_format": "every disk is formatted before by its own controller (NVMe)",
}
_ROLES = {"bios_boot": "BIOS boot", "esp": "EFI system", "root": "root", "layer": ""}
_LEVELS = {"raid1": "RAID 1", "raid5": "RAID 5", "raid10": "RAID 10"}
_MADE_ON_ESP = ("vfat", "/boot/efi")


class Layer(NamedTuple):
    """One block of a plan; `depth` is how many blocks are below it."""

    depth: int
    name: str
    what: str
    size: str
    filesystem: str
    mount: str


DISKS = (
    Column("DISK", lambda disk: disk["device"]),
    Column("SIZE", lambda disk: size(disk["size_bytes"]), right=True),
    Column("MODEL", lambda disk: disk.get("model") or "", drop=1),
    Column("SERIAL", lambda disk: disk.get("serial") or disk.get("wwn") or "none"),
    Column("LOST", lambda disk: listed(disk.get("overwrites") or ()) or "nothing: it is blank"),
)
LAYERS = (
    Column("WHAT IS MADE", lambda row: row["name"]),
    Column("", lambda row: row["what"]),
    Column("SIZE", lambda row: row["size"], right=True),
    Column("FILE SYSTEM", lambda row: row["filesystem"]),
    Column("AT", lambda row: row["mount"]),
)


def disks(plan: Document) -> list[Document]:
    """Every disk that is written, the first one first."""
    return [plan, *(plan.get("members") or ())]


def layers(plan: Document) -> list[Layer]:
    """Every block of a plan, each right after the one that it stands on."""
    return [layer for part in plan["partitions"] for layer in _partition(plan, part)]


def show_plan(display: Display, plan: Document | None) -> None:
    """The disks that will be (or were) written, on standard output."""
    if plan is None:
        return
    display.heading("disks that are written")
    display.table(disks(plan), DISKS)
    display.table([_row(layer) for layer in layers(plan)], LAYERS)
    for line in _remarks(plan):
        display.line(line)


def plan_lines(plan: Document) -> Iterator[str]:
    """The same in lines, for whoever is asked."""
    for disk in disks(plan):
        named = [f"{name} {disk[name]}" for name in ("serial", "wwn") if disk.get(name)]
        held = listed(disk.get("overwrites") or ())
        of_it = [disk["device"], size(disk["size_bytes"]), disk.get("model"), *named]
        yield " ".join(plain(word) for word in of_it if word)
        yield f"  LOST: {plain(held)}" if held else "  blank"
    for layer in layers(plan):
        where = f"at {layer.mount}" if layer.mount else ""
        words = (layer.name, layer.what, layer.size, layer.filesystem, where)
        line = " ".join(plain(word) for word in words if word)
        yield f"{'  ' * (layer.depth + 1)}{line}"
    yield from _remarks(plan)


def _remarks(plan: Document) -> Iterator[str]:
    if plan.get("whole_image"):
        yield "The image writes the whole disk, with partitions of its own."
    if erase := ERASES.get(plan.get("erase", "")):
        yield f"Erased: {erase}."


def _row(layer: Layer) -> Document:
    mark = f"└{'─' * (layer.depth - 1)} " if layer.depth else ""
    return layer._asdict() | {"name": mark + plain(layer.name)}


def _size(size_bytes: int | None) -> str:
    return "the rest" if size_bytes is None else memory(size_bytes)


def _partition(plan: Document, part: Document) -> Iterator[Layer]:
    role = part["role"]
    count = len(disks(plan))
    of_each = f" of each of {count} disks" if count > 1 else ""
    what = f"{_ROLES.get(role, role)}{of_each}".strip()
    made, mount = _MADE_ON_ESP if role == "esp" else (part["filesystem"] or "", "")
    name = f"partition {part['number']}"
    if role == "root":
        mount = "/"
    block = f"p{part['number']}"
    made, mount = _on(plan, block) or (made, mount)
    yield Layer(0, name, what, _size(part["size_bytes"]), made, mount)
    for array in plan.get("arrays") or ():
        if array["partition"] == part["number"]:
            level = _LEVELS.get(array["level"], array["level"])
            yield from _block(plan, array["id"], f"{level} over {count} disks", 1)
    yield from _above(plan, block, 1)


def _block(plan: Document, name: str, what: str, depth: int) -> Iterator[Layer]:
    yield Layer(depth, name, what, "", *(_on(plan, name) or ("", "")))
    yield from _above(plan, name, depth + 1)


def _above(plan: Document, block: str, depth: int) -> Iterator[Layer]:
    for each in plan.get("encrypted") or ():
        if each["on"] == block:
            yield from _block(plan, each["id"], "encrypted (LUKS2)", depth)
    for group in plan.get("groups") or ():
        if group["on"] == block:
            yield Layer(depth, group["id"], "LVM volume group", "", "", "")
            for volume in group["volumes"]:
                made = _on(plan, f"{group['id']}/{volume['name']}") or ("", "")
                yield Layer(depth + 1, volume["name"], "volume", _size(volume["size_bytes"]), *made)


def _on(plan: Document, block: str) -> tuple[str, str] | None:
    """The file system on a block, and where it is mounted."""
    for each in plan.get("filesystems") or ():
        if each["on"] == block:
            return each["kind"], each["mount"] or ("" if each["kind"] == "swap" else "not mounted")
    return None
