"""Records what a watch gives, while a test does harm to the store below it."""

import asyncio
from collections import Counter
from collections.abc import Callable

from lpmos.store.api import Store, StoreError, WatchBatch
from tests.support.opened import Opened


class WatchRecorder(Opened):
    """Iterates over one watch in the background; `error` is what ended it."""

    def __init__(self, store: Store, prefix: str, from_revision: int = 1) -> None:
        self._store = store
        self._prefix = prefix
        self._from_revision = from_revision
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.batches: list[WatchBatch] = []
        self.error: StoreError | None = None

    async def _run(self) -> None:
        try:
            async for batch in self._store.watch(self._prefix, from_revision=self._from_revision):
                self.batches.append(batch)
                self._changed.set()
        except StoreError as error:
            self.error = error
            self._changed.set()

    async def until(self, condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        """Wait until `condition` holds; raises TimeoutError after `timeout_s`."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def until_key(self, key: str, timeout_s: float = 30.0) -> None:
        """Wait until an event of `key` has come."""
        await self.until(lambda: key in self.key_counts(), timeout_s)

    def key_counts(self) -> Counter[str]:
        """How many events each key had."""
        return Counter(event.kv.key for batch in self.batches for event in batch.events)

    def revisions(self) -> list[int]:
        """The revision of every event in the order they came."""
        return [event.kv.mod_revision for batch in self.batches for event in batch.events]

    def assert_ordered_and_whole(self) -> None:
        """No revision came twice, out of order, or in two batches."""
        last = 0
        for batch in self.batches:
            revisions = [event.kv.mod_revision for event in batch.events]
            assert revisions == sorted(revisions)
            assert revisions[0] > last
            assert revisions[-1] == batch.revision
            last = batch.revision

    async def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Listen no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
