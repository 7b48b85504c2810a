"""What happened to a task, as the API tells it: its states, the steps of its install, its retry."""

from datetime import datetime

import msgspec

from lpmos.core.taskrow import TaskRow
from lpmos.model.lifecycle import Status
from lpmos.model.rollback import next_boot
from lpmos.model.task import StatusChange, Task


class TimelineEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened: a status, a step of the install, `rolled_back` or `retried`.

    `by` did it, as far as it is known; `task_id` is the other task that it is about.
    """

    timestamp: datetime
    event: str
    detail: str = ""
    by: str | None = None
    task_id: str | None = None


def timeline(task: Task, retry: TaskRow | None = None) -> list[TimelineEntry]:
    """What happened to the task, oldest first: its states, the steps of its install, its retry.

    The order is that of the document: clocks of different parts may differ.
    """
    entries = [_of_change(task, change) for change in task.status_history]
    started = next(
        (at for at, entry in enumerate(entries, 1) if entry.event == Status.INSTALLING.value), 0
    )
    entries[started:started] = [
        TimelineEntry(step.timestamp, step.step, _of_step(step.percent, step.message))
        for step in task.progress
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
    return entries


def _of_change(task: Task, change: StatusChange) -> TimelineEntry:
    created = change.status is Status.PENDING
    return TimelineEntry(
        change.timestamp,
        change.status.value,
        _detail(task, change.status),
        by=task.created_by if created else change.by or _decided_by(task, change.status),
        task_id=task.retry_of if created else None,
    )


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
