"""Which calls of the API are sent as traces, and what their spans are."""

from datetime import UTC, datetime, timedelta

import pytest

from lpmos.control.traces.calls import CallTraces
from lpmos.control.traces.outgoing import WAITING_SPANS, Outgoing, OutgoingCollector
from lpmos.core.tracing import called
from lpmos.model.trace import Span
from lpmos.store.spans import SPANS_LIMIT, spanned

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
NEVER, AT_ONCE = timedelta(hours=1), timedelta(0)


class Kept(Outgoing):
    """Sends nothing, and has what it was given."""

    def __init__(self) -> None:
        super().__init__("http://collector.invalid/v1/traces")
        self.traces: list[tuple[Span, ...]] = []

    def add(self, trace: tuple[Span, ...]) -> None:
        self.traces.append(trace)


def traced(headers: list[str], slow: timedelta, calls: int = 1) -> list[tuple[Span, ...]]:
    """What is sent of one call."""
    kept = Kept()
    with called(headers), CallTraces(lambda: NOW, kept, slow=slow).call() as call:
        assert call is not None
        call.name, call.attributes = "GET /x", {"http.route": "/x"}
        for _ in range(calls):
            with spanned("store.get", {}):
                pass
    return kept.traces


@pytest.mark.parametrize(
    ("headers", "slow", "sent"),
    [
        ([f"00-{TRACE}-{SPAN}-01"], NEVER, True),
        ([f"00-{TRACE}-{SPAN}-00"], NEVER, False),
        ([f"00-{TRACE}-{SPAN}-00"], AT_ONCE, True),
        ([], NEVER, False),
        ([], AT_ONCE, True),
        (["nonsense"], NEVER, False),
    ],
)
def test_call_is_sent_where_its_caller_keeps_it_or_it_was_slow(
    headers: list[str], slow: timedelta, sent: bool
) -> None:
    assert bool(traced(headers, slow)) is sent


def test_call_is_below_its_caller_and_what_it_asked_below_the_call() -> None:
    ((root, asked),) = traced([f"00-{TRACE}-{SPAN}-01"], NEVER)
    assert (root.trace_id, root.parent_id, root.kind) == (TRACE, SPAN, "server")
    assert (asked.trace_id, asked.parent_id) == (TRACE, root.span_id)
    assert root.start == NOW and root.end >= asked.end >= asked.start >= NOW


def test_call_without_a_caller_begins_a_trace_of_its_own() -> None:
    ((first, _),), ((second, _),) = traced([], AT_ONCE), traced([], AT_ONCE)
    assert first.parent_id is None and first.trace_id != second.trace_id


def test_call_that_asks_very_much_says_how_much_was_left_out() -> None:
    ((root, *asked),) = traced([], AT_ONCE, SPANS_LIMIT + 2)
    assert len(asked) == SPANS_LIMIT
    assert root.attributes == {"http.route": "/x", "lpmos.store.left_out": 2}


def test_oldest_trace_leaves_where_too_many_wait_and_is_counted() -> None:
    outgoing = Outgoing("http://collector.invalid/v1/traces")
    ((span, *_),) = traced([], AT_ONCE)
    for _ in range(WAITING_SPANS // 100 + 2):
        outgoing.add((span,) * 100)
    samples = {
        sample.name: (sample.labels, sample.value)
        for metric in OutgoingCollector({"calls": outgoing}).collect()
        for sample in metric.samples
    }
    assert samples["lpmos_traces_waiting"] == ({"of": "calls"}, WAITING_SPANS // 100)
    assert samples["lpmos_traces_dropped_total"] == ({"of": "calls"}, 2)
