"""The one thread that writes, and how many requests share one commit.

While a commit waits for the disk, requests gather; the next commit takes all of them. A request is
answered only after its commit is on the disk, and on the event loop the watches hear of a commit
before its requests are answered. At most `MAX_WAITING` requests are under way: more wait their
turn in `submit`.
"""

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from lpmos.store.api import StoreError, Unavailable, WatchBatch
from lpmos.store.sqlite.ledger import Ledger
from lpmos.store.sqlite.schema import store_error

MAX_WAITING = 4096
MAX_GROUP = 512

_log = logging.getLogger(__name__)

T = TypeVar("T")
Publish = Callable[[int, Sequence[WatchBatch]], None]


class _Request(Generic[T]):
    """One thing to do, whom to tell, and how it went."""

    def __init__(self, action: Callable[[Ledger], T], answer: "asyncio.Future[T]") -> None:
        self._action = action
        self._answer = answer
        self._result: T
        self._error: Exception | None = None

    def perform(self, ledger: Ledger) -> None:
        """Run in the writer's thread; a refusal concerns this request alone."""
        try:
            self._result = self._action(ledger)
        except StoreError as error:
            self._error = error

    def fail(self, error: Exception) -> None:
        """Whatever came of it is void."""
        self._error = error

    def tell(self) -> None:
        """Answer whoever asked, on the event loop, where they still wait."""
        if self._answer.done():
            return
        if self._error is None:
            self._answer.set_result(self._result)
        else:
            self._answer.set_exception(self._error)


class Writer:
    """Runs actions on the ledger in order; `publish` gets what each commit changed."""

    def __init__(self, ledger: Ledger, publish: Publish) -> None:
        """The ledger belongs to the writer's thread from now on."""
        self._ledger = ledger
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._requests: queue.SimpleQueue[_Request[object] | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._closing = False
        self.last_error: StoreError | None = None
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()

    async def submit(self, action: Callable[[Ledger], T]) -> T:
        """Have `action` done and committed; its result, or the error it raised.

        Raises:
            Unavailable: the store is closed.
            NoSpace, Ambiguous, Damaged: the commit failed.
        """
        async with self._room:
            if self._closing:
                raise Unavailable("the store is closed")
            answer: asyncio.Future[T] = self._loop.create_future()
            self._requests.put(_Request(action, answer))  # type: ignore[arg-type]
            return await answer

    async def close(self) -> None:
        """Do what was asked for before now, then end the thread."""
        if not self._closing:
            self._closing = True
            self._requests.put(None)
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        going_on = True
        while going_on:
            group, going_on = self._gather()
            if group:
                self._commit(group)
            if self._may_sweep:
                self._commit_sweep()

    @property
    def _may_sweep(self) -> bool:
        """Sweeping that failed waits for a commit that succeeds."""
        return self._ledger.unswept and self.last_error is None

    def _gather(self) -> tuple[list[_Request[object]], bool]:
        """What waits now, or the next to come; no waiting while there is sweeping to do."""
        group: list[_Request[object]] = []
        with contextlib.suppress(queue.Empty):
            while len(group) < MAX_GROUP:
                request = self._requests.get(block=not group and not self._may_sweep)
                if request is None:
                    return group, False
                group.append(request)
        return group, True

    def _commit(self, group: list[_Request[object]]) -> None:
        batches: Sequence[WatchBatch] = ()
        try:
            with self._ledger.transaction():
                for request in group:
                    request.perform(self._ledger)
            batches = self._ledger.take_batches()
            self.last_error = None
        except Exception as error:  # noqa: BLE001 - the thread's task boundary
            self.last_error = _meaning(error)
            for request in group:
                request.fail(self.last_error)
        self._tell(group, batches)

    def _commit_sweep(self) -> None:
        try:
            with self._ledger.transaction():
                self._ledger.sweep()
        except Exception as error:  # noqa: BLE001 - the thread's task boundary
            self.last_error = _meaning(error)

    def _tell(self, group: list[_Request[object]], batches: Sequence[WatchBatch]) -> None:
        revision = self._ledger.committed_revision

        def tell() -> None:
            self._publish(revision, batches)
            for request in group:
                request.tell()

        with contextlib.suppress(RuntimeError):  # the loop has ended; nobody waits
            self._loop.call_soon_threadsafe(tell)


def _meaning(error: Exception) -> StoreError:
    if isinstance(error, sqlite3.Error):
        meaning = store_error(error)
        _log.warning("a commit failed: %s", meaning)
        return meaning
    _log.error("a commit failed for a reason that should not exist", exc_info=error)
    return Unavailable(f"the store could not do this ({error!r}); nothing was changed")
