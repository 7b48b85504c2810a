"""How a task wants its disks laid out: a name, or the document that a name is short for.

The rule: a layout says nothing of the disks of one machine. The same one, with the inventory of a
machine and the task's hints, gives that machine's exact plan.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import msgspec

from lpmos.model.diskplan.hints import RootDiskHints

MEMBERS_LIMIT = 16
PARTITIONS_LIMIT = 16
MOUNT_PATTERN = "^(/|(/[A-Za-z0-9_][A-Za-z0-9_.-]*)+)$"
NAME_PATTERN = "^[a-z][a-z0-9-]{0,23}$"

Raid = Literal["raid1", "raid5", "raid10"]
Kind = Literal["ext4", "xfs", "btrfs"]
Erase = Literal["signatures", "discard", "nvme_format"]
SizeBytes = Annotated[int, msgspec.Meta(ge=1, le=2**53 - 1)]


class PartitionWish(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """A file system of its own: of `size_bytes`, or with `fill` the rest, at least `min_bytes`.

    Without a `mount` it is made and not mounted, and has a `name`. The `name` is that of its
    volume, array or partition; the mount point gives one.
    """

    mount: Annotated[str, msgspec.Meta(pattern=MOUNT_PATTERN, max_length=200)] | None = None
    name: Annotated[str, msgspec.Meta(pattern=NAME_PATTERN)] | None = None
    size_bytes: SizeBytes | None = None
    min_bytes: SizeBytes | None = None
    fill: bool = False
    filesystem: Kind | None = None


class StorageLayout(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True
):
    """Which disks, what is over them, and the file systems; the empty one is the layout `auto`.

    `disks` is how many `raid` takes, by default the fewest that it can be of; `members` are the
    hints of each, in place of `root_disk` for all. `filesystem` is of the root, and of every
    partition that names none. The root takes what the partitions leave, where they do not have it.
    `erase` is how deep what stood on the disks goes before they are written.
    """

    raid: Raid | None = None
    disks: Annotated[int, msgspec.Meta(ge=1, le=MEMBERS_LIMIT)] | None = None
    members: Annotated[tuple[RootDiskHints, ...], msgspec.Meta(max_length=MEMBERS_LIMIT)] = ()
    lvm: bool = False
    encrypt: bool = False
    filesystem: Kind = "ext4"
    swap_bytes: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)] = 0
    partitions: Annotated[tuple[PartitionWish, ...], msgspec.Meta(max_length=PARTITIONS_LIMIT)] = ()
    erase: Erase = "signatures"


NAMED: Mapping[str, StorageLayout] = MappingProxyType(
    {
        "auto": StorageLayout(),
        "lvm": StorageLayout(lvm=True),
        "raid1": StorageLayout(raid="raid1"),
        "raid5": StorageLayout(raid="raid5"),
        "raid10": StorageLayout(raid="raid10"),
    }
)
LAYOUTS = tuple(NAMED)
"""Names that `disk_layout` of a task may have."""

DiskLayout = (
    Annotated[
        str,
        msgspec.Meta(
            extra_json_schema={"enum": list(LAYOUTS), "description": "A layout by its name."}
        ),
    ]
    | StorageLayout
)
"""What `disk_layout` of a task is; which names there are is checked where the task is."""


DiskPassphrase = Annotated[
    str,
    msgspec.Meta(
        pattern="^[ -~]+$",
        min_length=8,
        max_length=256,
        description="Opens the encrypted disks at every start; ASCII, as the console's keyboard"
        " may not be yours. Never shown again.",
        extra_json_schema={"writeOnly": True, "format": "password"},
    ),
]


def is_encrypted(layout: str | StorageLayout) -> bool:
    """Whether it needs a passphrase."""
    return not isinstance(layout, str) and layout.encrypt


def layout_name(layout: str | StorageLayout) -> str:
    """The name of a layout in one word: `custom` for a document that no name is short for."""
    if isinstance(layout, str):
        return layout
    return next((name for name, document in NAMED.items() if document == layout), "custom")
