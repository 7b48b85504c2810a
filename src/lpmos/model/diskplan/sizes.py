"""How large things are that no task says the size of, and what each layer keeps for itself.

Sources: the GPT of UEFI 2.10 section 5.3; mdadm(8) and md(4) for metadata 1.2, which leaves at most
a thousandth of a member, 128 MiB at most, before the data; cryptsetup(8) for the 16 MiB of a LUKS2
header; lvm(8) for 4 MiB extents and the metadata before the first.
"""

from lpmos.model.diskplan.layout import Kind, Raid

MIB = 1024 * 1024
GIB = 1024 * MIB
ESP_BYTES = 512 * MIB
BIOS_BOOT_BYTES = MIB
BOOT_BYTES = GIB
TABLE_BYTES = 2 * MIB
"""The two copies of the partition table, each with the alignment beside it."""
LUKS_BYTES = 16 * MIB
EXTENT_BYTES = 4 * MIB
GROUP_BYTES = 2 * EXTENT_BYTES
ARRAY_DATA_OFFSET_BYTES = 128 * MIB
ARRAY_BYTES = 4 * MIB

LEAST_BYTES: dict[Kind, int] = {"ext4": 16 * MIB, "xfs": 300 * MIB, "btrfs": 128 * MIB}
"""The smallest file systems that their programs make: mkfs.xfs(8), mkfs.btrfs(8)."""

FEWEST: dict[Raid, int] = {"raid1": 2, "raid5": 3, "raid10": 4}


def rounded_up(size_bytes: int, step_bytes: int) -> int:
    """The next multiple of `step_bytes`."""
    return -(-size_bytes // step_bytes) * step_bytes


def member_bytes(raid: Raid | None, disks: int, size_bytes: int) -> int:
    """What the partition of each disk must have so that the array has `size_bytes`."""
    if raid is None:
        return rounded_up(size_bytes, MIB)
    share = {
        "raid1": size_bytes,
        "raid5": -(-size_bytes // (disks - 1)),
        "raid10": -(-size_bytes * 2 // disks),
    }[raid]
    offset = min(ARRAY_DATA_OFFSET_BYTES, share // 1000 + 1)
    return rounded_up(share + offset + ARRAY_BYTES, MIB)
