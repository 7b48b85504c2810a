"""The wire table and the translation of values: what is sent is what etcd's API says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.store.api import KV, Compare, Delete, Get, InvalidRequest, Put
from lpmos.store.etcd import codec, wire

keys = st.text(min_size=0, max_size=40).map(lambda text: f"/{text}")
int64s = st.integers(min_value=0, max_value=2**63 - 1)


CLASSES = wire.build(wire.MESSAGES)


def _message(name: str) -> wire.Message:
    return CLASSES[name]()


def _value(field: wire.Message) -> st.SearchStrategy[object]:
    by_type = {
        field.TYPE_BOOL: st.booleans(),
        field.TYPE_BYTES: st.binary(max_size=20),
        field.TYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        field.TYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        field.TYPE_STRING: st.text(max_size=20),
        field.TYPE_UINT64: st.integers(0, 2**64 - 1),
    }
    return by_type[field.type]


@given(st.data())
def test_wire_message_of_any_kind_survives_the_way_there_and_back(data: st.DataObject) -> None:
    message = CLASSES[data.draw(st.sampled_from(sorted(CLASSES)))]()
    for field in message.DESCRIPTOR.fields:
        if field.type == field.TYPE_MESSAGE or field.is_repeated:
            continue
        setattr(message, field.name, data.draw(_value(field)))
    assert type(message).FromString(message.SerializeToString()) == message


def test_wire_put_request_is_encoded_as_the_protocol_says() -> None:
    request = codec.encode_put("/k", b"v", 5)
    assert request.SerializeToString() == b"\x0a\x02/k\x12\x01v\x18\x05"


def test_wire_cas_at_zero_sends_the_zero() -> None:
    # A oneof member is sent even where it is 0; without it etcd would compare nothing.
    request = codec.encode_txn([Compare("/k", "mod", "=", 0)], [], [])
    assert request.SerializeToString() == b"\x0a\x08\x10\x02\x1a\x02/k\x30\x00"


def test_wire_answer_with_unknown_fields_is_read() -> None:
    status = wire.STATUS.response.FromString(b"\x12\x053.6.0\x5a\x053.6.0")
    assert status.version == "3.6.0"


def test_wire_table_can_be_built_twice_without_a_clash() -> None:
    assert wire.build(wire.MESSAGES).keys() == wire.build(wire.MESSAGES).keys()


@pytest.mark.parametrize(
    ("prefix", "end"),
    [
        (b"/os/", b"/os0"),
        (b"a\xff", b"b"),
        (b"a\xff\xff", b"b"),
        (b"\xff", b"\0"),
        (b"", b"\0"),
    ],
)
def test_prefix_end_is_the_first_key_after_the_prefix(prefix: bytes, end: bytes) -> None:
    assert codec.prefix_end(prefix) == end


@given(st.binary(min_size=1, max_size=8), st.binary(max_size=8))
def test_prefix_end_divides_keys_with_the_prefix_from_the_rest(prefix: bytes, key: bytes) -> None:
    end = codec.prefix_end(prefix)
    inside = prefix <= key and (end == b"\0" or key < end)
    assert inside == key.startswith(prefix) or (end == b"\0" and key > prefix)
    assert prefix + key >= prefix
    assert end == b"\0" or prefix + key < end


@given(keys)
def test_key_survives_the_way_there_and_back(key: str) -> None:
    try:
        encoded = codec.encode_key(key)
    except UnicodeEncodeError:
        assert any(0xD800 <= ord(char) <= 0xDFFF for char in key)
        return
    assert encoded.decode("utf-8", "surrogateescape") == key


@given(st.binary(max_size=20))
def test_key_that_is_not_utf8_survives_the_way_back_and_there(raw: bytes) -> None:
    kv = _message("KeyValue")
    kv.key = b"/" + raw
    assert codec.encode_key(codec.decode_kv(kv).key) == b"/" + raw


@pytest.mark.parametrize("key", ["", "os", "os/dc1"])
def test_key_without_a_slash_is_refused_before_it_is_sent(key: str) -> None:
    with pytest.raises(InvalidRequest):
        codec.encode_key(key)


@given(keys.filter(str.isascii), st.binary(max_size=20), int64s, int64s, int64s, int64s)
def test_kv_is_decoded_field_by_field(
    key: str, value: bytes, create: int, mod: int, version: int, lease: int
) -> None:
    message = _message("KeyValue")
    message.key, message.value = key.encode(), value
    message.create_revision, message.mod_revision = create, mod
    message.version, message.lease = version, lease
    assert codec.decode_kv(message) == KV(key, value, create, mod, version, lease)


def test_txn_operations_keep_their_kind_and_order() -> None:
    request = codec.encode_txn(
        [Compare("/a", "value", "!=", b"x")],
        [Put("/a", b"1", 7), Delete("/b", prefix=True)],
        [Get("/c"), Get("/d/", prefix=True)],
    )
    assert [one.WhichOneof("request") for one in request.success] == [
        "request_put",
        "request_delete_range",
    ]
    assert request.success[0].request_put.lease == 7
    assert request.success[1].request_delete_range.range_end == b"/c"
    assert [one.request_range.range_end for one in request.failure] == [b"", b"/d0"]
    assert (request.compare[0].result, request.compare[0].value) == (3, b"x")
