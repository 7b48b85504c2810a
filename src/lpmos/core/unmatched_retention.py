"""Reports without a task (S7) that no machine has repeated for long are not kept.

One of the duties of the elected control plane. A machine that still boots repeats its report every
few minutes, so an old one is of a machine that is gone. The rule: only what still stands as it was
read is deleted, and a machine that comes back is reported anew. The audit log hears nothing of it:
an end that was said beforehand is no event.
"""

import asyncio
from datetime import timedelta

import structlog

from lpmos.core.clock import Clock
from lpmos.model.machine import UnmatchedReport
from lpmos.store import keys, records
from lpmos.store.api import KV, Compare, Delete, Leadership, Store, StoreError

log = structlog.get_logger()

EVERY_S = 3600.0
AT_ONCE = 50


class UnmatchedRetention:
    """Deletes every `EVERY_S` what is older than `kept`."""

    def __init__(self, store: Store, clock: Clock, kept: timedelta) -> None:
        self._store = store
        self._clock = clock
        self._kept = kept

    async def lead(self, leadership: Leadership) -> None:
        """Do it until cancelled."""
        while True:
            try:
                await self.sweep(leadership)
            except StoreError as error:
                log.info("old reports without a task are not swept yet", reason=str(error))
            await asyncio.sleep(EVERY_S)

    async def sweep(self, leadership: Leadership) -> None:
        """Do it once; what was written meanwhile is looked at the next time."""
        async for page in self._store.list(keys.UNMATCHED):
            old = [kv for kv in page.kvs if self._is_old(kv)]
            for first in range(0, len(old), AT_ONCE):
                part = old[first : first + AT_ONCE]
                compare = [Compare(kv.key, "mod", "=", kv.mod_revision) for kv in part]
                await self._store.txn(
                    [*leadership.fence, *compare], [Delete(kv.key) for kv in part]
                )
                log.info("deleted old reports without a task", count=len(part))

    def _is_old(self, kv: KV) -> bool:
        try:
            received_at = records.decode(kv, UnmatchedReport).received_at
        except records.DamagedRecord:
            return False
        return self._clock() - received_at >= self._kept
