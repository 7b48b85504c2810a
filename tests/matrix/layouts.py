"""Layouts of disks that the matrix starts: what a task asks for, and what then stands on each disk.

The rule: the server of such a cell starts from what the layout made, not only finds it there. Of an
array that can lose a disk, it starts once more with the first disk taken out.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

from lpmos.model.diskplan import StorageLayout

Laid = Literal["raid5", "raid10", "raid1-lvm", "luks", "format"]

PASSPHRASE: Final = "correct horse battery"
_MEMBER: Final = ("bios_boot", "esp", "raid", "raid")


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """One layout: `roles` are the partitions of each of its disks.

    `degraded` is what the kernel says of the array with the root when a disk is missing.
    """

    words: str
    wanted: StorageLayout
    disks: int = 1
    roles: tuple[str, ...] = _MEMBER
    degraded: str | None = None


LAYOUTS: Final[Mapping[Laid, Layout]] = MappingProxyType(
    {
        "raid5": Layout(
            words="three, the root on RAID 5, started again without the first",
            wanted=StorageLayout(raid="raid5"),
            disks=3,
            degraded="active with 2 out of 3 devices",
        ),
        "raid10": Layout(
            words="four, the root on RAID 10, started again without the first",
            wanted=StorageLayout(raid="raid10"),
            disks=4,
            degraded="active with 3 out of 4 devices",
        ),
        "raid1-lvm": Layout(
            words="two, LVM on RAID 1, started again without the first",
            wanted=StorageLayout(raid="raid1", lvm=True),
            disks=2,
            degraded="active with 1 out of 2 mirrors",
        ),
        "luks": Layout(
            words="one, LVM on LUKS2, the passphrase typed on the console",
            wanted=StorageLayout(lvm=True, encrypt=True, swap_bytes=256 * 1024**2),
            roles=("bios_boot", "esp", "linux", "luks"),
        ),
        "format": Layout(
            words="one with foreign data, erased by NVMe format",
            wanted=StorageLayout(erase="nvme_format"),
            roles=("bios_boot", "esp", "linux", "root"),
        ),
    }
)
