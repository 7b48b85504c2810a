"""Watches: every change once and in order, from memory where possible, else from history.

A feed collects what commits publish while its watcher is busy. It holds at most `MAX_EVENTS` and
`MAX_BYTES`; beyond that it is emptied and the watcher reads what it lost from the database, so a
slow watcher costs bounded memory and misses nothing. Its `floor` is the revision from which on the
feed is complete.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Sequence
from typing import Protocol

from lpmos.store.api import WatchBatch, WatchEvent

MAX_EVENTS = 10_000
MAX_BYTES = 16 * 1024 * 1024
CATCH_UP_EVENTS = 500


class ReadChanges(Protocol):
    """Reads history: the changes under a prefix from `since`, before `before`; see `read`."""

    def __call__(
        self, prefix: str, since: int, before: int, limit: int
    ) -> Awaitable[tuple[WatchBatch | None, int]]: ...


class Feed:
    """What was published under one prefix and not yet taken."""

    def __init__(self, prefix: str, floor: int) -> None:
        self.prefix = prefix
        self.floor = floor
        self._batches: deque[WatchBatch] = deque()
        self._events = 0
        self._bytes = 0
        self._more = asyncio.Event()
        self._ended = False

    def publish(self, revision: int, batches: Sequence[WatchBatch]) -> None:
        """Take the batches that were committed, up to `revision`."""
        events = tuple(
            event
            for batch in batches
            for event in batch.events
            if event.kv.key.startswith(self.prefix)
        )
        if not events:
            return
        self._batches.append(WatchBatch(events[-1].kv.mod_revision, events))
        self._events += len(events)
        self._bytes += sum(len(event.kv.value) for event in events)
        if self._events > MAX_EVENTS or self._bytes > MAX_BYTES:
            self._empty()
            self.floor = revision + 1
        self._more.set()

    def end(self) -> None:
        """Nothing more will come."""
        self._ended = True
        self._more.set()

    async def wait(self) -> bool:
        """Wait until there is something to take or to catch up; False at the end."""
        await self._more.wait()
        return not self._ended

    def take(self, since: int) -> WatchBatch | None:
        """All that is here in one batch (of the oldest), without what is older than `since`."""
        if not self._batches:
            self._more.clear()
            return None
        events: list[WatchEvent] = []
        while self._batches and len(events) < CATCH_UP_EVENTS:
            events += self._batches.popleft().events
        self._events -= len(events)
        self._bytes -= sum(len(event.kv.value) for event in events)
        return _since(WatchBatch(events[-1].kv.mod_revision, tuple(events)), since)

    def _empty(self) -> None:
        self._batches.clear()
        self._events = self._bytes = 0


class Watches:
    """All feeds; belongs to the event loop."""

    def __init__(self, revision: int, read_changes: ReadChanges) -> None:
        self.revision = revision
        self._read_changes = read_changes
        self._feeds: set[Feed] = set()
        self._ended = False

    def publish(self, revision: int, batches: Sequence[WatchBatch]) -> None:
        """Let the watchers know of a commit."""
        self.revision = revision
        if batches:
            for feed in self._feeds:
                feed.publish(revision, batches)

    def end(self) -> None:
        """End every watch."""
        self._ended = True
        for feed in self._feeds:
            feed.end()

    async def watch(self, prefix: str, from_revision: int) -> AsyncGenerator[WatchBatch, None]:
        """Changes under `prefix` from `from_revision` (0: from now); ends with the store."""
        if self._ended:
            return
        feed = Feed(prefix, self.revision + 1)
        self._feeds.add(feed)
        try:
            since = from_revision or feed.floor
            while not self._ended:
                if since < feed.floor:
                    batch, since = await self._read_changes(
                        prefix, since, feed.floor, CATCH_UP_EVENTS
                    )
                else:
                    batch = feed.take(since)
                    if batch is None and not await feed.wait():
                        return
                if batch:
                    since = max(since, batch.revision + 1)
                    yield batch
        finally:
            self._feeds.discard(feed)


def _since(batch: WatchBatch, since: int) -> WatchBatch | None:
    if batch.revision < since:
        return None
    if batch.events[0].kv.mod_revision >= since:
        return batch
    return WatchBatch(batch.revision, tuple(e for e in batch.events if e.kv.mod_revision >= since))
