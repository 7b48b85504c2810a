"""Documents as they stand in the store: JSON of the model's types, and the size they may have.

A document that is changed keeps what this version does not know of it: the parts of a system are
updated one after the other, and an older part may not take away what a newer one wrote. Nor does
it stumble over that: what a type refuses of a caller as unknown is passed over in what is stored
(`lpmos.model.tolerance`).
"""

from typing import Any, TypeVar

import msgspec

from lpmos.model.tolerance import known_part
from lpmos.store.api import KV, StoreError

VALUE_LIMIT_BYTES = 65_536
"""S13: the value of one key stays under 64 KiB."""

T = TypeVar("T")


class DamagedRecord(StoreError):
    """A value in the store is not the document that its key promises."""

    code = "store-damaged-record"


class RecordTooLarge(StoreError):
    """A document would pass `VALUE_LIMIT_BYTES`."""

    code = "store-record-too-large"


def encode(
    document: msgspec.Struct, over: bytes | None = None, *, read: msgspec.Struct | None = None
) -> bytes:
    """The document's bytes.

    Args:
        document: what to write.
        over: what stands in the store now, where this is a change of it: fields that the type does
            not know stay, and so do those inside of a field that was not changed.
        read: `over` decoded, where the caller has it.

    Raises:
        RecordTooLarge: it is over the limit.
    """
    value = msgspec.json.encode(document)
    if over is not None:
        value = _carried(value, over, read or _read(over, type(document)))
    if len(value) >= VALUE_LIMIT_BYTES:
        raise RecordTooLarge(f"a document of {len(value)} bytes is over {VALUE_LIMIT_BYTES}")
    return value


def _carried(value: bytes, over: bytes, read: msgspec.Struct) -> bytes:
    """`value` with what `over` has, and what the document's type does not know."""
    known = msgspec.json.encode(read)
    if known == over:
        return value
    merged = _merged(*(msgspec.json.decode(each) for each in (over, known, value)))
    return msgspec.json.encode(merged)


def _merged(over: Any, known: Any, new: Any) -> Any:
    """`new`, with all that `over` has beyond `known`; a member that was changed is new as a whole.

    Of a list, that holds for each element that stands where it stood.
    """
    if isinstance(over, list) and isinstance(known, list) and isinstance(new, list):
        was = zip(over, known, strict=False)
        kept = [old if each == read else each for each, (old, read) in zip(new, was, strict=False)]
        return kept + new[len(kept) :]
    if not (isinstance(over, dict) and isinstance(known, dict) and isinstance(new, dict)):
        return new
    merged = {key: each for key, each in over.items() if key not in known}
    for key, each in new.items():
        if key not in over or key not in known:  # a default that one of them leaves out
            merged[key] = each
        elif known[key] == each:
            merged[key] = over[key]
        elif isinstance(each, list):
            merged[key] = _merged(over[key], known[key], each)
        else:
            merged[key] = each
    return merged


def decode(kv: KV, document: type[T]) -> T:
    """The document of a key.

    Raises:
        DamagedRecord: names the key and what is wrong with it.
    """
    try:
        return _read(kv.value, document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedRecord(f"{kv.key}: {error}") from error


def has_unknown(kv: KV, document: type) -> bool:
    """Whether `decode` passes over something that a caller may not give, or raises."""
    try:
        msgspec.json.decode(kv.value, type=document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return True
    return False


def _read(value: bytes, document: type[T]) -> T:
    """The document; it is taken apart only where the quick way finds something that is unknown."""
    try:
        return msgspec.json.decode(value, type=document)
    except msgspec.ValidationError:
        known = known_part(msgspec.json.decode(value), document)
        return msgspec.json.decode(msgspec.json.encode(known), type=document)
