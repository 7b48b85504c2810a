"""The bounded queue between a watch's connection and the caller who iterates over it.

The rule: nothing is skipped. History that is read again waits for room (the connection then waits
too); a live change that finds no room ends the watch with `WatchLagged`.
"""

import asyncio
from collections import deque

from lpmos.store.api import StoreError, WatchBatch, WatchLagged

BACKLOG_EVENTS = 10_000


class Backlog:
    """Batches not yet taken, at most `limit` events or one batch, then how the watch ended."""

    def __init__(self, limit: int = BACKLOG_EVENTS) -> None:
        self._limit = limit
        self._batches: deque[WatchBatch] = deque()
        self._events = 0
        self._end: StoreError | None = None
        self._changed = asyncio.Event()
        self._taken = asyncio.Event()

    def _has_room(self, batch: WatchBatch) -> bool:
        return not self._batches or self._events + len(batch.events) <= self._limit

    async def add_history(self, batch: WatchBatch) -> None:
        """Append what happened before the watch began, as soon as there is room."""
        while not self._has_room(batch):
            self._taken.clear()
            await self._taken.wait()
        self._append(batch)

    def add_live(self, batch: WatchBatch) -> None:
        """Append what happens now.

        Raises:
            WatchLagged: there is no room.
        """
        if not self._has_room(batch):
            raise WatchLagged(
                f"{self._events} events wait to be taken: list again and watch from there"
            )
        self._append(batch)

    def _append(self, batch: WatchBatch) -> None:
        self._batches.append(batch)
        self._events += len(batch.events)
        self._changed.set()

    def end(self, error: StoreError) -> None:
        """Let `take` raise `error` after the last batch."""
        self._end = self._end or error
        self._changed.set()

    async def take(self) -> WatchBatch:
        """The next batch; raises what the watch ended with."""
        while not self._batches:
            if self._end is not None:
                raise self._end
            self._changed.clear()
            await self._changed.wait()
        batch = self._batches.popleft()
        self._events -= len(batch.events)
        self._taken.set()
        return batch
