"""Reading and writing keys: each function is one call of the API, or as many as it has pages."""

from collections.abc import AsyncIterator, Sequence

from lpmos.store.api import (
    KV,
    MAX_REQUEST_BYTES,
    CasConflict,
    Compacted,
    Compare,
    Get,
    InvalidRequest,
    Operation,
    Page,
    Put,
    TxnResult,
)
from lpmos.store.etcd import codec, watch, wire
from lpmos.store.etcd.client import Client


async def get(client: Client, key: str, revision: int) -> KV | None:
    """See `Store.get`."""
    request = codec.encode_read(key, prefix=False)
    request.revision = revision
    page = await _read(client, request)
    return page.kvs[0] if page.kvs else None


async def read_prefix(
    client: Client, prefix: str, *, limit: int, revision: int, keys_only: bool
) -> Page:
    """See `Store.range`."""
    request = codec.encode_read(prefix, prefix=True)
    request.limit = limit
    request.revision = revision
    request.keys_only = keys_only
    return await _read(client, request)


async def list_pages(client: Client, prefix: str, page_keys: int) -> AsyncIterator[Page]:
    """See `Store.list`."""
    request = codec.encode_read(prefix, prefix=True)
    request.limit = page_keys
    while True:
        page = await _read(client, request)
        yield page
        if not page.more:
            return
        request.key = codec.encode_key(page.kvs[-1].key) + b"\0"
        request.revision = page.revision


async def _read(client: Client, request: wire.Message) -> Page:
    try:
        answer = await client.call(wire.RANGE, request)
    except Compacted:
        # etcd names the oldest revision only to a watch.
        oldest = await watch.oldest_revision(
            client, request.key, request.range_end, request.revision
        )
        raise Compacted(oldest) from None
    return Page(
        tuple(codec.decode_kv(kv) for kv in answer.kvs),
        request.revision or answer.header.revision,
        answer.more,
        answer.count,
    )


async def put(client: Client, key: str, value: bytes, lease: int) -> int:
    """See `Store.put`."""
    request = codec.encode_put(key, value, lease)
    _check_size(request)
    answer = await client.call(wire.PUT, request, write=True)
    return int(answer.header.revision)


async def delete(client: Client, key: str, *, prefix: bool) -> int:
    """See `Store.delete`."""
    request = codec.encode_delete(key, prefix=prefix)
    answer = await client.call(wire.DELETE_RANGE, request, write=True)
    return int(answer.deleted)


async def txn(
    client: Client,
    compare: Sequence[Compare],
    success: Sequence[Operation],
    failure: Sequence[Operation],
) -> TxnResult:
    """See `Store.txn`."""
    request = codec.encode_txn(compare, success, failure)
    _check_size(request)
    write = not all(isinstance(operation, Get) for operation in (*success, *failure))
    return codec.decode_txn(await client.call(wire.TXN, request, write=write))


async def cas(client: Client, key: str, mod_revision: int, value: bytes, lease: int) -> int:
    """See `Store.cas`."""
    request = codec.encode_txn(
        (Compare(key, "mod", "=", mod_revision),), (Put(key, value, lease),), ()
    )
    _check_size(request)
    answer = await client.call(wire.TXN, request, write=True)
    if not answer.succeeded:
        raise CasConflict(f"{key} is not at revision {mod_revision}: read it again")
    return int(answer.header.revision)


def _check_size(request: wire.Message) -> None:
    size_bytes = request.ByteSize()
    if size_bytes > MAX_REQUEST_BYTES:
        raise InvalidRequest(f"a request of {size_bytes} bytes; at most {MAX_REQUEST_BYTES}")
