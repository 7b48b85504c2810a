"""A disk plan as installers ask about it: what stands on a block, and what no installer is told.

The rule: nothing here chooses; a plan is either said whole to an installer or refused by name.
"""

from collections.abc import Iterator, Sequence

from lpmos.model.diskplan import DiskPlan, Encrypted, Filesystem, Partition, VolumeGroup

MIB = 1024 * 1024


def filesystems(plan: DiskPlan) -> tuple[Filesystem, ...]:
    """Every file system; the layout `auto` says its only one by a partition's role."""
    if plan.filesystems:
        return plan.filesystems
    return tuple(
        Filesystem(on=f"p{each.number}", kind="ext4", mount="/")
        for each in plan.partitions
        if each.role == "root"
    )


def filesystem(plan: DiskPlan, block: str) -> Filesystem | None:
    """The file system or swap on a block."""
    return next((each for each in filesystems(plan) if each.on == block), None)


def group(plan: DiskPlan, block: str) -> VolumeGroup | None:
    """The volume group on a block."""
    return next((each for each in plan.groups if each.on == block), None)


def encrypted(plan: DiskPlan, block: str) -> Encrypted | None:
    """The encrypted block on another one."""
    return next((each for each in plan.encrypted if each.on == block), None)


def partition_of(plan: DiskPlan, role: str) -> Partition | None:
    """The first partition of a role."""
    return next((each for each in plan.partitions if each.role == role), None)


def refused(
    plan: DiskPlan, *, kinds: Sequence[str] = (), levels: Sequence[str], encryption: bool
) -> Iterator[str]:
    """Why an installer cannot make this plan: what it says that the installer does not know.

    Args:
        plan: what shall be made.
        kinds: the file systems that it does not know.
        levels: the RAID levels that it knows.
        encryption: whether it makes LUKS2.
    """
    if plan.erase != "signatures":
        yield f"erase={plan.erase} is done by the agent alone, not by an installer"
    if plan.whole_image:
        yield "an image that brings its own partitions is nothing for an installer"
    if plan.encrypted and not encryption:
        yield "this installer does not make LUKS2 blocks of this form"
    for level in sorted({each.level for each in plan.arrays} - set(levels)):
        yield f"this installer does not make {level}"
    for kind in sorted({each.kind for each in filesystems(plan)} & set(kinds)):
        yield f"this installer does not make {kind}"


def unmounted(plan: DiskPlan) -> Iterator[str]:
    """Why an installer that makes only what it mounts cannot make this plan."""
    for each in filesystems(plan):
        if each.kind != "swap" and each.mount is None:
            yield f"this installer makes no file system without a mount point ({each.on})"
