"""The trace that the present call belongs to, so that logs, tasks and outgoing calls meet in it.

The rule: a context is of one call and ends with it. Who calls says it by the header `traceparent`;
as soon as a call is known to be about a task, that task's trace counts for what is logged, and for
the call's own span where its caller named none.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from structlog.contextvars import bind_contextvars, unbind_contextvars

from lpmos.model.task import Task
from lpmos.model.trace import root_of, trace_id
from lpmos.model.tracecontext import TraceContext, parse_traceparent
from lpmos.store.spans import made_for, under_way

_CALLER: ContextVar[TraceContext | None] = ContextVar("caller", default=None)


def caller() -> TraceContext | None:
    """The span that makes the present call; None where it said nothing of any."""
    return _CALLER.get()


@contextmanager
def called(headers: Sequence[str]) -> Iterator[None]:
    """One call, with all that it has of the header `traceparent`: one counts, several do not."""
    context = parse_traceparent(headers[0]) if len(headers) == 1 else None
    token = _CALLER.set(context)
    if context is not None:
        bind_contextvars(trace_id=context.trace_id, span_id=context.span_id)
    try:
        yield
    finally:
        unbind_contextvars("trace_id", "span_id")
        _CALLER.reset(token)


def about(task: Task) -> None:
    """From here on, what the present call logs is of this task's trace, as the call itself is."""
    bind_contextvars(trace_id=trace_id(task))
    if under_way():
        made_for(root_of(task))


def named(task: Task) -> dict[str, str]:
    """How a line of the log names a task outside of any call."""
    return {"task_id": task.task_id, "trace_id": trace_id(task)}
