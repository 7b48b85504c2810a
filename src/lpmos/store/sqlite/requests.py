"""What may be asked of the embedded store, checked before it costs anything.

The limits are etcd's, so that what works on one backend works on the other.
"""

from collections.abc import Sequence

import msgspec

from lpmos.store.api import (
    MAX_REQUEST_BYTES,
    MAX_TXN_OPERATIONS,
    Compare,
    Delete,
    InvalidRequest,
    Operation,
    Put,
)


class Transaction(msgspec.Struct, frozen=True):
    """A transaction as the writer takes it."""

    compare: tuple[Compare, ...]
    success: tuple[Operation, ...]
    failure: tuple[Operation, ...] = ()


def transaction(
    compare: Sequence[Compare], success: Sequence[Operation], failure: Sequence[Operation]
) -> Transaction:
    """A checked transaction.

    Raises:
        InvalidRequest: too many operations, too large, a bad key, or two writes to one key.
    """
    checked = Transaction(tuple(compare), tuple(success), tuple(failure))
    if max(len(checked.compare), len(checked.success), len(checked.failure)) > MAX_TXN_OPERATIONS:
        raise InvalidRequest(f"a transaction has at most {MAX_TXN_OPERATIONS} operations")
    size_bytes = sum(_compare_bytes(one) for one in checked.compare)
    for branch in (checked.success, checked.failure):
        size_bytes += sum(_operation_bytes(operation) for operation in branch)
        _refuse_overlaps(branch)
    if size_bytes > MAX_REQUEST_BYTES:
        raise InvalidRequest(f"{size_bytes} bytes are over the limit of {MAX_REQUEST_BYTES}")
    return checked


def key_bytes(key: str) -> bytes:
    """A key, or the prefix of keys, as it is stored.

    Raises:
        InvalidRequest: it does not begin with `/` or is not valid text.
    """
    if not key.startswith("/"):
        raise InvalidRequest(f"a key begins with '/': {key!r}")
    try:
        return key.encode()
    except UnicodeEncodeError as error:
        raise InvalidRequest(f"the key is not valid text: {key!r}") from error


def _compare_bytes(one: Compare) -> int:
    if isinstance(one.operand, bytes) != (one.target == "value"):
        raise InvalidRequest(f"{one.target} of {one.key} cannot be compared to {one.operand!r}")
    size = len(one.operand) if isinstance(one.operand, bytes) else 8
    return len(key_bytes(one.key)) + size


def _operation_bytes(operation: Operation) -> int:
    size = len(operation.value) if isinstance(operation, Put) else 0
    return len(key_bytes(operation.key)) + size


def _refuse_overlaps(branch: Sequence[Operation]) -> None:
    """Two puts of one key, or a put of a key that is deleted too, have no defined order."""
    puts: set[str] = set()
    for operation in branch:
        if isinstance(operation, Put):
            if operation.key in puts:
                raise InvalidRequest(f"{operation.key} is written twice in one transaction")
            puts.add(operation.key)
    for operation in branch:
        if isinstance(operation, Delete) and any(_covers(operation, key) for key in puts):
            raise InvalidRequest(f"{operation.key} is put and deleted in one transaction")


def _covers(delete: Delete, key: str) -> bool:
    return key.startswith(delete.key) if delete.prefix else key == delete.key
