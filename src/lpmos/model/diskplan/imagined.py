"""The plan of a layout on a machine that has everything, so that only the layout can be wrong."""

from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from lpmos.model.diskplan.hints import RootDiskHints
from lpmos.model.diskplan.layout import MEMBERS_LIMIT, NAMED, StorageLayout
from lpmos.model.diskplan.plan import DiskPlan
from lpmos.model.diskplan.planning import disk_count, plan_disk
from lpmos.model.inventory import Disk, Inventory, Memory

_DISK_BYTES = 2**60
"""More than any layout can ask of one disk."""
_MACHINE = Inventory(
    collected_at=datetime(2000, 1, 1, tzinfo=UTC),
    boot_mode="uefi",
    memory=Memory(total_bytes=_DISK_BYTES),
    disks=tuple(
        Disk(device=f"/dev/nvme{number}n1", size_bytes=_DISK_BYTES, kind="nvme", discard=True)
        for number in range(MEMBERS_LIMIT)
    ),
)


@lru_cache(maxsize=256)
def imagined_plan(
    layout: str | StorageLayout, required_bytes: int, whole_image: bool = False
) -> DiskPlan:
    """What `plan_disk` makes of a layout where every disk suits.

    Raises:
        NoSuitableDisk: no disk suits it: it contradicts what is installed.
    """
    document = NAMED.get(layout, layout) if isinstance(layout, str) else layout
    if isinstance(document, StorageLayout) and document.members:
        count = disk_count(document)
        document = msgspec.structs.replace(document, members=(), disks=count)
    return plan_disk(_MACHINE, document, RootDiskHints(), required_bytes, whole_image)
