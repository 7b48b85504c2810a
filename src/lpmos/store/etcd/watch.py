"""Watching a prefix: one stream for each watch, opened again wherever it breaks.

The rule: a watch goes on from the revision after its last event, never from a progress
notification, and hands on a revision only when all its fragments are there. So nothing is missed,
repeated or split, whatever happens to the connection.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

import grpc.aio

from lpmos.store.api import (
    AuthFailed,
    Compacted,
    PermissionDenied,
    StoreError,
    Unavailable,
    WatchBatch,
    WatchEvent,
)
from lpmos.store.etcd import codec, errors, wire
from lpmos.store.etcd.backlog import Backlog
from lpmos.store.etcd.client import Client
from lpmos.store.etcd.endpoint import Endpoint

CREATED_TIMEOUT_S = 5.0  # from asking for a watch to the server's word that it stands
FIRST_PAUSE_S = 0.05  # before a broken watch is opened again; doubled up to
LAST_PAUSE_S = 1.0

_log = logging.getLogger(__name__)


async def watch(
    client: Client, prefix: str, from_revision: int
) -> AsyncGenerator[WatchBatch, None]:
    """See `Store.watch`; `from_revision` 0 means from now on."""
    start = codec.encode_key(prefix)
    range_end = codec.prefix_end(start)
    backlog = Backlog()
    task = client.start(_Follower(client, start, range_end, from_revision, backlog).run())
    try:
        while True:
            yield await backlog.take()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def oldest_revision(client: Client, key: bytes, range_end: bytes, revision: int) -> int:
    """The oldest revision that can be read, after a read of `revision` was refused as compacted.

    A watch is the only call that etcd answers with it; `revision + 1` where that answer is lost.
    """
    follower = _Follower(client, key, range_end, revision, Backlog())
    try:
        async with asyncio.timeout(CREATED_TIMEOUT_S):
            await follower.follow(client.endpoint)
    except Compacted as error:
        return error.compact_revision
    except (StoreError, TimeoutError):
        _log.info("the oldest revision is not known: the store did not say")
    return revision + 1


class _Follower:
    """One watch: where it stands, and its way back after each break."""

    def __init__(
        self, client: Client, key: bytes, range_end: bytes, from_revision: int, backlog: Backlog
    ) -> None:
        self._client = client
        self._range = (key, range_end)
        self._next_revision = from_revision
        self._history_end = 0  # the store's revision when the present stream was opened
        self._backlog = backlog
        self._pause_s = FIRST_PAUSE_S
        self._doubts_token = True  # a refusal may still be the token's fault

    async def run(self) -> None:
        """Fill the backlog until cancelled, or until an error that no reconnection mends."""
        endpoint = self._client.endpoint
        try:
            while True:
                try:
                    await self.follow(endpoint)
                except Unavailable as error:
                    _log.info("a watch lost its connection and goes on: %s", error)
                    endpoint = self._client.after(endpoint)
                await asyncio.sleep(self._pause_s)
                self._pause_s = min(2 * self._pause_s, LAST_PAUSE_S)
        except StoreError as error:
            self._backlog.end(error)
        finally:
            self._backlog.end(Unavailable("the watch was ended: its client was closed"))

    async def follow(self, endpoint: Endpoint) -> None:
        """Hand on events from this endpoint; returns where it is worth another try at once.

        Raises:
            Unavailable: the stream broke or could not be opened.
        """
        await self._client.make_ready(endpoint, "watches")
        metadata = self._client.metadata
        stream = endpoint.watch_stream(wire.WATCH)(metadata=metadata)
        try:
            await self._converse(stream, endpoint.url)
        except grpc.aio.AioRpcError as error:
            if not errors.token_refused(error.details() or ""):
                raise errors.from_call(error, write=False, where=endpoint.url) from error
            await self._renew_token(endpoint, metadata, AuthFailed(str(error.details())))
        except (AuthFailed, PermissionDenied) as error:
            # etcd 3.4 answers a watch whose token has expired with "permission denied".
            await self._renew_token(endpoint, metadata, error)
        except asyncio.InvalidStateError:
            raise Unavailable(f"{endpoint.url}: the watch broke as it began") from None
        finally:
            stream.cancel()

    async def _renew_token(
        self, endpoint: Endpoint, metadata: grpc.aio.Metadata, refusal: StoreError
    ) -> None:
        if not self._doubts_token or not await self._client.renew_token(endpoint, metadata):
            raise refusal
        self._doubts_token = False

    async def _converse(self, stream: Any, where: str) -> None:
        try:
            async with asyncio.timeout(CREATED_TIMEOUT_S):
                await stream.write(self._request())
                self._begin(_checked(await stream.read(), where))
        except TimeoutError:
            raise Unavailable(f"{where}: no watch in {CREATED_TIMEOUT_S:g} s") from None
        events: list[WatchEvent] = []
        while True:
            answer = _checked(await stream.read(), where)
            events.extend(codec.decode_event(event) for event in answer.events)
            if events and not answer.fragment:
                await self._hand_on(tuple(events))
                events.clear()

    def _request(self) -> wire.Message:
        request = wire.WATCH.request()
        create = request.create_request
        create.key, create.range_end = self._range
        create.start_revision = self._next_revision
        create.fragment = True
        return request

    def _begin(self, created: wire.Message) -> None:
        self._history_end = created.header.revision
        self._next_revision = self._next_revision or self._history_end + 1
        self._pause_s = FIRST_PAUSE_S
        self._doubts_token = True

    async def _hand_on(self, events: tuple[WatchEvent, ...]) -> None:
        batch = WatchBatch(events[-1].kv.mod_revision, events)
        if batch.revision <= self._history_end:
            await self._backlog.add_history(batch)
        else:
            self._backlog.add_live(batch)
        self._next_revision = batch.revision + 1


def _checked(answer: Any, where: str) -> wire.Message:
    """The answer, unless it ends the watch: then what it says is raised."""
    if answer is grpc.aio.EOF:
        raise Unavailable(f"{where}: the server ended the watch")
    if answer.compact_revision:
        raise Compacted(answer.compact_revision)
    if answer.canceled:
        reason = answer.cancel_reason
        raise errors.from_message(reason, where=where) or Unavailable(f"{where}: {reason}")
    return answer
