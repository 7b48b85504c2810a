"""The one thread that writes, and how many requests share one commit.

While a commit waits for the disk, requests gather; the next commit takes all of them. A request is
answered only after its commit is on the disk, and on the event loop the watches hear of a commit
before its requests are answered. At most `MAX_WAITING` requests are under way: more wait their
turn in `submit`.
"""

import asyncio
import contextlib
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

    def __init__(self, connection: sqlite3.Connection, publish: Publish) -> None:
        self._connection = connection
        self._ledger = Ledger(connection)
        self._publish = publish
        self._loop = asyncio.get_running_loop()
        self._requests: queue.SimpleQueue[_Request[object] | None] = queue.SimpleQueue()
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._closing = False
        self.last_error: StoreError | None = None
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)

    @property
    def ledger(self) -> Ledger:
        """The state at the start; once `start` was called it belongs to the thread."""
        return self._ledger

    def start(self) -> None:
        """Begin to take requests."""
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
            if self._ledger.unswept:
                self._commit_sweep()

    def _gather(self) -> tuple[list[_Request[object]], bool]:
        """What waits now, or the next to come; no waiting while there is sweeping to do."""
        group: list[_Request[object]] = []
        with contextlib.suppress(queue.Empty):
            while len(group) < MAX_GROUP:
                idle = not group and not self._ledger.unswept
                request = self._requests.get(block=idle)
                if request is None:
                    return group, False
                group.append(request)
        return group, True

    def _commit(self, group: list[_Request[object]]) -> None:
        batches: list[WatchBatch] = []
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            for request in group:
                request.perform(self._ledger)
            batches = self._ledger.seal()
            self._connection.execute("COMMIT")
            self.last_error = None
        except sqlite3.Error as error:
            self._undo(error)
            for request in group:
                request.fail(store_error(error))
        self._tell(group, batches)

    def _commit_sweep(self) -> None:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._ledger.sweep()
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo(error)

    def _undo(self, error: sqlite3.Error) -> None:
        self.last_error = store_error(error)
        with contextlib.suppress(sqlite3.Error):  # SQLite may have rolled back by itself
            self._connection.execute("ROLLBACK")
        self._ledger.reload()

    def _tell(self, group: list[_Request[object]], batches: Sequence[WatchBatch]) -> None:
        revision = self._ledger.revision

        def tell() -> None:
            self._publish(revision, batches)
            for request in group:
                request.tell()

        with contextlib.suppress(RuntimeError):  # the loop has ended; nobody waits
            self._loop.call_soon_threadsafe(tell)
