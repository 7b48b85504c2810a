"""What happened to a task, as the API tells it: its states, the steps of its install, its retry."""

from datetime import datetime
from itertools import pairwise, starmap

import msgspec

from lpmos.core.firstboot import RESTARTING, came_up_at
from lpmos.core.taskrow import TaskRow
from lpmos.model.boot import MOMENTS
from lpmos.model.lifecycle import Status
from lpmos.model.rollback import next_boot
from lpmos.model.task import StatusChange, Task
from lpmos.model.waiting import in_words


class TimelineEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened: a status, a step of the install, a moment of a boot, or another.

    Moments are those of `lpmos.model.boot`, as `boot.kernel`, of the boot that brought the agent,
    and `restart.…`, of that into the installed system; they are there as the region sees them,
    before the agent has reported and the system has called. `came_up`: the installed system called.
    `rolled_back`: the machine was given back. `retried`: another task tries it again.

    `by` did it, as far as it is known; `task_id` is the other task that it is about. `after_s` are
    the seconds since the entry before: of a step, how long it took.
    """

    timestamp: datetime
    event: str
    detail: str = ""
    by: str | None = None
    task_id: str | None = None
    after_s: float | None = None


def timeline(task: Task, retry: TaskRow | None = None) -> list[TimelineEntry]:
    """What happened to the task, oldest first: its states, its boots, its steps, its retry.

    The order is that of the document: clocks of different parts may differ.
    """
    entries = [_of_change(task, change) for change in task.status_history]
    _insert_boot(entries, task)
    started = next(
        (at for at, entry in enumerate(entries, 1) if entry.event == Status.INSTALLING.value), 0
    )
    entries[started:started] = [
        _restart(task.handed_over_at)
        if task.handed_over_at and step.step == RESTARTING
        else TimelineEntry(step.timestamp, step.step, _of_step(step.percent, step.message))
        for step in task.progress
    ]
    if task.handed_over_at is not None:
        came_up = came_up_at(task)
        over_before = task.status is Status.COMPLETED or (task.finished and came_up is None)
        place = len(entries) - over_before
        entries[place:place] = [
            *_moments(task, "restart."),
            *([_came_up(came_up, task.handed_over_at)] if came_up else []),
        ]
    if (back := task.rolled_back) is not None:
        said = next_boot(back)
        entries.append(TimelineEntry(back.at, "rolled_back", said, by=back.by))
    if retry is not None:
        said = f"as attempt {retry.attempt}"
        entries.append(
            TimelineEntry(
                retry.created_at, "retried", said, by=retry.created_by, task_id=retry.task_id
            )
        )
    return [entries[0], *starmap(_after, pairwise(entries))] if entries else []


def _moments(task: Task, prefix: str) -> list[TimelineEntry]:
    seen = sorted((at, name) for name, at in task.boot.items() if name.startswith(prefix))
    return [TimelineEntry(at, name, MOMENTS.get(name, "")) for at, name in seen]


def _insert_boot(entries: list[TimelineEntry], task: Task) -> None:
    """Put each moment of the agent's boot before the first state that is later than it."""
    places = [at for at, each in enumerate(entries) if each.event == Status.INSTALLING.value]
    last, place = places[0] if places else len(entries), 0
    for moment in _moments(task, "boot."):
        while place < last and entries[place].timestamp <= moment.timestamp:
            place += 1
        entries.insert(place, moment)
        place, last = place + 1, last + 1


def _after(before: TimelineEntry, entry: TimelineEntry) -> TimelineEntry:
    """The entry with the time since the one before; not where two clocks make that negative."""
    passed = round((entry.timestamp - before.timestamp).total_seconds(), 3)
    return msgspec.structs.replace(entry, after_s=passed) if passed >= 0 else entry


def _of_change(task: Task, change: StatusChange) -> TimelineEntry:
    created = change.status is Status.PENDING
    return TimelineEntry(
        change.timestamp,
        change.status.value,
        change.reason or _detail(task, change.status),
        by=task.created_by if created else change.by or _decided_by(task, change.status),
        task_id=task.retry_of if created else None,
    )


def _restart(at: datetime) -> TimelineEntry:
    return TimelineEntry(at, RESTARTING, "the machine starts the installed system")


def _came_up(at: datetime, restarted_at: datetime) -> TimelineEntry:
    said = f"{in_words(at - restarted_at)} after the restart began"
    return TimelineEntry(at, "came_up", said)


def _of_step(percent: float, message: str) -> str:
    return f"{percent:.0f} %" + (f": {message}" if message else "")


def _detail(task: Task, status: Status) -> str:
    approval = task.approval
    if status is Status.PENDING:
        return f"to try {task.retry_of} again" if task.retry_of else ""
    if status is Status.APPROVED and approval:
        return approval.notes or ""
    if status is Status.REJECTED and approval:
        return approval.reason or ""
    if status is Status.FAILED and task.error:
        return task.error.reason
    return ""


def _decided_by(task: Task, status: Status) -> str | None:
    approval = task.approval
    if status is Status.APPROVED and approval:
        return approval.approved_by
    return approval.rejected_by if status is Status.REJECTED and approval else None
