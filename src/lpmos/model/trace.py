"""A task as one trace (O2): from its creation through the boot to the word of its own system.

Everything is made from the task's document, with what its region saw in it, so every control plane
makes the same spans with the same ids, and one that is sent twice is one. The trace id is the
task's id, or that of the trace in which somebody asked for the task; ids are of the W3C Trace
Context recommendation's form. The id of a span follows from its parent's and its name alone, so
that an agent, which is told the root's id by its kernel line, sends the very ids that are made
here.
"""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from typing import Literal

import msgspec

from lpmos.model import boot
from lpmos.model.durations import FIRST_BOOT
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from lpmos.model.tracecontext import TraceContext, parse_traceparent

ROOT = "install"
_FILES = (
    (boot.KERNEL_ASKED, boot.KERNEL),
    (boot.INITRAMFS_ASKED, boot.INITRAMFS),
)


Attributes = dict[str, str | int | float | bool]
Kind = Literal["internal", "server", "client"]


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One stretch of time; ids are lower-case hex of 16 and 8 bytes. `error` None: it went well.

    `kind`: whether somebody else called for it, or it is a call to somebody else.
    """

    trace_id: str
    span_id: str
    parent_id: str | None
    name: str
    start: datetime
    end: datetime
    attributes: Attributes
    error: str | None = None
    kind: Kind = "internal"


def trace_id(task: Task) -> str:
    """The id of a task's trace: that of who asked for it, else the task's own without dashes."""
    asked = _asked(task)
    return asked.trace_id if asked else task.task_id.replace("-", "")


def root_of(task: Task) -> TraceContext:
    """The root of a task's trace, which all that is done for the task has as its parent."""
    return TraceContext(trace_id=trace_id(task), span_id=child_id(task.task_id, ROOT))


def span_of(task: Task, name: str) -> TraceContext:
    """The span of this name below a task's root: that of a call which is made in it."""
    root = root_of(task)
    return TraceContext(trace_id=root.trace_id, span_id=child_id(root.span_id, name))


def child_id(parent_id: str, name: str) -> str:
    """The id of the span of this name below another; never zero."""
    digest = hashlib.sha256(f"{parent_id}/{name}".encode()).hexdigest()
    return digest[:16] if int(digest[:16], 16) else "1".zfill(16)


def _asked(task: Task) -> TraceContext | None:
    """The span in which the task was asked for."""
    return parse_traceparent(task.traceparent)


def spans(task: Task) -> tuple[Span, ...]:
    """The trace of a task that has ended, its root first."""
    end = task.status_history[-1].timestamp if task.status_history else task.updated_at
    asked = _asked(task)
    root = Span(
        trace_id=trace_id(task),
        span_id=root_of(task).span_id,
        parent_id=asked.span_id if asked else None,
        name=f"{ROOT} {task.os_type} {task.os_version}",
        start=task.created_at,
        end=max(end, task.created_at),
        attributes=_attributes(task),
        error=task.error.reason if task.error and task.status is Status.FAILED else None,
    )
    return (root, *_of_statuses(task), *_of_moments(task, end), *_of_install(task))


def _attributes(task: Task) -> Attributes:
    """What people look for; nothing that is a secret of the task."""
    found: Attributes = {
        "lpmos.task.id": task.task_id,
        "lpmos.task.status": task.status.value,
        "lpmos.task.attempt": task.attempt,
        "lpmos.idc": task.idc,
        "lpmos.sn": task.sn,
        "lpmos.mac": task.mac,
        "lpmos.os": f"{task.os_type} {task.os_version}",
        "host.name": task.hostname,
    }
    product = task.hardware.product if task.hardware else None
    if product and product.name:
        found["lpmos.model"] = product.name
    return found


def _of_statuses(task: Task) -> Iterator[Span]:
    for number, (change, following) in enumerate(pairwise(task.status_history)):
        end = following.timestamp
        if change.status is Status.INSTALLING and task.handed_over_at is not None:
            yield _child(task, FIRST_BOOT, FIRST_BOOT, task.handed_over_at, end)
            end = task.handed_over_at
        status = change.status.value
        by = {"lpmos.by": following.by} if following.by else {}
        yield _child(task, f"{number}-{status}", status, change.timestamp, end, **by)


def _of_moments(task: Task, end: datetime) -> Iterator[Span]:
    """Of both its boots; what was before the task or after its end is no part of it."""
    moments = {name: at for name, at in task.boot.items() if task.created_at <= at <= end}
    if task.reported_at is not None:
        moments.setdefault(boot.AGENT, task.reported_at)
    for asked, sent in _FILES:
        if asked in moments and sent in moments:
            yield _child(task, sent, sent, moments.pop(asked), moments.pop(sent))
    for name, at in moments.items():
        yield _child(task, name, name, at, at)


def _of_install(task: Task) -> Iterator[Span]:
    begin = next((c.timestamp for c in task.status_history if c.status is Status.INSTALLING), None)
    for step in task.progress:
        if task.handed_over_at is not None and step.timestamp >= task.handed_over_at:
            return
        if begin is not None:
            name = f"install.{step.step}"
            given = {"lpmos.percent": step.percent}
            if step.bytes_done is not None:
                given["lpmos.bytes"] = step.bytes_done
            yield _child(task, name, name, begin, step.timestamp, **given)
        begin = step.timestamp


def _child(
    task: Task,
    key: str,
    name: str,
    start: datetime,
    end: datetime,
    **attributes: str | float,
) -> Span:
    root = root_of(task)
    return Span(
        trace_id=root.trace_id,
        span_id=child_id(root.span_id, key),
        parent_id=root.span_id,
        name=name,
        start=start,
        end=max(start, end),
        attributes=attributes,
    )
