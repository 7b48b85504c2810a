"""How deep a body may be nested, whatever stands in its strings."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.http.bodies import DEPTH, check_depth


def nested(depth: int, inner: Any = 1) -> bytes:
    """JSON that is nested so deep, objects and lists in turn."""
    document = inner
    for level in range(depth):
        document = [document] if level % 2 else {"a": document, "b": []}
    return json.dumps(document).encode()


def depth_of(document: Any) -> int:
    """How deep a document is nested."""
    if isinstance(document, dict):
        document = list(document.values())
    return 1 + max(map(depth_of, document), default=0) if isinstance(document, list) else 0


def test_body_of_the_allowed_depth_passes() -> None:
    check_depth(nested(DEPTH - 1, []))


def test_deeper_body_is_refused() -> None:
    with pytest.raises(msgspec.DecodeError, match="nested deeper than 32"):
        check_depth(nested(DEPTH + 1))


def test_brackets_in_strings_do_not_count() -> None:
    check_depth(json.dumps(["[" * 100, '"\\[{' * 100] * 50).encode())


@given(
    st.recursive(
        st.text('[]{}"\\a', max_size=50),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=60,
    ),
    st.integers(0, DEPTH + 8),
)
def test_depth_is_judged_as_a_parser_does(document: Any, more: int) -> None:
    body = nested(more, document)
    if depth_of(json.loads(body)) > DEPTH:
        with pytest.raises(msgspec.DecodeError):
            check_depth(body)
    else:
        check_depth(body)


@pytest.mark.parametrize(
    "unit", [b'"', b'\\"', b"\\", b"[],", b'"[",'], ids=["quote", "escape", "slash", "list", "text"]
)
def test_long_rubbish_is_judged_in_one_pass(unit: bytes) -> None:
    """Where time grew with the square, these would take hours."""
    with suppress(msgspec.DecodeError):
        check_depth(b"[]" * DEPTH + b"[]," + b'"' + unit * 200_000)
