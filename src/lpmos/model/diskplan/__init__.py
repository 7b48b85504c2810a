"""Which disks are written and how: what a task may ask for, and the plan that comes of it.

`hints` and `layout` are what a task says, `problems` what can be wrong with it; `choice` finds the
disks, `planning` lays them out, and `plan` is what results. All of it is pure.
"""

from lpmos.model.diskplan.hints import HINT_CHARACTERS, RootDiskHints
from lpmos.model.diskplan.layout import (
    LAYOUTS,
    DiskLayout,
    DiskPassphrase,
    PartitionWish,
    StorageLayout,
    is_encrypted,
    layout_name,
)
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
from lpmos.model.diskplan.planning import is_one_plain_disk, plan_disk
from lpmos.model.diskplan.problems import layout_problems
from lpmos.model.diskplan.sizes import BIOS_BOOT_BYTES, ESP_BYTES, GIB, MIB

__all__ = [
    "BIOS_BOOT_BYTES",
    "ESP_BYTES",
    "GIB",
    "HINT_CHARACTERS",
    "LAYOUTS",
    "MIB",
    "Array",
    "DiskLayout",
    "DiskPassphrase",
    "DiskPlan",
    "Encrypted",
    "Filesystem",
    "Member",
    "Partition",
    "PartitionWish",
    "RootDiskHints",
    "StorageLayout",
    "Volume",
    "VolumeGroup",
    "is_encrypted",
    "is_one_plain_disk",
    "layout_name",
    "layout_problems",
    "plan_disk",
]
