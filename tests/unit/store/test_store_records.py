"""Documents in and out of the store."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.store.api import KV
from lpmos.store.records import VALUE_LIMIT_BYTES, DamagedRecord, RecordTooLarge, decode, encode


class Document(msgspec.Struct, frozen=True):
    name: str
    size_bytes: int


def _kv(value: bytes) -> KV:
    return KV("/os/a", value, 2, 3, 1)


@given(st.text(), st.integers(-(2**63), 2**63 - 1))
def test_record_encoded_decodes_to_the_same(name: str, size_bytes: int) -> None:
    document = Document(name, size_bytes)
    assert decode(_kv(encode(document)), Document) == document


@given(st.binary())
def test_record_of_any_bytes_decodes_or_is_damaged(value: bytes) -> None:
    try:
        assert isinstance(decode(_kv(value), Document), Document)
    except DamagedRecord as error:
        assert "/os/a" in str(error)


@pytest.mark.parametrize(
    "value",
    [b'{"name":"\xff","size_bytes":1}', b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"],
    ids=["no-utf-8", "endless-nesting"],
)
def test_record_that_is_hardly_json_is_damaged(value: bytes) -> None:
    with pytest.raises(DamagedRecord):
        decode(_kv(value), Document)


def test_record_with_a_field_missing_names_it() -> None:
    with pytest.raises(DamagedRecord, match=r"/os/a.*size_bytes"):
        decode(_kv(b'{"name":"x"}'), Document)


def test_record_at_the_limit_is_refused_and_below_it_not() -> None:
    empty = len(encode(Document("", 0)))
    assert len(encode(Document("x" * (VALUE_LIMIT_BYTES - 1 - empty), 0))) == VALUE_LIMIT_BYTES - 1
    with pytest.raises(RecordTooLarge):
        encode(Document("x" * (VALUE_LIMIT_BYTES - empty), 0))
