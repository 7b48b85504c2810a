"""The generation of a machine's system (S3): what an install that is done leaves in its record.

A job that writes to a disk of that system takes it out of the record: it is gone.
"""

import msgspec

from lpmos.core.firstboot import came_up_at
from lpmos.core.taskstore import RecordStep
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, Machine
from lpmos.model.rollback import disks_of, lost_to
from lpmos.model.task import Task


def installed(task: Task) -> RecordStep | None:
    """What makes the record's next generation: of a completion, or a system that came up late.

    Of a job that writes, what leaves the record without the system that it wrote over.
    """
    if task.job is not None:
        return (lambda known: known and _without_lost(task, known)) if task.job.writes else None
    if task.status is Status.COMPLETED or came_up_at(task) is not None:
        return lambda known: known and _with_generation(task, known)
    return None


def _without_lost(job: Task, known: Machine) -> Machine:
    if known.installed is None or not lost_to(job, known.installed):
        return known
    return msgspec.structs.replace(known, installed=None, updated_at=job.updated_at)


def _with_generation(task: Task, known: Machine) -> Machine:
    generation = known.installed.generation + 1 if known.installed else 1
    first, *members = disks_of(task.plan) if task.plan else (None,)
    system = Installed(
        generation=generation,
        task_id=task.task_id,
        os_type=task.os_type,
        os_version=task.os_version,
        installed_at=task.updated_at,
        disk=first,
        members=tuple(members),
    )
    return msgspec.structs.replace(known, installed=system, updated_at=task.updated_at)
