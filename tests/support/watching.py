"""Taking events from a watch with a bound, for tests."""

import asyncio
from collections.abc import AsyncIterator

from lpmos.store.api import WatchBatch, WatchEvent

WATCH_TIMEOUT_S = 20.0


async def next_batch(watch: AsyncIterator[WatchBatch]) -> WatchBatch:
    """The next batch; fails where none comes in time."""
    async with asyncio.timeout(WATCH_TIMEOUT_S):
        return await anext(watch)


async def take_events(watch: AsyncIterator[WatchBatch], count: int) -> list[WatchEvent]:
    """Events of whole batches until there are at least `count`."""
    events: list[WatchEvent] = []
    while len(events) < count:
        events += (await next_batch(watch)).events
    return events


def brief(events: list[WatchEvent]) -> list[tuple[str, str, bytes, int]]:
    """What matters of events: type, key, value, revision."""
    return [(e.type, e.kv.key, e.kv.value, e.kv.mod_revision) for e in events]
