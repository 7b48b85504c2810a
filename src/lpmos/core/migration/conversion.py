"""An old task as v3's document; the same task, machine and time always give the same bytes.

Safety first: an install that has not begun begins anew, and must be approved again; one that was
under way has failed, because nobody drives it any more. The moment of the migration is a part of
what a task that waits has, so that its deadlines count from there.
"""

from datetime import datetime

import msgspec

from lpmos.core.fitting import fitted
from lpmos.core.migration.oldtask import OldTask, Outcome
from lpmos.core.taskstore import logged
from lpmos.model.audit import Actor
from lpmos.model.lifecycle import Status
from lpmos.model.machine import hostname_from_sn
from lpmos.model.task import LOG_LINE_BYTES, LOG_LINES, StatusChange, Task, TaskError

MIGRATION = Actor(name="migration")

STATUSES = {
    Outcome.NOT_BEGUN: Status.PENDING,
    Outcome.RUNNING: Status.FAILED,
    Outcome.COMPLETED: Status.COMPLETED,
    Outcome.FAILED: Status.FAILED,
    Outcome.REJECTED: Status.REJECTED,
    Outcome.CANCELLED: Status.CANCELLED,
}
"""What each outcome is in v3."""

INTERRUPTED = TaskError(
    reason="the install was under way in the older system; nobody drives it any more",
    hint="look at the machine; if its system is not whole, install it again with a new task",
)
NO_REASON = TaskError(reason="it failed in the older system, which kept no reason")


def convert(old: OldTask, sn: str, at: datetime) -> tuple[Task, bytes]:
    """The task of machine `sn`, carried over at `at`, and its document.

    Raises:
        RecordTooLarge: all that can be cut is cut.
    """
    status = STATUSES[old.outcome]
    waits = old.outcome is Outcome.NOT_BEGUN
    kept = tuple(map(_line, old.logs[-LOG_LINES:]))
    task = Task(
        task_id=old.task_id,
        idc=old.idc,
        sn=sn,
        mac=old.mac,
        os_type=old.os_type,
        os_version=old.os_version,
        hostname=old.hostname or hostname_from_sn(sn),
        disk_layout=old.disk_layout,
        network_config=old.network_config,
        tags=old.tags,
        tenant=old.tenant,
        status=status,
        status_history=_history(old, status, at),
        progress=() if waits else old.progress,
        logs=kept,
        log_count=len(old.logs),
        hardware=old.hardware,
        approval=None if waits else old.approval,
        error=_error(old),
        created_at=old.created_at,
        updated_at=at if waits else old.changed_at,
        created_by=old.created_by,
    )
    line = f"[INFO] carried over from {old.layout} task {old.old_id[:80]}, which was {old.status}"
    if waits and old.approval is not None:
        line += "; it must be approved again"
    return fitted(logged(task, task.updated_at, line))


def identity(task: Task) -> dict[str, object]:
    """What never changes in a task, however far it goes on."""
    names = ("task_id", "idc", "sn", "mac", "os_type", "os_version", "hostname", "disk_layout",
             "network_config", "tags", "created_at", "created_by")  # fmt: skip
    return {name: getattr(task, name) for name in names}


def differing(expected: Task, found: Task) -> list[str]:
    """The names of the fields that differ."""
    names = msgspec.structs.fields(Task)
    return [
        each.name for each in names if getattr(expected, each.name) != getattr(found, each.name)
    ]


def gone_on(expected: Task, found: Task) -> bool:
    """Whether `found` is what v3's own parts can have made of a task that was to go on."""
    steps = expected.status_history
    return (
        not expected.finished
        and identity(expected) == identity(found)
        and found.status_history[: len(steps)] == steps
        and len(found.status_history) > len(steps)
    )


def _history(old: OldTask, status: Status, at: datetime) -> tuple[StatusChange, ...]:
    """The steps of which the old task kept the time."""
    steps = [StatusChange(status=Status.PENDING, timestamp=old.created_at, by=old.created_by)]
    if old.outcome is Outcome.NOT_BEGUN:
        again = StatusChange(status=Status.PENDING, timestamp=at, by=MIGRATION.name)
        return (*steps, again)
    between = []
    if old.hardware is not None:
        reported = old.hardware.collected_at
        between.append(StatusChange(status=Status.PENDING_APPROVAL, timestamp=reported))
    approval = old.approval
    if approval is not None and approval.approved and approval.approved_at is not None:
        by = approval.approved_by
        step = StatusChange(status=Status.APPROVED, timestamp=approval.approved_at, by=by)
        between.append(step)
    steps += [step for step in between if old.created_at <= step.timestamp <= old.changed_at]
    by = approval.rejected_by if approval and status is Status.REJECTED else None
    return (*steps, StatusChange(status=status, timestamp=old.changed_at, by=by))


def _error(old: OldTask) -> TaskError | None:
    if old.outcome is Outcome.RUNNING:
        output = old.error.reason if old.error else None
        return msgspec.structs.replace(INTERRUPTED, output=output)
    if old.outcome is Outcome.FAILED:
        return old.error or NO_REASON
    return None


def _line(text: str) -> str:
    """A line as the model keeps it: one line, of whole characters."""
    line = " ".join(text.split()).encode(errors="replace")
    return line[:LOG_LINE_BYTES].decode(errors="ignore")
