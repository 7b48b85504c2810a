"""The word of a change, as an operation of the change's own transaction.

Nobody writes an event by itself but to tell of what was refused; what is done and the event that
tells of it are stored together or not at all.
"""

from datetime import datetime
from typing import Any

import msgspec

from lpmos.model.audit import Actor, AuditEvent, fitted, new_event_id
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import Put


def told(
    action: str,
    target: str,
    by: Actor,
    at: datetime,
    *,
    tenant: str | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    reason: str | None = None,
) -> Put:
    """The operation that stores the event of a change.

    Args:
        action: `thing.verb`, as `user.changed`.
        target: `thing/id`.
        by: who does it.
        at: when.
        tenant: whom it belongs to; the actor's where not given.
        before: what was there, without secrets; only the fields that differ are kept.
        after: what is there now; likewise.
        reason: what the actor said.
    """
    if before is not None and after is not None:
        same = {name for name, value in before.items() if after.get(name, _MISSING) == value}
        before = {name: value for name, value in before.items() if name not in same}
        after = {name: value for name, value in after.items() if name not in same}
    event = AuditEvent(
        event_id=new_event_id(at),
        at=at,
        action=action,
        actor=by,
        target=target,
        tenant=tenant or by.tenant,
        before=before,
        after=after,
        reason=reason,
    )
    return put(event)


def told_of_task(before: Task | None, after: Task, by: Actor) -> Put:
    """The operation that stores a task's step: `task.created`, or `task.STATUS`."""
    event = AuditEvent(
        event_id=new_event_id(after.updated_at),
        at=after.updated_at,
        action="task.created" if before is None else f"task.{after.status.value}",
        actor=by,
        target=f"task/{after.task_id}",
        tenant=after.tenant,
        idc=after.idc,
        sn=after.sn,
        before=None if before is None else {"status": before.status.value},
        after=_shown(after) if before is None else {"status": after.status.value},
        reason=_reason(after) if before is not None else None,
    )
    return put(event)


def put(event: AuditEvent) -> Put:
    """The operation that stores an event, with what is too long for it left out."""
    return Put(keys.event(event.event_id), records.encode(fitted(event)))


_MISSING = object()


def _shown(task: Task) -> dict[str, Any]:
    names = ("mac", "hostname", "os_type", "os_version", "method", "tags", "retry_of")
    shown = {name: getattr(task, name) for name in names}
    shown["disk_layout"] = msgspec.to_builtins(task.disk_layout)
    shown["root_disk"] = msgspec.to_builtins(task.root_disk)
    return {name: value for name, value in shown.items() if value not in (None, {}, ())}


def _reason(task: Task) -> str | None:
    if task.error is not None:
        return task.error.reason
    if (why := task.status_history[-1].reason) is not None:
        return why
    approval = task.approval
    return (approval.reason or approval.notes) if approval else None
