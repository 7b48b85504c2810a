"""What a region saw of a task's machine, as memory has it."""

from lpmos.core.fleet import Fleet
from lpmos.model.evidence import Evidence
from lpmos.model.task import Task
from lpmos.store import keys, records


def seen_of(fleet: Fleet, task: Task) -> Evidence:
    """The signs of this task's machine that are newer than the task; damaged ones are none."""
    kv = fleet.stored(keys.evidence(task.idc, task.sn))
    try:
        found = records.decode(kv, Evidence) if kv else None
    except records.DamagedRecord:
        found = None  # it only helps people; the next sign writes it anew
    if found is None or found.mac != task.mac:
        return Evidence(mac=task.mac)
    return found.since(task.created_at)
