"""What a machine still has of its system: after a task that came to nothing (L5), after a job.

The rule: it is given back only to what is still there. Before the claim nothing was written; after
it, the disk of the plan is lost, and a system on another disk is not. Disks are told apart by WWN
or serial number; where neither can be compared, they count as the same one. Once the agent has
handed over, the new system is whole on its disk: the machine starts that one, and nothing can be
given back.

A job takes a system out of the record only where it is known to write over it: a step counts once
its agent says that it writes, and disks that nothing else tells apart are compared by device.
"""

from collections.abc import Sequence

from lpmos.model.diskplan import DiskPlan, Member
from lpmos.model.errors import Conflict, ImpossibleTransition
from lpmos.model.job import STAGE
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, InstalledDisk, Machine
from lpmos.model.retry import untouched
from lpmos.model.task import RolledBack, Task

POSSIBLE = frozenset({Status.FAILED, Status.CANCELLED})
MOST_PERCENT = 99.0
"""What all steps of a job are together in its progress; the agent counts so."""


def previous_generation(task: Task, machine: Machine | None) -> int | None:
    """The installation that the machine has still; None: it had none, and nothing of it is lost.

    Raises:
        ImpossibleTransition: the task is neither failed nor cancelled.
        Conflict: what the machine was before is gone; the text says why, and what to do.
    """
    if task.status not in POSSIBLE:
        raise ImpossibleTransition(
            f"a task that is {task.status.value} cannot be rolled back; possible for those that are"
            " failed or cancelled"
        )
    if task.job is not None:
        raise Conflict(
            "the task is a job, which installs nothing that could be taken back: the machine boots"
            " its own disk, or where the job wrote to that, or it had none, does what its region"
            " does with machines without a system"
        )
    installed = machine.installed if machine else None
    generation = installed.generation if installed else None
    if untouched(task) or task.plan is None:
        return generation
    if task.handed_over_at is not None:
        raise Conflict(
            f"{_subject(task.plan, 'holds', 'hold')} the new system ({task.os_type}"
            f" {task.os_version}), whole: the machine starts it, or another one that firmware finds"
            " first; try the task again,"
            " or leave the machine as it is"
        )
    written = f"{_subject(task.plan, 'was', 'were')} being written when the task was"
    written += f" {task.status.value}"
    if installed is not None:
        if _stands_elsewhere(installed, task.plan.disks):
            return generation
        raise Conflict(
            f"{written}, and generation {generation} ({installed.os_type} {installed.os_version})"
            " stood there or its disk is not known: it is gone; try the task again"
        )
    if held := task.plan.all_overwrites:
        raise Conflict(f"{written}, and held {', '.join(held)}: that is gone; try the task again")
    return None


def disks_of(plan: DiskPlan) -> tuple[InstalledDisk, ...]:
    """The disks of a plan, the first one first."""
    return tuple(
        InstalledDisk(device=disk.device, serial=disk.serial, wwn=disk.wwn) for disk in plan.disks
    )


def next_boot(back: RolledBack) -> str:
    """What the machine does when it boots from the network next, for people."""
    if back.generation is not None:
        return f"the machine boots its own disk: generation {back.generation}"
    return "the machine is one without a task: it does what its region does with unknown machines"


def lost_to(job: Task, installed: Installed) -> bool:
    """Whether a job has begun to write to a disk of the installed system.

    A step counts once its agent told of more percent than at its beginning, which it does after its
    checks and before it writes. Of a system whose disk is not known (an earlier version installed
    it) nothing can be said: it stays.
    """
    if installed.disk is None or job.job_plan is None or untouched(job):
        return False
    written = job.job_plan.written_by(_steps_begun(job, len(job.job_plan.steps)))
    stands = (installed.disk, *installed.members)
    return any(_is_lost(each, disk) for each in written for disk in stands)


def _steps_begun(job: Task, count: int) -> int:
    """How many of its steps have passed, or do what they shall."""
    passed = sum(each.outcome == "passed" for each in job.results)
    percent = max((each.percent for each in job.progress if each.step == STAGE), default=0.0)
    return passed + (percent > round(MOST_PERCENT * passed / count, 2))


def _subject(plan: DiskPlan, of_one: str, of_several: str) -> str:
    """The disks of a plan with their verb."""
    devices = ", ".join(disk.device for disk in plan.disks)
    return f"{devices} {of_several if plan.members else of_one}"


def _stands_elsewhere(installed: Installed, writes: Sequence[Member]) -> bool:
    """Whether none of its disks can be one of those that are written to."""
    if installed.disk is None:
        return False
    stands = (installed.disk, *installed.members)
    return all(_is_same(written, disk) is False for written in writes for disk in stands)


def _is_lost(written: Member, disk: InstalledDisk) -> bool:
    same = _is_same(written, disk)
    return written.device == disk.device if same is None else same


def _is_same(written: Member, disk: InstalledDisk) -> bool | None:
    """By WWN, else by serial number; None where neither can be compared."""
    for one, other in ((written.wwn, disk.wwn), (written.serial, disk.serial)):
        if one and other:
            return one == other
    return None
