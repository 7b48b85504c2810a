"""Which calls are sent as traces, and what their spans are."""

from datetime import UTC, datetime, timedelta

import pytest

from lpmos.core.traces.calls import CallTraces, Ended, asked_and_in_trouble
from lpmos.core.traces.outgoing import WAITING_SPANS, Outgoing, OutgoingCollector
from lpmos.core.tracing import about, called
from lpmos.model.trace import Span, root_of, trace_id
from lpmos.store.spans import SPANS_LIMIT, spanned
from tests.support.builders import make_task

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


@pytest.mark.parametrize(
    ("asked", "slow", "failed", "sent"),
    [
        (True, False, False, False),
        (True, True, False, True),
        (True, False, True, True),
        (False, True, True, False),
    ],
)
def test_machines_call_is_sent_where_it_was_slow_or_failed_and_its_trace_is_known(
    asked: bool, slow: bool, failed: bool, sent: bool
) -> None:
    assert asked_and_in_trouble(Ended(asked, slow, failed)) is sent


def test_call_that_is_known_to_be_about_a_task_is_of_its_trace_with_all_it_asked_before() -> None:
    kept, task = Kept(), make_task()
    with called([]), CallTraces(lambda: NOW, kept, slow=NEVER).call(), spanned("store.get", {}):
        about(task)
    ((root, asked),) = kept.traces
    assert (root.trace_id, root.parent_id) == (trace_id(task), root_of(task).span_id)
    assert (asked.trace_id, asked.parent_id) == (trace_id(task), root.span_id)


def test_call_whose_caller_names_a_span_stays_below_it_whatever_task_it_is_about() -> None:
    kept = Kept()
    with called([f"00-{TRACE}-{SPAN}-01"]), CallTraces(lambda: NOW, kept, slow=NEVER).call():
        about(make_task())
    ((root,),) = kept.traces
    assert (root.trace_id, root.parent_id) == (TRACE, SPAN)


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
