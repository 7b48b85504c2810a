"""Documents as they stand in the store: JSON of the model's types, and the size they may have."""

from typing import TypeVar

import msgspec

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


def encode(document: msgspec.Struct) -> bytes:
    """The document's bytes.

    Raises:
        RecordTooLarge: it is over the limit.
    """
    value = msgspec.json.encode(document)
    if len(value) >= VALUE_LIMIT_BYTES:
        raise RecordTooLarge(f"a document of {len(value)} bytes is over {VALUE_LIMIT_BYTES}")
    return value


def decode(kv: KV, document: type[T]) -> T:
    """The document of a key.

    Raises:
        DamagedRecord: names the key and what is wrong with it.
    """
    try:
        return msgspec.json.decode(kv.value, type=document)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedRecord(f"{kv.key}: {error}") from error
