"""Whether a run of a fleet lost anything or did anything twice.

Pure: what the control plane says of the tasks is held against what the machines went through.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import msgspec

from lpmos.lab.api_client import TaskState
from lpmos.lab.fleet.profiles import Fault
from lpmos.model.lifecycle import FINAL, TRANSITIONS, Status

SAID = 5
"""So many of each kind of breach are named."""


class Lived(msgspec.Struct, frozen=True):
    """What a machine went through, as it noted it: installs begun and finished.

    `disk` is the serial number of its one disk, `wrote` has task and disk of each install begun.
    """

    sn: str
    faults: frozenset[Fault]
    must_fail: bool
    installs: int
    installed: int
    says: str
    disk: str
    wrote: tuple[tuple[str, str], ...] = ()


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """An invariant that does not hold: of how many machines, and some of them."""

    invariant: str
    count: int
    examples: tuple[str, ...]


def breaches(tasks: Mapping[str, TaskState], machines: Sequence[Lived]) -> tuple[Breach, ...]:
    """Every invariant that does not hold, over the tasks by serial number and all machines."""
    found: dict[str, list[str]] = {}
    for machine in machines:
        for invariant, said in _of_machine(tasks.get(machine.sn), machine):
            found.setdefault(invariant, []).append(f"{machine.sn}: {said} ({machine.says})")
    return tuple(
        Breach(invariant=name, count=len(said), examples=tuple(said[:SAID]))
        for name, said in found.items()
    )


def _of_machine(task: TaskState | None, machine: Lived) -> list[tuple[str, str]]:
    if task is None:
        return [("no task is lost", "it has no task")]
    found = []
    if task.status not in FINAL:
        found.append(("every task ends", f"it is {task.status.value}"))
    if machine.installs > 1 or machine.installed > 1:
        found.append(("nothing is installed twice", f"{machine.installs} installs began"))
    foreign = [each for each in machine.wrote if each != (task.task_id, machine.disk)]
    if foreign:
        said = ", ".join(f"disk {disk} for task {task_id}" for task_id, disk in foreign)
        found.append(("only its own disk is written", said))
    completed = task.status is Status.COMPLETED
    if completed != (machine.installed == 1):
        said = f"the task is {task.status.value}, and it was installed {machine.installed} times"
        found.append(("completed is what was installed", said))
    if task.status in FINAL and completed == machine.must_fail:
        faults = ", ".join(sorted(machine.faults)) or "no fault"
        reason = task.error.reason if task.error else ""
        found.append(("only what has to fail fails", f"{task.status.value}, {faults}: {reason}"))
    if wrong := _wrong_step(task):
        found.append(("the history is complete", wrong))
    return found


def _wrong_step(task: TaskState) -> str | None:
    """A step of the history that the lifecycle does not know; None where there is none."""
    statuses = [change.status for change in task.status_history]
    if not statuses or statuses[0] is not Status.PENDING or statuses[-1] is not task.status:
        return f"it is {[status.value for status in statuses]} for {task.status.value}"
    steps = {(before, after) for (before, _), after in TRANSITIONS.items()}
    for before, after in pairwise(statuses):
        if before is not after and (before, after) not in steps:
            return f"{before.value} to {after.value}"
    return None
