"""Calls to the cluster: one endpoint at a time, the next when it fails, with a token kept fresh.

The rule: a call is repeated only where it was not applied for certain. All background work of the
store is owned here and ends with `close`.
"""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import grpc.aio

from lpmos.model.tracecontext import HEADER
from lpmos.store.api import (
    Ambiguous,
    InvalidRequest,
    StoreError,
    Unavailable,
    UnsupportedServer,
)
from lpmos.store.calls import failed, observed
from lpmos.store.etcd import errors, wire
from lpmos.store.etcd.endpoint import Endpoint
from lpmos.store.etcd.wire import Method
from lpmos.store.spans import under_way

ATTEMPT_TIMEOUT_S = 5.0  # one try at one endpoint
PATIENCE_S = 2.0  # how long a call that was not applied is tried again, at least once everywhere
ROUND_PAUSE_S = 0.1  # after every endpoint has failed
TOKEN_RENEWALS = 3  # within one attempt: a new token may end, or its server restart, at once
REFUSED_VERSIONS = frozenset({"3.5.0", "3.5.1", "3.5.2"})


@dataclass(frozen=True)
class Credentials:
    """The user of the store, where it asks for one."""

    user: str
    password: str


def _metadata(token: str = "") -> grpc.aio.Metadata:
    entries = [("hasleader", "true")]  # a member without a leader refuses in place of waiting
    return grpc.aio.Metadata(*entries, *([("token", token)] if token else []))


def _traced(metadata: grpc.aio.Metadata) -> grpc.aio.Metadata:
    """With the span that calls, where there is one: a server that traces hangs its own below it."""
    span = under_way()
    return metadata if span is None else grpc.aio.Metadata(*metadata, (HEADER, str(span)))


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def check_version(version: str, where: str) -> None:
    """Raises UnsupportedServer for a version that is known to lose acknowledged writes."""
    if version in REFUSED_VERSIONS:
        raise UnsupportedServer(
            f"{where} runs etcd {version}, which loses acknowledged writes: "
            "use 3.4, or 3.5.3 and later"
        )


class Client:
    """The connection to a cluster. Calls raise the errors of `lpmos.store.api`."""

    def __init__(
        self, endpoints: Sequence[Endpoint], credentials: Credentials | None = None
    ) -> None:
        if not endpoints:
            raise InvalidRequest("name at least one etcd endpoint, such as http://127.0.0.1:2379")
        self.endpoints = tuple(endpoints)
        self.endpoint = self.endpoints[0]
        self.metadata = _metadata()
        self._credentials = credentials
        self._has_token = False
        self._renewal = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def call(
        self, method: Method, request: wire.Message, *, write: bool = False
    ) -> wire.Message:
        """The answer to `request`, from whichever endpoint gives one.

        A `write` whose answer is lost raises `Ambiguous`; what was not applied, and every read,
        is tried again for `PATIENCE_S` and at least once at every endpoint, then `Unavailable`.
        """
        patient_until = time.monotonic() + PATIENCE_S
        for turn in itertools.count(1):
            endpoint = self.endpoint
            try:
                return await self.attempt(endpoint, method, request, write=write)
            except Ambiguous:
                self.leave(endpoint)
                raise
            except Unavailable:
                self.leave(endpoint)
                everywhere = turn >= len(self.endpoints)
                if self._closed or (everywhere and time.monotonic() > patient_until):
                    raise
            if turn % len(self.endpoints) == 0:
                await asyncio.sleep(ROUND_PAUSE_S)
        raise AssertionError  # the loop has no end

    async def attempt(
        self,
        endpoint: Endpoint,
        method: Method,
        request: wire.Message,
        *,
        write: bool = False,
        timeout_s: float = ATTEMPT_TIMEOUT_S,
    ) -> wire.Message:
        """The answer to `request` from this endpoint, with a new token where the old is refused."""
        if not endpoint.ready:
            await self.make_ready(endpoint)
        for renewals_left in reversed(range(TOKEN_RENEWALS + 1)):
            metadata = self.metadata
            try:
                with observed(method.name, endpoint.url):
                    return await endpoint.unary(method)(
                        request, timeout=timeout_s, metadata=_traced(metadata)
                    )
            except grpc.aio.AioRpcError as error:
                failed(method.name, error.code().name)
                refused = renewals_left and errors.token_refused(error.details() or "")
                if not refused or not await self.renew_token(endpoint, metadata):
                    raise errors.from_call(error, write=write, where=endpoint.url) from error
            except asyncio.CancelledError:
                # `close` ends calls this way too; a caller that is cancelled itself must stay so.
                if not _is_cancelled():
                    self.raise_if_closed(write=write)
                raise
        raise AssertionError  # the last turn has returned or raised

    async def _send(
        self, endpoint: Endpoint, method: Method, request: wire.Message, metadata: grpc.aio.Metadata
    ) -> wire.Message:
        try:
            return await endpoint.unary(method)(
                request, timeout=ATTEMPT_TIMEOUT_S, metadata=metadata
            )
        except grpc.aio.AioRpcError as error:
            raise errors.from_call(error, write=False, where=endpoint.url) from error

    def leave(self, endpoint: Endpoint) -> None:
        """Turn to the next endpoint, unless another call has done so already."""
        if self.endpoint is endpoint:
            self.endpoint = self.after(endpoint)

    def after(self, endpoint: Endpoint) -> Endpoint:
        """The endpoint that is tried when this one fails."""
        return self.endpoints[(self.endpoints.index(endpoint) + 1) % len(self.endpoints)]

    async def make_ready(self, endpoint: Endpoint, channel: str = "calls") -> None:
        """Connect, take a token, refuse a bad server.

        Raises:
            UnsupportedServer: its version is in `REFUSED_VERSIONS`.
        """
        self.raise_if_closed(write=False)
        await endpoint.connect(channel)
        if not endpoint.accepted:
            request = wire.STATUS.request()
            status = await self._send(endpoint, wire.STATUS, request, self.metadata)
            check_version(status.version, endpoint.url)
            endpoint.accepted = True
        if self._credentials and not self._has_token:
            await self._take_token(endpoint, self._credentials, self.metadata)

    async def renew_token(self, endpoint: Endpoint, refused: grpc.aio.Metadata) -> bool:
        """Take a newer token than `refused` has; False where this client uses none.

        Raises:
            AuthFailed: the user or password is no longer good.
        """
        if self._credentials is None:
            return False
        await self._take_token(endpoint, self._credentials, refused)
        return True

    async def _take_token(
        self, endpoint: Endpoint, credentials: Credentials, refused: grpc.aio.Metadata
    ) -> None:
        async with self._renewal:
            if self.metadata is not refused:
                return  # another call has done it while this one waited
            request = wire.AUTHENTICATE.request(
                name=credentials.user, password=credentials.password
            )
            # An old token would be judged before the password is.
            answer = await self._send(endpoint, wire.AUTHENTICATE, request, _metadata())
            self.metadata = _metadata(answer.token)
            self._has_token = True

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run background work until it ends or the client is closed.

        Raises:
            Unavailable: the client is closed.
        """
        if self._closed:
            work.close()
        self.raise_if_closed(write=False)
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def raise_if_closed(self, *, write: bool) -> None:
        """Raises Unavailable, or Ambiguous for a `write` under way, once the client is closed."""
        if self._closed:
            kind: type[StoreError] = Ambiguous if write else Unavailable
            raise kind("this client of the store was closed")

    async def close(self) -> None:
        """End the background work and the calls under way, and disconnect."""
        self._closed = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(endpoint.close() for endpoint in self.endpoints))
