"""A store whose changes reach this reader only when they are let through."""

import asyncio
from collections.abc import AsyncIterator

from lpmos.store.api import Page, WatchBatch
from tests.support.followed_store import FollowedStore


class GatedStore:
    """What one mirror reads of a store that several share, at a pace of its own."""

    def __init__(self, store: FollowedStore) -> None:
        self._store = store
        self._open_until = 0
        self._opened = asyncio.Event()

    def let_through(self, revision: int) -> None:
        """Let the reader have the changes up to this revision."""
        self._open_until = max(self._open_until, revision)
        self._opened.set()
        self._opened = asyncio.Event()

    def close_at(self, revision: int) -> None:
        """Let nothing through after this revision, whatever was let through before."""
        self._open_until = revision

    async def range(self, prefix: str, *, limit: int = 0, keys_only: bool = False) -> Page:
        return await self._store.range(prefix, limit=limit, keys_only=keys_only)

    async def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        async for each in self._store.list(prefix, page=page):
            yield each

    async def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        async for batch in self._store.watch(prefix, from_revision=from_revision):
            while batch.revision > self._open_until:
                await self._opened.wait()
            yield batch
