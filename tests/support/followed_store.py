"""A store in memory with what a mirror uses, which fails when it is told to."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence

from lpmos.store.api import (
    KV,
    Compacted,
    Page,
    StoreError,
    Unavailable,
    WatchBatch,
    WatchEvent,
)


class FollowedStore:
    """Keys, their history, and open watches."""

    def __init__(self) -> None:
        self.revision = 1
        self.away = False
        self.compact_revision = 0
        self.listings = 0
        self.list_errors: deque[StoreError] = deque()
        self._kvs: dict[str, KV] = {}
        self._history: list[WatchBatch] = []
        self._changed = asyncio.Event()
        self._watch_error: StoreError | None = None

    def put(self, *keys: str, value: bytes = b"") -> int:
        """Write keys as one revision."""
        self.revision += 1
        events = []
        for key in keys:
            old = self._kvs.get(key)
            created, version = (old.create_revision, old.version) if old else (self.revision, 0)
            self._kvs[key] = KV(key, value, created, self.revision, version + 1)
            events.append(WatchEvent("put", self._kvs[key]))
        self._publish(events)
        return self.revision

    def delete(self, key: str) -> int:
        """Delete a key that exists."""
        self.revision += 1
        del self._kvs[key]
        self._publish([WatchEvent("delete", KV(key, b"", 0, self.revision, 0))])
        return self.revision

    def forget_history(self) -> None:
        """Compact everything."""
        self.compact_revision = self.revision + 1
        self._history.clear()

    def go_back(self, revision: int) -> None:
        """Be what was restored from an old, empty snapshot."""
        self.revision = revision
        self._kvs.clear()
        self._history.clear()

    def break_watches(self, error: StoreError) -> None:
        """End every open watch with an error."""
        self._watch_error = error
        self._wake()

    async def range(self, prefix: str, *, limit: int = 0, keys_only: bool = False) -> Page:
        self._refuse_when_away()
        return Page((), self.revision)

    async def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        self.listings += 1
        self._refuse_when_away()
        if self.list_errors:
            raise self.list_errors.popleft()
        found = sorted(key for key in self._kvs if key.startswith(prefix))
        revision = self.revision
        pages = [found[first : first + 2] for first in range(0, len(found), 2)] or [[]]
        kvs = [tuple(self._kvs[key] for key in keys) for keys in pages]
        for number, part in enumerate(kvs):
            yield Page(part, revision, number < len(kvs) - 1)

    async def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        self._refuse_when_away()
        self._watch_error = None
        since = from_revision
        while True:
            if self._watch_error is not None:
                raise self._watch_error
            if since < self.compact_revision:
                raise Compacted(self.compact_revision)
            changed = self._changed
            for batch in [one for one in self._history if one.revision >= since]:
                events = tuple(e for e in batch.events if e.kv.key.startswith(prefix))
                since = batch.revision + 1
                if events:
                    yield WatchBatch(batch.revision, events)
            await changed.wait()

    def _publish(self, events: Sequence[WatchEvent]) -> None:
        self._history.append(WatchBatch(self.revision, tuple(events)))
        self._wake()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    def _refuse_when_away(self) -> None:
        if self.away:
            raise Unavailable("away")
