"""The body that a webhook's receiver gets of an event: small, and with nothing secret.

It is made once, when the event is taken, so that every try of every delivery has the same bytes.
The shape is that of the Standard Webhooks specification: `type`, `timestamp`, `data`.
"""

from typing import Any

import msgspec

from lpmos.core.fleet import Fleet
from lpmos.core.taskrow import TaskRow
from lpmos.model.audit import AuditEvent
from lpmos.model.lifecycle import Status
from lpmos.model.trace import root_of

LIMIT_BYTES = 8_192
REASON_CHARACTERS = 1_000


class Payloads:
    """Makes bodies, with what the fleet knows of the task that an event is about."""

    def __init__(self, fleet: Fleet, public_url: str | None) -> None:
        """`public_url` is where people reach the control plane; links have no host without it."""
        self._fleet = fleet
        self._base = (public_url or "").rstrip("/") + "/api/v1/"

    def __call__(self, event: AuditEvent) -> bytes:
        """The body, at most `LIMIT_BYTES`: what changed is left out where it is too much."""
        data = self._data(event)
        body = _encoded(event, data)
        if len(body) > LIMIT_BYTES:
            slim = {name: data[name] for name in data if name not in ("before", "after", "task")}
            body = _encoded(event, slim | {"truncated": True})
        return body

    def traceparent(self, event: AuditEvent) -> str | None:
        """The span that a message about a task belongs to: the root of that task's trace."""
        kind, _, task_id = event.target.partition("/")
        task = self._fleet.task(task_id) if kind == "task" else None
        return str(root_of(task)) if task else None

    def _data(self, event: AuditEvent) -> dict[str, Any]:
        kind, _, name = event.target.partition("/")
        data: dict[str, Any] = {
            "event_id": event.event_id,
            "target": event.target,
            "by": event.actor.name,
            "tenant": event.tenant,
            "idc": event.idc,
            "sn": event.sn,
            "reason": event.reason and event.reason[:REASON_CHARACTERS],
            "before": event.before,
            "after": event.after,
        }
        if kind == "task":
            task = self._fleet.row(name)
            data["task"] = _summary(task, event) if task else {"task_id": name}
            data["links"] = {"self": f"{self._base}tasks/{name}"}
            if event.action == "task.pending_approval":
                data["links"]["approve"] = f"{self._base}tasks/{name}/approve"
        return {name: value for name, value in data.items() if value is not None}


def _summary(task: TaskRow, event: AuditEvent) -> dict[str, Any]:
    """The task in short; its status is the one that the event tells of."""
    names = ("task_id", "idc", "sn", "mac", "hostname", "os_type", "os_version", "tags")
    summary: dict[str, Any] = {name: getattr(task, name) for name in names}
    created = event.action == "task.created"
    status = Status.PENDING if created else (event.after or {}).get("status", task.status)
    return summary | {"status": status}


def _encoded(event: AuditEvent, data: dict[str, Any]) -> bytes:
    return msgspec.json.encode({"type": event.action, "timestamp": event.at, "data": data})
