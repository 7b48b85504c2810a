"""What a region saw of a task's machine, and what of it goes into the task."""

from collections.abc import Callable
from datetime import datetime

import msgspec

from lpmos.core.firstboot import came_up_at
from lpmos.core.fleet import Fleet
from lpmos.model.boot import boot_moments, moments_so_far, restart_moments
from lpmos.model.evidence import Evidence
from lpmos.model.task import Task
from lpmos.store import keys, records

Seen = Callable[[str], Evidence]
"""What was seen of the machine with this MAC until now."""


def nothing_seen(mac: str) -> Evidence:
    """Of a machine whose boots nobody sees."""
    return Evidence(mac=mac)


def stored(fleet: Fleet, idc: str, sn: str) -> Evidence | None:
    """The signs of a machine as memory has them; damaged ones are none."""
    kv = fleet.stored(keys.evidence(idc, sn))
    try:
        return records.decode(kv, Evidence) if kv else None
    except records.DamagedRecord:
        return None  # it only helps people; the next sign writes it anew


def seen_of(fleet: Fleet, task: Task) -> Evidence:
    """The signs of this task's machine that are newer than the task."""
    found = stored(fleet, task.idc, task.sn)
    if found is None or found.mac != task.mac:
        return Evidence(mac=task.mac)
    return found.since(task.created_at)


def so_far(fleet: Fleet, task: Task) -> Task:
    """The task with what its region saw of a boot that has not come into the task yet.

    That are the moments which the agent's report will write into it, and the installed system's
    first word. A task that is not its machine's last has none: what is seen is of another.
    """
    boots = task.hardware is None and not task.boot
    restarts = task.handed_over_at is not None and came_up_at(task) is None
    row = fleet.current_row((task.idc, task.sn))
    if row is None or row.task_id != task.task_id or not (boots or restarts):
        return task
    seen = seen_of(fleet, task)
    if restarts:
        return with_restart(task, seen, seen.newest or task.created_at)
    return msgspec.structs.replace(task, boot=moments_so_far(seen.boot, task.created_at))


def with_boot(task: Task, seen: Evidence, now: datetime) -> Task:
    """The task whose agent reports now, with the moments of the boot that brought it."""
    return msgspec.structs.replace(task, boot=boot_moments(seen.boot, now))


def with_restart(task: Task, seen: Evidence, now: datetime) -> Task:
    """The task whose installed system speaks now, with what was seen of it since the restart."""
    if task.handed_over_at is None:
        return task
    found = restart_moments(seen.boot, task.handed_over_at, now)
    return msgspec.structs.replace(task, boot=task.boot | found)
