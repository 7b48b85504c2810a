"""What one call asked of the store, as spans of its trace (O2).

A call that is traced has a `Trail` in its context, and what is called within it adds its spans
there. Who does a thing later, or for several calls at once, keeps their `places` and goes on in
them: then it is a span of each. Anywhere else, as in all background work and wherever nobody
collects traces, nothing is made. The rule: names and attributes have few values, and none is a key
or a value of the store.
"""

import secrets
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import NamedTuple

from lpmos.model.errors import LpmosError
from lpmos.model.trace import Attributes, Kind, Span
from lpmos.model.tracecontext import TraceContext

SPANS_LIMIT = 100
"""What a call does beyond that is only counted."""


class Trail:
    """The spans within one call, whose own span is `root`; `began` is the time now.

    `parent` is the span that the call is made for, as far as that is known yet.
    """

    def __init__(
        self, root: TraceContext, began: datetime, parent: TraceContext | None = None
    ) -> None:
        self.root = root
        self.began = began
        self.parent = parent
        self.spans: list[Span] = []
        self.left_out = 0
        self.ended = False
        """Once its call is over; what that has started and goes on is of no trace."""
        self._origin_s = time.perf_counter()
        self._excused_s = 0.0

    def now(self) -> datetime:
        """The time, by a clock that is never set."""
        return self.began + timedelta(seconds=self._since_s())

    @property
    def took(self) -> timedelta:
        """How long the call takes since it last waited on purpose, or began."""
        return timedelta(seconds=self._since_s() - self._excused_s)

    def excuse(self) -> None:
        """Until now the call waited on purpose."""
        self._excused_s = self._since_s()

    def add(self, span: Span) -> None:
        """Keep a span, or count it where there are too many."""
        if len(self.spans) < SPANS_LIMIT:
            self.spans.append(span)
        else:
            self.left_out += 1

    def _since_s(self) -> float:
        return time.perf_counter() - self._origin_s


class Place(NamedTuple):
    """A span under way, and the trail that it belongs to."""

    trail: Trail
    span: TraceContext


Places = tuple[Place, ...]
_UNDER_WAY: ContextVar[Places] = ContextVar("places", default=())
_NOTHING = nullcontext()
"""What is made where nothing is traced."""


def new_span_id() -> str:
    """An id that no other span has."""
    return secrets.token_hex(8)


def places() -> Places:
    """The spans that the present code runs in, one of each call that it is done for."""
    found = _UNDER_WAY.get()
    return tuple(each for each in found if not each.trail.ended) if found else found


def under_way() -> TraceContext | None:
    """The first of `places`; None where nothing is traced."""
    found = places()
    return found[0].span if found else None


def made_for(span: TraceContext) -> None:
    """The present call is made for this span, unless its caller named another."""
    for trail, _ in places():
        trail.parent = trail.parent or span


def waited_on_purpose(found: Places) -> None:
    """Until now these calls waited as they were meant to: that does not make them slow."""
    for trail, _ in found:
        trail.excuse()


@contextmanager
def following(trail: Trail) -> Iterator[None]:
    """Have what is called in the block add its spans."""
    try:
        with resumed((Place(trail, trail.root),)):
            yield
    finally:
        trail.ended = True


def resumed(found: Places) -> AbstractContextManager[None]:
    """Have what is called in the block be done for the calls that were in these `places`."""
    return _resumed(found) if found or places() else _NOTHING


@contextmanager
def _resumed(found: Places) -> Iterator[None]:
    token = _UNDER_WAY.set(found)
    try:
        yield
    finally:
        _UNDER_WAY.reset(token)


def spanned(
    name: str, attributes: Attributes, kind: Kind = "internal"
) -> AbstractContextManager[None]:
    """Make the block a span of each present call that is traced; what it raises is its error."""
    parents = places()
    return _spanned(parents, name, attributes, kind) if parents else _NOTHING


@contextmanager
def _spanned(parents: Places, name: str, attributes: Attributes, kind: Kind) -> Iterator[None]:
    own = tuple(Place(trail, _child_of(parent)) for trail, parent in parents)
    starts, error = [trail.now() for trail, _ in own], None
    try:
        with resumed(own):
            yield
    except BaseException as failure:
        error = _why(failure)
        raise
    finally:
        for (trail, span), parent, start in zip(own, parents, starts, strict=True):
            trail.add(
                Span(
                    trace_id=span.trace_id,
                    span_id=span.span_id,
                    parent_id=parent.span.span_id,
                    name=name,
                    start=start,
                    end=trail.now(),
                    attributes=attributes,
                    error=error,
                    kind=kind,
                )
            )


def _child_of(parent: TraceContext) -> TraceContext:
    return TraceContext(trace_id=parent.trace_id, span_id=new_span_id())


def _why(failure: BaseException) -> str:
    """The kind of a failure: its code, gRPC's status, or the name of its type; never its text."""
    if isinstance(failure, LpmosError):
        return failure.code
    status = getattr(failure, "code", None)
    return str(status().name).lower() if callable(status) else type(failure).__name__
