"""Putting records into a store, as many in a transaction as one may have."""

from collections.abc import Iterable, Iterator

from lpmos.core.backup.form import Record
from lpmos.store.api import MAX_TXN_OPERATIONS, Operation, Put, Store

BATCH_BYTES = 1_000_000
OVERHEAD_BYTES = 64
"""What an operation takes in a transaction beside its key and value, at most."""


async def load(store: Store, records: Iterable[Record]) -> None:
    """Put all records, whatever is there under their keys.

    Raises:
        StoreError: as `Store.txn`; some of them may be there.
    """
    for operations in _transactions(records):
        await store.txn([], operations)


def _transactions(records: Iterable[Record]) -> Iterator[list[Operation]]:
    operations: list[Operation] = []
    size_bytes = 0
    for key, value in records:
        more_bytes = len(key) + len(value) + OVERHEAD_BYTES
        if operations and (
            len(operations) == MAX_TXN_OPERATIONS or size_bytes + more_bytes > BATCH_BYTES
        ):
            yield operations
            operations, size_bytes = [], 0
        operations.append(Put(key, value))
        size_bytes += more_bytes
    if operations:
        yield operations
