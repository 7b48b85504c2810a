"""What is refused before it reaches the writer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.store.api import MAX_REQUEST_BYTES, Compare, Delete, InvalidRequest, Operation, Put
from lpmos.store.sqlite.requests import key_bytes, transaction


@given(st.text())
def test_key_of_any_text_is_stored_as_utf8_or_refused(text: str) -> None:
    try:
        assert key_bytes(text).decode() == text
    except InvalidRequest:
        valid = text.startswith("/") and not any("\ud800" <= one <= "\udfff" for one in text)
        assert not valid


def test_transaction_of_exactly_the_most_bytes_is_taken() -> None:
    key = "/a"
    transaction((), (Put(key, bytes(MAX_REQUEST_BYTES - len(key))),), ())
    with pytest.raises(InvalidRequest, match=str(MAX_REQUEST_BYTES)):
        transaction((), (Put(key, bytes(MAX_REQUEST_BYTES - len(key) + 1)),), ())


def test_transaction_counts_the_bytes_of_both_branches_and_compares() -> None:
    third = bytes(MAX_REQUEST_BYTES // 3)
    compare = (Compare("/a", "value", "=", third),)
    with pytest.raises(InvalidRequest):
        transaction(compare, (Put("/a", third),), (Put("/a", third),))


@pytest.mark.parametrize(
    "compare", [Compare("/a", "value", "=", 1), Compare("/a", "mod", "=", b"1")]
)
def test_transaction_comparing_unlike_things_is_refused(compare: Compare) -> None:
    with pytest.raises(InvalidRequest, match="/a"):
        transaction((compare,), (), ())


@pytest.mark.parametrize(
    ("operations", "allowed"),
    [
        ((Put("/a", b""), Put("/b", b"")), True),
        ((Put("/a", b""), Put("/a", b"")), False),
        ((Put("/a", b""), Delete("/a")), False),
        ((Delete("/a"), Put("/a", b"")), False),
        ((Put("/a/b", b""), Delete("/a", prefix=True)), False),
        ((Put("/a/b", b""), Delete("/a")), True),
        ((Put("/a", b""), Delete("/a/", prefix=True)), True),
        ((Delete("/a"), Delete("/a")), True),
    ],
)
def test_transaction_is_refused_only_where_writes_overlap(
    operations: tuple[Operation, ...], allowed: bool
) -> None:
    if allowed:
        transaction((), operations, ())
    else:
        with pytest.raises(InvalidRequest):
            transaction((), operations, ())
