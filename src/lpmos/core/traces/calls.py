"""Calls as traces: the call, and what it asked of the store, with how long each took.

The rule: what is sent is what somebody will look for, decided when the call has ended, so that no
client that asks every second fills a collector.
"""

import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import NamedTuple, Protocol

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.tracing import caller
from lpmos.model.trace import Attributes, Span
from lpmos.model.tracecontext import TraceContext
from lpmos.store.spans import Trail, following, new_span_id

SLOW = timedelta(milliseconds=250)
"""A call that takes longer is slow; the alert on slow answers begins at 0.5 s."""


class Call(msgspec.Struct):
    """What is known of a call when it ends."""

    name: str = ""
    attributes: Attributes = {}
    error: str | None = None


class Ended(NamedTuple):
    """What decides whether a call is sent; `asked`: who made it, or its task, is kept as a span."""

    asked: bool
    slow: bool
    failed: bool


Worth = Callable[[Ended], bool]


def asked_or_slow(ended: Ended) -> bool:
    """Of people's calls, those that are looked for, and those that should be."""
    return ended.asked or ended.slow


def asked_and_in_trouble(ended: Ended) -> bool:
    """Of machines' calls, which come every second and all have a trace, those that tell a story."""
    return ended.asked and (ended.slow or ended.failed)


class Way(Protocol):
    """Where traces leave."""

    def add(self, trace: tuple[Span, ...]) -> None:
        """Send these spans some time."""


class CallTraces:
    """Makes a trace of each call, and sends those that are worth it."""

    def __init__(
        self,
        clock: Clock,
        outgoing: Way | None,
        *,
        worth: Worth = asked_or_slow,
        slow: timedelta = SLOW,
    ) -> None:
        """Without a way out, nothing is made."""
        self._clock = clock
        self._outgoing = outgoing
        self._worth = worth
        self._slow = slow

    def call(self) -> AbstractContextManager[Call | None]:
        """One call, until the block ends; what it was is written into what is given, if any is."""
        return self._call(self._outgoing) if self._outgoing else nullcontext()

    @contextmanager
    def _call(self, outgoing: Way) -> Iterator[Call]:
        asked = caller()
        trace_id = asked.trace_id if asked else secrets.token_hex(16)
        own = TraceContext(trace_id=trace_id, span_id=new_span_id())
        trail, call = Trail(own, self._clock(), asked), Call()
        try:
            with following(trail):
                yield call
        finally:
            if self._worth(self._ended(trail, call)):
                outgoing.add(_trace(trail, call))

    def _ended(self, trail: Trail, call: Call) -> Ended:
        return Ended(
            asked=trail.parent is not None and trail.parent.sampled,
            slow=trail.took > self._slow,
            failed=call.error is not None,
        )


def _trace(trail: Trail, call: Call) -> tuple[Span, ...]:
    """The call first; all of it is of the parent's trace, which may be known only since."""
    own, parent = trail.root, trail.parent
    left_out: Attributes = {"lpmos.store.left_out": trail.left_out} if trail.left_out else {}
    root = Span(
        trace_id=own.trace_id,
        span_id=own.span_id,
        parent_id=parent.span_id if parent else None,
        name=call.name,
        start=trail.began,
        end=trail.now(),
        attributes={**call.attributes, **left_out},
        error=call.error,
        kind="server",
    )
    spans = (root, *trail.spans)
    if parent is None or parent.trace_id == own.trace_id:
        return spans
    return tuple(msgspec.structs.replace(each, trace_id=parent.trace_id) for each in spans)
