"""Reports of machines that have no task (S7): one key for each machine, however often it reports.

A machine in discovery reports every minute for as long as nobody cares: an unchanged report is
written again only after `REFRESH`, and beyond `LIMIT` machines the oldest report makes room. One
that a control plane deleted (dismissed, or made a task of) is new when the machine reports again.
Another machine with a known machine's MAC has its report here too, until it is dismissed.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta

import msgspec

from lpmos.core.clock import Clock
from lpmos.model.fingerprint import identity_of
from lpmos.model.inventory import Inventory
from lpmos.model.machine import UnmatchedReport
from lpmos.store import keys, records
from lpmos.store.api import Put, Store

NO_TASK = "no task for this machine"
LIMIT = 2_000
REFRESH = timedelta(minutes=10)


class _Kept(msgspec.Struct, frozen=True):
    """Where a machine's report is, and what was written there when."""

    key: str
    written_at: datetime | None = None
    content: bytes = b""

    def is_fresh(self, content: bytes, now: datetime) -> bool:
        """Whether the store has this content, written not long ago."""
        return (
            self.content == content
            and self.written_at is not None
            and now - self.written_at < REFRESH
        )


class UnmatchedReports:
    """The kept reports of one data center, oldest first; filled from the store when first used."""

    def __init__(self, store: Store, clock: Clock, idc: str) -> None:
        self._store = store
        self._clock = clock
        self._idc = idc
        self._kept: OrderedDict[str, _Kept] | None = None

    async def keep(
        self,
        mac: str,
        sn: str | None,
        inventory: Inventory,
        *,
        error: str = NO_TASK,
        same_mac_as: str | None = None,
        write: Callable[[Put], Awaitable[None]] | None = None,
    ) -> None:
        """Write the report of this machine; raises as `Store.put`, or as `write` does.

        Args:
            mac: by which it called.
            sn: its serial number, where that can name it.
            inventory: its hardware.
            error: why it has no task.
            same_mac_as: the known machine that has this MAC.
            write: how to store it with what else belongs to it; it is called where there is news.
        """
        kept = await self._known()
        now = self._clock()
        stable = msgspec.structs.replace(inventory.bounded(), collected_at=datetime.min)
        content = msgspec.json.encode((sn, stable, error))
        before = kept.get(mac)
        if before and await self._store.get(before.key) is None:
            before = None
        if before and before.is_fresh(content, now):
            return
        report = UnmatchedReport(
            mac_address=mac,
            region=self._idc,
            sn=sn,
            hardware=inventory.bounded(),
            received_at=now,
            error=error,
            same_mac_as=same_mac_as,
        )
        key = before.key if before else keys.unmatched(self._idc, now, mac)
        await (write or self._write)(Put(key, records.encode(report)))
        kept[mac] = _Kept(key, now, content)
        kept.move_to_end(mac)
        while len(kept) > LIMIT:
            await self._store.delete(next(iter(kept.values())).key)
            kept.popitem(last=False)

    async def forget(self, macs: Iterable[str], inventory: Inventory) -> None:
        """The machine with these MACs has found its task; raises as `Store.delete`.

        What another machine reported with one of them stays.
        """
        kept = await self._known()
        for mac in macs:
            if mac in kept and not await self._is_anothers(kept[mac].key, inventory):
                await self._store.delete(kept[mac].key)
                kept.pop(mac, None)

    async def _write(self, report: Put) -> None:
        await self._store.put(report.key, report.value)

    async def _is_anothers(self, key: str, inventory: Inventory) -> bool:
        """Whether the kept report is of another machine than the inventory."""
        kv = await self._store.get(key)
        if kv is None:
            return False
        try:
            report = records.decode(kv, UnmatchedReport)
        except records.DamagedRecord:
            return False
        return bool(identity_of(inventory).differences(identity_of(report.hardware)))

    async def _known(self) -> OrderedDict[str, _Kept]:
        if self._kept is None:
            page = await self._store.range(keys.unmatched_prefix(self._idc), keys_only=True)
            found: OrderedDict[str, _Kept] = OrderedDict()
            for kv in page.kvs:
                digits = kv.key.rsplit("-", 1)[-1]
                found[":".join(digits[i : i + 2] for i in range(0, 12, 2))] = _Kept(kv.key)
            self._kept = found if self._kept is None else self._kept
        return self._kept
