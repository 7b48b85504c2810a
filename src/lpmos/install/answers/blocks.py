"""A disk plan as installers ask about it: what stands on a block. Nothing here chooses."""

from lpmos.model.diskplan import DiskPlan, Encrypted, Filesystem, Partition, VolumeGroup

MIB = 1024 * 1024


def filesystem(plan: DiskPlan, block: str) -> Filesystem | None:
    """The file system or swap on a block."""
    return next((each for each in plan.made_filesystems if each.on == block), None)


def group(plan: DiskPlan, block: str) -> VolumeGroup | None:
    """The volume group on a block."""
    return next((each for each in plan.groups if each.on == block), None)


def encrypted(plan: DiskPlan, block: str) -> Encrypted | None:
    """The encrypted block on another one."""
    return next((each for each in plan.encrypted if each.on == block), None)


def partition_of(plan: DiskPlan, role: str) -> Partition | None:
    """The first partition of a role."""
    return next((each for each in plan.partitions if each.role == role), None)
