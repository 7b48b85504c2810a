"""The store's history is forgotten after a while, or it would fill up with every progress report.

Watches that fall further behind than `KEEP_S` list again; nothing else needs old revisions. Any
number of processes may do this at once: what one has compacted the others find done.
"""

import asyncio
from collections import deque

import structlog

from lpmos.store.api import Compacted, Store, StoreError

log = structlog.get_logger()

KEEP_S = 600.0
INTERVAL_S = 60.0


async def keep_compacted(
    store: Store, *, keep_s: float = KEEP_S, interval_s: float = INTERVAL_S
) -> None:
    """Compact for ever to the revision of `keep_s` ago, looking every `interval_s`."""
    loop = asyncio.get_running_loop()
    seen: deque[tuple[float, int]] = deque()
    while True:
        try:
            await _compact_once(store, seen, loop.time(), keep_s)
        except StoreError as error:
            log.info("not compacted this time", reason=str(error))
        await asyncio.sleep(interval_s)


async def _compact_once(
    store: Store, seen: deque[tuple[float, int]], now_s: float, keep_s: float
) -> None:
    seen.append((now_s, (await store.status()).revision))
    revision = 0
    while seen and now_s - seen[0][0] >= keep_s:
        revision = seen.popleft()[1]
    if revision > 1:
        try:
            await store.compact(revision)
        except Compacted:
            return
        log.debug("compacted", revision=revision)
