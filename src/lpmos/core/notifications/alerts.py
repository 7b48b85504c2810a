"""What becomes so without anybody changing it: a region falls silent, unmatched reports pile up.

For each such thing its last known state stands in the store. The elected control plane compares it
with what it sees, and writes the new state and the event that tells of it in one transaction, under
its fence: so a change is told of once, also where another control plane takes over in between. What
is seen of a region for the first time is no change: it is noted, and not told of.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.journal import put
from lpmos.model.audit import SYSTEM, AuditEvent, new_event_id
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    Ambiguous,
    CasConflict,
    Compare,
    Get,
    Leadership,
    Put,
    Store,
    Unavailable,
)

log = structlog.get_logger()

PREFIX = keys.control("alerts")
LOOK_S = 1.0
OFFLINE_AFTER = timedelta(seconds=10)
"""How long a heartbeat is missing, beyond its lease, before its region counts as offline: a region
that is restarted is back by then."""

UNMATCHED_LIMIT = 10


class LastKnown(msgspec.Struct, frozen=True, kw_only=True):
    """The last known state of one thing, and since when it is told of as such."""

    state: str
    since: datetime


class _Kept(NamedTuple):
    last: LastKnown
    revision: int


class AlertDuty:
    """Watches whether regions are online, and how many reports have no task."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        clock: Clock,
        *,
        unmatched_limit: int = UNMATCHED_LIMIT,
        look_s: float = LOOK_S,
    ) -> None:
        """More than `unmatched_limit` reports of one data center are many; half of it few again."""
        self._store = store
        self._fleet = fleet
        self._clock = clock
        self._unmatched_limit = unmatched_limit
        self._look_s = look_s

    async def lead(self, leadership: Leadership) -> None:
        """Look and tell until cancelled.

        Raises:
            CasConflict: another control plane leads.
        """
        term = self.term(leadership)
        while True:
            try:
                await term.look()
            except (Unavailable, Ambiguous) as error:
                log.warning("cannot look for alerts now", reason=str(error))
            await asyncio.sleep(self._look_s)

    def term(self, leadership: Leadership) -> "AlertTerm":
        """One term of leadership, with nothing known yet."""
        states = _States(self._store, self._clock, leadership)
        return AlertTerm(self._fleet, self._clock, states, self._unmatched_limit)


class AlertTerm:
    """What one leader sees; a region is missing since it saw that first."""

    def __init__(self, fleet: Fleet, clock: Clock, states: "_States", unmatched_limit: int) -> None:
        self._fleet = fleet
        self._clock = clock
        self._states = states
        self._unmatched_limit = unmatched_limit
        self._missing_since: dict[str, datetime] = {}

    async def look(self) -> None:
        """Compare what is seen now with what was last known, and tell of what differs.

        Raises:
            Unavailable, Ambiguous: the store cannot be asked; what is known is read again.
            CasConflict: another control plane leads.
        """
        if not (self._fleet.listed and self._fleet.connected):
            return
        try:
            await self._states.learn()
            await self._look_at_regions()
            await self._look_at_unmatched()
        except (Unavailable, Ambiguous):
            self._states.forget()
            raise

    async def _look_at_regions(self) -> None:
        regions = self._fleet.regions()
        online = {region.idc for region in regions if region.online}
        heard_of = {region.idc for region in regions} | self._states.places("region")
        now = self._clock()
        for idc in sorted(heard_of):
            if idc in online:
                self._missing_since.pop(idc, None)
                await self._become(idc, "online")
            elif now - self._missing_since.setdefault(idc, now) >= OFFLINE_AFTER:
                await self._become(idc, "offline")

    async def _become(self, idc: str, state: str) -> None:
        known = self._states.get("region", idc)
        await self._states.become("region", idc, state, told=bool(known))

    async def _look_at_unmatched(self) -> None:
        counts = Counter(each.idc for each in self._fleet.unmatched())
        for idc in sorted(counts.keys() | self._states.places("unmatched")):
            known = self._states.get("unmatched", idc) or "few"
            if counts[idc] > self._unmatched_limit:
                state = "many"
            else:
                state = "few" if counts[idc] <= self._unmatched_limit // 2 else known
            if state != known:
                await self._states.become("unmatched", idc, state, detail={"count": counts[idc]})


class _States:
    """The states as one leader knows them; nobody else writes them while it leads."""

    def __init__(self, store: Store, clock: Clock, leadership: Leadership) -> None:
        self._store = store
        self._clock = clock
        self._leadership = leadership
        self._kept: dict[str, _Kept] | None = None

    async def learn(self) -> None:
        """Read them from the store, unless they are known."""
        if self._kept is not None:
            return
        kept: dict[str, _Kept] = {}
        async for page in self._store.list(PREFIX):
            for kv in page.kvs:
                kept[kv.key.removeprefix(PREFIX)] = _Kept(self._decoded(kv), kv.mod_revision)
        self._kept = kept

    def _decoded(self, kv: KV) -> LastKnown:
        """The record; one that is damaged says nothing, and is written anew."""
        try:
            return records.decode(kv, LastKnown)
        except records.DamagedRecord as error:
            log.warning("a damaged record is written anew", key=kv.key, error=str(error))
            return LastKnown(state="", since=self._clock())

    def forget(self) -> None:
        """They must be read again: whether a write was done is not known."""
        self._kept = None

    def places(self, kind: str) -> set[str]:
        """The data centers of which a state of this kind is known."""
        names = (name.partition("/") for name in self._kept or ())
        return {idc for each, _, idc in names if each == kind}

    def get(self, kind: str, idc: str) -> str | None:
        """The last known state; None where there is none."""
        kept = (self._kept or {}).get(f"{kind}/{idc}")
        return kept.last.state if kept else None

    async def become(
        self,
        kind: str,
        idc: str,
        state: str,
        *,
        detail: Mapping[str, int] | None = None,
        told: bool = True,
    ) -> None:
        """Write the state, and where it shall be `told` the event of it, unless it is known so.

        Raises:
            CasConflict: another control plane leads.
        """
        if self._kept is None or self.get(kind, idc) == state:
            return
        name = f"{kind}/{idc}"
        before = self._kept.get(name)
        now = self._clock()
        key, last = PREFIX + name, LastKnown(state=state, since=now)
        event = AuditEvent(
            event_id=new_event_id(now),
            at=now,
            action=f"{kind}.{state}",
            actor=SYSTEM,
            target=name,
            idc=idc,
            before=msgspec.to_builtins(before.last) if before else None,
            after={"state": state, **(detail or {})},
        )
        unchanged = Compare(key, "mod", "=", before.revision if before else 0)
        done = await self._store.txn(
            [*self._leadership.fence, unchanged],
            [Put(key, records.encode(last)), *([put(event)] if told else [])],
        )
        if done.succeeded:
            log.info("an alert" if told else "seen for the first time", target=name, state=state)
            self._kept[name] = _Kept(last, done.revision)
            return
        self.forget()
        await self._check_leading()

    async def _check_leading(self) -> None:
        (first, *_) = self._leadership.fence
        if not (await self._store.txn(self._leadership.fence, [Get(first.key)])).succeeded:
            raise CasConflict("another control plane leads; it looks for alerts")
