"""Care of the cluster as a whole: its status, its history's end, a copy of it in a file."""

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import grpc.aio

from lpmos.store.api import InvalidRequest, StoreStatus, Unavailable
from lpmos.store.etcd import errors, wire
from lpmos.store.etcd.client import Client

CHUNK_TIMEOUT_S = 30.0  # between two parts of a snapshot
_DIGEST_BYTES = hashlib.sha256().digest_size


async def status(client: Client) -> StoreStatus:
    """See `Store.status`; asks the endpoint in use, whose alarms are the whole cluster's."""
    answer = await client.call(wire.STATUS, wire.STATUS.request())
    return StoreStatus(
        backend="etcd",
        version=answer.version,
        revision=answer.header.revision,
        size_bytes=answer.dbSize,
        healthy=bool(answer.leader) and not answer.errors,
        alarms=tuple(answer.errors),
        in_use_bytes=answer.dbSizeInUse,
        quota_bytes=answer.dbSizeQuota or None,  # etcd says it from 3.6 on
    )


async def compact(client: Client, revision: int) -> None:
    """See `Store.compact`."""
    await client.call(wire.COMPACT, wire.COMPACT.request(revision=revision), write=True)


async def snapshot(client: Client, path: Path) -> None:
    """See `Store.snapshot`; the file is for `etcdctl snapshot restore` (`etcdutl` from 3.6).

    The file appears under its name only when it is whole, checked and on the disk; its owner alone
    may read it, as it has all secrets of the store.

    Raises:
        InvalidRequest: there is such a file already.
    """
    if await asyncio.to_thread(path.exists):
        raise InvalidRequest(f"{path} exists: name a new file for the snapshot")
    partial = path.with_name(f"{path.name}.partial")
    try:
        await _write_checked(client, partial)
        partial.rename(path)
    finally:
        partial.unlink(missing_ok=True)


async def _write_checked(client: Client, path: Path) -> None:
    digest = hashlib.sha256()
    tail = b""
    with await asyncio.to_thread(_create, path) as file:
        async for chunk in _chunks(client):
            await asyncio.to_thread(file.write, chunk)
            held = tail + chunk
            digest.update(held[:-_DIGEST_BYTES])
            tail = held[-_DIGEST_BYTES:]
        await asyncio.to_thread(_flush_to_disk, file)
    # etcd ends the stream with the SHA-256 of all that came before.
    if tail != digest.digest():
        raise Unavailable("the snapshot arrived damaged or cut short: take it again")


def _create(path: Path) -> BinaryIO:
    path.unlink(missing_ok=True)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _flush_to_disk(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


async def _chunks(client: Client) -> AsyncIterator[bytes]:
    endpoint = client.endpoint
    await client.make_ready(endpoint)
    stream = endpoint.server_stream(wire.SNAPSHOT)(
        wire.SNAPSHOT.request(), metadata=client.metadata
    )
    try:
        while True:
            async with asyncio.timeout(CHUNK_TIMEOUT_S):
                answer = await stream.read()
            if answer is grpc.aio.EOF:
                return
            yield answer.blob
    except TimeoutError:
        raise Unavailable(f"{endpoint.url}: the snapshot stalled") from None
    except grpc.aio.AioRpcError as error:
        raise errors.from_call(error, write=False, where=endpoint.url) from error
    finally:
        stream.cancel()
