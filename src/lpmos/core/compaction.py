"""The store's history is forgotten after a while, or it would fill up with every progress report.

Watches that fall further behind than `KEEP_S` list again; nothing else needs old revisions but a
backup, which reads all of one revision. Where etcd has taken `CROWDED_SHARE` of its quota, only
`CROWDED_KEEP_S` are kept: each word of an install is a whole document, and hundreds at once would
fill the store within ten minutes. Any number of processes may do this at once: what one has
compacted the others find done.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import structlog

from lpmos.model.storeroom import quota_of
from lpmos.store.api import Compacted, Store, StoreError, StoreStatus

log = structlog.get_logger()

KEEP_S = 600.0
CROWDED_KEEP_S = 120.0
CROWDED_SHARE = 1 / 3
INTERVAL_S = 60.0


def kept_s(status: StoreStatus) -> float:
    """How long the history of a store is kept, by the room that it has."""
    quota = quota_of(status.backend, status.quota_bytes)
    crowded = quota is not None and status.in_use_bytes > quota * CROWDED_SHARE
    return CROWDED_KEEP_S if crowded else KEEP_S


async def keep_compacted(
    store: Store,
    *,
    keeps: Callable[[StoreStatus], float] = kept_s,
    interval_s: float = INTERVAL_S,
) -> None:
    """Compact for ever to the revision of as many seconds ago as `keeps` says.

    It looks every `interval_s`.
    """
    loop = asyncio.get_running_loop()
    seen: deque[tuple[float, int]] = deque()
    while True:
        try:
            await _compact_once(store, seen, loop.time(), keeps)
        except StoreError as error:
            log.info("not compacted this time", reason=str(error))
        await asyncio.sleep(interval_s)


async def _compact_once(
    store: Store,
    seen: deque[tuple[float, int]],
    now_s: float,
    keeps: Callable[[StoreStatus], float],
) -> None:
    status = await store.status()
    seen.append((now_s, status.revision))
    keep_s = keeps(status)
    revision = 0
    while seen and now_s - seen[0][0] >= keep_s:
        revision = seen.popleft()[1]
    if revision > 1:
        try:
            await store.compact(revision)
        except Compacted:
            return
        log.debug("compacted", revision=revision)
