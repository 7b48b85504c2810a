"""What is wrong with what a task says of its disks, whatever the machine has: all at once."""

import re
from collections import Counter
from collections.abc import Iterator

import msgspec

from lpmos.model.diskplan.hints import HINT_CHARACTERS, RootDiskHints
from lpmos.model.diskplan.layout import (
    LAYOUTS,
    NAME_PATTERN,
    NAMED,
    Kind,
    PartitionWish,
    StorageLayout,
)
from lpmos.model.diskplan.planning import disk_count, mount_name
from lpmos.model.diskplan.sizes import FEWEST, LEAST_BYTES, MIB
from lpmos.model.errors import FieldProblem

LAYOUT_BYTES = 4096
"""What a layout may take of its task's document, which has a limit (S13)."""
LEAST_BOOT_BYTES = 256 * MIB
ON_THE_ROOT = frozenset(
    f"/{name}"
    for name in ("bin", "dev", "etc", "lib", "lib64", "proc", "run", "sbin", "sys", "usr")
)
"""What an installed system needs before it mounts anything else."""
_NAME = re.compile(NAME_PATTERN)
_RESERVED = frozenset({"bios", "boot", "esp", "swap"})


def layout_problems(
    layout: str | StorageLayout, root_disk: RootDiskHints, field: str = "disk_layout"
) -> list[FieldProblem]:
    """All that is wrong with a layout and the hints beside it; empty where nothing is."""
    found = [FieldProblem(f"root_disk.{name}", text) for name, text in _hint_problems(root_disk)]
    if isinstance(layout, str):
        if layout not in LAYOUTS:
            text = f"{layout[:40]!r} is unknown; known: {', '.join(LAYOUTS)}"
            return [*found, FieldProblem(field, text)]
        layout = NAMED[layout]
    if len(msgspec.json.encode(layout)) > LAYOUT_BYTES:
        found.append(FieldProblem(field, f"over {LAYOUT_BYTES} bytes"))
    found += [FieldProblem(f"{field}.{name}", text) for name, text in _disks_problems(layout)]
    found += [FieldProblem(f"{field}.{name}", text) for name, text in _parts_problems(layout)]
    found += _both(layout, root_disk, field)
    return list(dict.fromkeys(found))


def _hint_problems(hints: RootDiskHints) -> Iterator[tuple[str, str]]:
    for name in ("serial", "wwn", "model", "device", "path"):
        if len(getattr(hints, name) or "") > HINT_CHARACTERS:
            yield name, f"more than {HINT_CHARACTERS} characters"


def _disks_problems(layout: StorageLayout) -> Iterator[tuple[str, str]]:
    count = disk_count(layout)
    which = "members" if layout.members else "disks"
    if layout.disks is not None and layout.members and layout.disks != len(layout.members):
        yield "members", f"are {len(layout.members)}, and disks says {layout.disks}"
    if layout.raid is None and count > 1:
        yield which, "more than one disk needs raid"
    if layout.raid is not None and count < FEWEST[layout.raid]:
        yield which, f"{layout.raid} is of at least {FEWEST[layout.raid]} disks, not {count}"
    for number, hints in enumerate(layout.members):
        yield from ((f"members.{number}.{name}", text) for name, text in _hint_problems(hints))
    for name in ("serial", "wwn", "device", "path"):
        named = Counter(getattr(hints, name) for hints in layout.members)
        for number, hints in enumerate(layout.members):
            value = getattr(hints, name)
            if value is not None and named[value] > 1:
                yield f"members.{number}.{name}", "names a disk that another member names"


def _both(layout: StorageLayout, root_disk: RootDiskHints, field: str) -> Iterator[FieldProblem]:
    if layout.members:
        if root_disk != RootDiskHints():
            yield FieldProblem("root_disk", f"cannot stand beside {field}.members")
        return
    count = disk_count(layout)
    for name in ("serial", "wwn", "device", "path"):
        if count > 1 and getattr(root_disk, name) is not None:
            text = f"names one disk, and {field} is over {count}: give {field}.members"
            yield FieldProblem(f"root_disk.{name}", text)


def _parts_problems(layout: StorageLayout) -> Iterator[tuple[str, str]]:
    wishes = layout.partitions
    names = Counter(mount_name(wish) for wish in wishes)
    mounts = Counter(wish.mount for wish in wishes if wish.mount is not None)
    for number, wish in enumerate(wishes):
        at = f"partitions.{number}"
        yield from (
            (f"{at}.{field}", text) for field, text in _wish_problems(wish, layout.filesystem)
        )
        if wish.mount is not None and mounts[wish.mount] > 1:
            yield f"{at}.mount", f"{wish.mount} stands twice"
        elif names[mount_name(wish)] > 1:
            yield f"{at}.name", f"{mount_name(wish)!r} stands twice"
        if mount_name(wish) == "root" and wish.mount != "/":
            yield f"{at}.name", "root is the name of /"
    filling = [number for number, wish in enumerate(wishes) if wish.fill]
    for number in filling[1:]:
        yield f"partitions.{number}.fill", f"partition {filling[0]} takes the rest already"
    if filling and not mounts["/"]:
        yield f"partitions.{filling[0]}.fill", "what is left is for /: give / a partition too"
    several = bool(layout.swap_bytes) or any(wish.mount not in {"/", "/boot"} for wish in wishes)
    if layout.encrypt and several and not layout.lvm:
        yield "lvm", "must be true with encrypt: then one passphrase opens all"


def _wish_problems(wish: PartitionWish, filesystem: Kind) -> Iterator[tuple[str, str]]:
    name = mount_name(wish)
    if wish.mount is None and wish.name is None:
        yield "name", "is missing where there is no mount"
    elif not _NAME.fullmatch(name):
        yield "name", f"is missing: {name[:40]!r}, made of the mount, is too long"
    elif name in _RESERVED and wish.mount != "/boot":
        yield "name", f"{name!r} is the name of another partition"
    if wish.mount is not None and _is_the_roots(wish.mount):
        yield "mount", f"{wish.mount} cannot be a file system of its own"
    if wish.fill == (wish.size_bytes is not None):
        yield "size_bytes", "cannot stand beside fill" if wish.fill else "is missing, or fill"
    kind = wish.filesystem or filesystem
    if wish.size_bytes is not None and wish.size_bytes < LEAST_BYTES[kind]:
        yield "size_bytes", f"{kind} needs at least {LEAST_BYTES[kind]} bytes"
    if wish.min_bytes is not None and not wish.fill:
        yield "min_bytes", "is for what fills"
    if wish.mount == "/boot":
        if wish.fill:
            yield "fill", "/boot has a fixed size"
        if wish.filesystem not in {None, "ext4"}:
            yield "filesystem", "/boot is ext4, which every boot loader reads"
        if wish.size_bytes is not None and wish.size_bytes < LEAST_BOOT_BYTES:
            yield "size_bytes", f"/boot needs at least {LEAST_BOOT_BYTES} bytes"


def _is_the_roots(mount: str) -> bool:
    first = "/" + mount.strip("/").partition("/")[0]
    below_usr = mount.startswith("/usr/")
    return (first in ON_THE_ROOT and not below_usr) or mount.startswith("/boot/")
