"""Calls of the API as traces: the call, and what it asked of the store, with how long each took.

The rule: a call is sent where its caller keeps its own span, and where it was slow. So a collector
has whatever somebody looks for, and no client that asks every second fills it.
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import msgspec

from lpmos.control.traces.outgoing import Outgoing
from lpmos.core.clock import Clock
from lpmos.core.tracing import caller
from lpmos.model.trace import Attributes, Span
from lpmos.model.tracecontext import TraceContext
from lpmos.store.spans import Trail, following, new_span_id

SLOW = timedelta(milliseconds=250)
"""A call that takes longer is sent, whoever made it; the alert on slow answers begins at 0.5 s."""


class Call(msgspec.Struct):
    """What is known of a call when it ends."""

    name: str = ""
    attributes: Attributes = {}
    error: str | None = None


class CallTraces:
    """Makes a trace of each call, and sends those that are worth it."""

    def __init__(self, clock: Clock, outgoing: Outgoing | None, *, slow: timedelta = SLOW) -> None:
        """Without a way out, nothing is made."""
        self._clock = clock
        self._outgoing = outgoing
        self._slow = slow

    @contextmanager
    def call(self) -> Iterator[Call | None]:
        """One call, until the block ends; what it was is written into what is given, if any is."""
        if self._outgoing is None:
            yield None
            return
        asked = caller()
        trace_id = asked.trace_id if asked else secrets.token_hex(16)
        own = TraceContext(trace_id=trace_id, span_id=new_span_id())
        trail, call = Trail(own, self._clock()), Call()
        try:
            with following(trail):
                yield call
        finally:
            kept = asked is not None and asked.sampled
            if kept or trail.now() - trail.began > self._slow:
                self._outgoing.add((_root(trail, asked, call), *trail.spans))


def _root(trail: Trail, asked: TraceContext | None, call: Call) -> Span:
    left_out: Attributes = {"lpmos.store.left_out": trail.left_out} if trail.left_out else {}
    return Span(
        trace_id=trail.root.trace_id,
        span_id=trail.root.span_id,
        parent_id=asked.span_id if asked else None,
        name=call.name,
        start=trail.began,
        end=trail.now(),
        attributes={**call.attributes, **left_out},
        error=call.error,
        kind="server",
    )
