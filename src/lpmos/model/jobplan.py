"""From an inventory and the steps of a job to the exact disks of each step.

The rule that keeps data safe: a disk is written to only where the job names it by its serial
number, and one that holds anything only where the job says `overwrite` of it besides.
"""

from lpmos.model.diskplan import Member, RootDiskHints
from lpmos.model.diskplan.choice import differing_hint, not_erasable, paths_of, unusable
from lpmos.model.errors import NoSuitableDisk
from lpmos.model.inventory import Disk, Inventory
from lpmos.model.job import DiskErase, DiskTest, Job, JobPlan, JobStep, PlannedStep, name_of, writes

EVERY = RootDiskHints()


def plan_job(inventory: Inventory, job: Job) -> JobPlan:
    """Find the disks of each step.

    Raises:
        NoSuitableDisk: a step finds none, or one that it must not write to; the text says why.
    """
    steps = []
    named: dict[str, Member] = {}
    for number, step in enumerate(job.steps, 1):
        disks = _disks(inventory, step, f"step {number} ({name_of(step)})")
        named |= {disk.device: _member(disk) for disk in disks}
        devices = tuple(disk.device for disk in disks)
        steps.append(PlannedStep(asked=step, devices=devices, writes=writes(step)))
    return JobPlan(steps=tuple(steps), disks=tuple(named.values()))


def _disks(inventory: Inventory, step: JobStep, where: str) -> list[Disk]:
    if not isinstance(step, DiskTest | DiskErase):
        return []
    if writes(step):
        return [_written(inventory, hints, step, where) for hints in dict.fromkeys(step.disks)]
    found: dict[str, Disk] = {}
    for hints in step.disks or (EVERY,):
        fitting = _readable(inventory, hints)
        if not fitting:
            text = "no disk is what it names" if step.disks else "the machine has no disk"
            raise NoSuitableDisk(f"{where}: {text}{_listing(inventory, hints)}")
        found |= {disk.device: disk for disk in fitting}
    return list(found.values())


def _readable(inventory: Inventory, hints: RootDiskHints) -> list[Disk]:
    """The disks that fit, one path of each; what is removable only where it is named."""
    paths = paths_of(inventory)
    found: dict[str, Disk] = {}
    for disk in inventory.disks:
        fits = differing_hint(disk, hints) is None and (not disk.removable or hints != EVERY)
        if fits and not any(path in found for path in paths[disk.device]):
            found[disk.device] = disk
    return list(found.values())


def _written(
    inventory: Inventory, hints: RootDiskHints, step: DiskTest | DiskErase, where: str
) -> Disk:
    fitting = [disk for disk in inventory.disks if differing_hint(disk, hints) is None]
    if not fitting:
        text = f"no disk is what it names{_listing(inventory, hints)}"
        raise NoSuitableDisk(f"{where}: {text}")
    if len(fitting) > 1:
        devices = ", ".join(disk.device for disk in fitting)
        raise NoSuitableDisk(f"{where}: {devices} have the serial number {hints.serial}")
    disk = fitting[0]
    reason = unusable(disk, paths_of(inventory))
    if reason is None and isinstance(step, DiskErase):
        reason = not_erasable(disk, step.level)
    if reason is None and disk.contents and not hints.overwrite:
        reason = f"holds {', '.join(disk.contents)}: say `overwrite` of it where that may be lost"
    if reason is not None:
        raise NoSuitableDisk(f"{where}: {disk.device} {reason}")
    return disk


def _listing(inventory: Inventory, hints: RootDiskHints) -> str:
    reasons = "; ".join(
        f"{disk.device}: {differing_hint(disk, hints)} differs" for disk in inventory.disks
    )
    return f" ({reasons})" if reasons and hints != EVERY else ""


def _member(disk: Disk) -> Member:
    return Member(
        device=disk.device,
        size_bytes=disk.size_bytes,
        serial=disk.serial,
        wwn=disk.wwn,
        model=disk.model,
        overwrites=disk.contents,
    )
