"""What one call asked of the store, as spans of its trace (O2).

A call that is traced has a `Trail` in its context, and what is called within it adds its spans
there. Anywhere else, as in all background work and wherever nobody collects traces, nothing is
made. The rule: names and attributes have few values, and none is a key or a value of the store.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta

from lpmos.model.errors import LpmosError
from lpmos.model.trace import Attributes, Kind, Span
from lpmos.model.tracecontext import TraceContext

SPANS_LIMIT = 100
"""What a call does beyond that is only counted."""


class Trail:
    """The spans within one call, whose own span is `root`; `began` is the time now."""

    def __init__(self, root: TraceContext, began: datetime) -> None:
        self.root = root
        self.began = began
        self.spans: list[Span] = []
        self.left_out = 0
        self.ended = False
        """Once its call is over; what that has started and goes on is of no trace."""
        self._origin_s = time.perf_counter()

    def now(self) -> datetime:
        """The time, by a clock that is never set."""
        return self.began + timedelta(seconds=time.perf_counter() - self._origin_s)

    def add(self, span: Span) -> None:
        """Keep a span, or count it where there are too many."""
        if len(self.spans) < SPANS_LIMIT:
            self.spans.append(span)
        else:
            self.left_out += 1


_UNDER_WAY: ContextVar[tuple[Trail, TraceContext] | None] = ContextVar("span", default=None)


def new_span_id() -> str:
    """An id that no other span has."""
    return secrets.token_hex(8)


def under_way() -> TraceContext | None:
    """The span that the present code runs in; None where nothing is traced."""
    found = _UNDER_WAY.get()
    return found[1] if found and not found[0].ended else None


@contextmanager
def following(trail: Trail) -> Iterator[None]:
    """Have what is called in the block add its spans."""
    token = _UNDER_WAY.set((trail, trail.root))
    try:
        yield
    finally:
        trail.ended = True
        _UNDER_WAY.reset(token)


@contextmanager
def spanned(name: str, attributes: Attributes, kind: Kind = "internal") -> Iterator[None]:
    """Make the block a span, where the present call is traced; what it raises is its error."""
    found = _UNDER_WAY.get()
    if found is None or found[0].ended:
        yield
        return
    trail, parent = found
    own = TraceContext(trace_id=parent.trace_id, span_id=new_span_id())
    token = _UNDER_WAY.set((trail, own))
    start, error = trail.now(), None
    try:
        yield
    except BaseException as failure:
        error = _why(failure)
        raise
    finally:
        _UNDER_WAY.reset(token)
        trail.add(
            Span(
                trace_id=own.trace_id,
                span_id=own.span_id,
                parent_id=parent.span_id,
                name=name,
                start=start,
                end=trail.now(),
                attributes=attributes,
                error=error,
                kind=kind,
            )
        )


def _why(failure: BaseException) -> str:
    """The kind of a failure: its code, gRPC's status, or the name of its type; never its text."""
    if isinstance(failure, LpmosError):
        return failure.code
    status = getattr(failure, "code", None)
    return str(status().name).lower() if callable(status) else type(failure).__name__
