"""The header `traceparent`: what is well formed counts, anything else says nothing."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lpmos.agent.trace import read_trace
from lpmos.model.tracecontext import LIMIT_CHARACTERS, TraceContext, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GIVEN = f"00-{TRACE}-{SPAN}-01"


def hexadecimal(size: int) -> st.SearchStrategy[str]:
    return st.integers(1, 16**size - 1).map(lambda number: f"{number:0{size}x}")


@given(hexadecimal(32), hexadecimal(16), st.integers(0, 255))
def test_context_that_is_written_is_read_again(trace: str, span: str, flags: int) -> None:
    context = TraceContext(trace_id=trace, span_id=span)
    assert parse_traceparent(str(context)) == context
    flagged = TraceContext(trace_id=trace, span_id=span, sampled=bool(flags & 1))
    assert parse_traceparent(f"00-{trace}-{span}-{flags:02x}") == flagged
    assert read_trace(str(context)) == (trace, span)


@given(st.text() | st.from_regex(r"\A[0-9a-fA-F]{2}-[0-9a-f]{31,33}-[0-9a-f]{15,17}-[0-9a-f]{0,3}"))
@example("0" * LIMIT_CHARACTERS)
def test_whatever_a_caller_says_is_a_context_or_nothing(text: str) -> None:
    found, agents = parse_traceparent(text), read_trace(text)
    if found is not None:
        assert str(found)[3:52] == text[3:52]
        assert int(found.trace_id, 16) and int(found.span_id, 16)
    if agents is not None:
        assert found is not None and agents == (found.trace_id, found.span_id)


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        GIVEN.upper(),
        f" {GIVEN}",
        f"{GIVEN}\n",
        f"{GIVEN}-more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"01-{TRACE}-{SPAN}-01more",
        f"01-{TRACE}-{SPAN}-01-{'x' * LIMIT_CHARACTERS}",
    ],
)
def test_malformed_context_says_nothing(text: str | None) -> None:
    assert parse_traceparent(text) is None
    assert read_trace(text) is None


def test_known_fields_of_a_later_version_count() -> None:
    expected = TraceContext(trace_id=TRACE, span_id=SPAN)
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-what-comes-then") == expected
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-09") == expected
