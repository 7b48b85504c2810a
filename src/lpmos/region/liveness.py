"""Which agents live (S4): a key for each machine whose agent is heard, all bound to one lease.

The rule: a key is written when an agent is heard first and deleted when it is silent, and nothing
in between, however many agents there are. Where the region itself ends, its lease takes all of
them away; a lease that was lost is replaced, and the agents that are still heard get new keys.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec
import structlog

from lpmos.core.agentrun import AgentRun
from lpmos.core.clock import Clock
from lpmos.model.machine import AgentLease
from lpmos.store import keys, records
from lpmos.store.api import Compare, Delete, Lease, LeaseNotFound, Put, Store, StoreError

TTL_S = 30
SILENCE_S = 30.0
"""An agent that says nothing for so long is off line; who waits for an answer is not silent."""

AFTER_WAIT_S = 10.0
"""How long after the end of its long poll an agent may take to call again."""

SWEEP_S = 1.0
RETRY_S = 2.0
AT_ONCE = 50
"""How many keys one transaction writes."""

MACHINES_LIMIT = 20_000
"""Machines beyond that are not shown as on line."""

LEAVE_TIMEOUT_S = 1.0


class _Heard(msgspec.Struct):
    """An agent: until when it counts as heard, and at which revision its key stands (0: none)."""

    agent: AgentLease
    until: float
    revision: int = 0


Place = tuple[str, str]


class AgentLiveness:
    """Keeps the keys of one region's agents; `run` does the writing."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        ttl_s: int = TTL_S,
        sweep_s: float = SWEEP_S,
    ) -> None:
        """`clock` is what people are shown, `monotonic` what silence is measured by.

        The lease lives for `ttl_s` without the region; who is silent is looked for every `sweep_s`.
        """
        self._store = store
        self._clock = clock
        self._monotonic = monotonic
        self._ttl_s = ttl_s
        self._sweep_s = sweep_s
        self._agents: dict[Place, _Heard] = {}
        self._dirty: set[Place] = set()
        self._news = asyncio.Event()
        self._log = structlog.get_logger()

    @property
    def count(self) -> int:
        """How many agents are heard."""
        return len(self._agents)

    def heard(self, run: AgentRun, place: Place, wait_s: float = 0.0) -> None:
        """An agent has called, and is answered after `wait_s` at the latest; never waits."""
        until = self._monotonic() + max(SILENCE_S, wait_s + AFTER_WAIT_S)
        known = self._agents.get(place)
        # A call that does not name its run, as the long poll, is that of the run that is known.
        if known is not None and run.agent_id in (known.agent.agent_id, run.mac):
            known.until = max(known.until, until)
            return
        if known is None and len(self._agents) >= MACHINES_LIMIT:
            return
        agent = AgentLease(agent_id=run.agent_id, mac=run.mac, at=self._clock())
        revision = known.revision if known else 0
        self._agents[place] = _Heard(agent, until, revision)
        self._dirty.add(place)
        self._news.set()

    def left(self, place: Place) -> None:
        """The agent of this machine has said its last word: its key is deleted soon."""
        if (known := self._agents.get(place)) is not None:
            known.until = self._monotonic()

    async def run(self) -> None:
        """Write until cancelled; the last act takes all keys away."""
        while True:
            try:
                await self._hold_lease()
                self._log.warning("the lease of the agents was lost; taking a new one")
            except (StoreError, OSError) as error:
                self._log.warning("agents are not shown as on line now", error=str(error))
            await asyncio.sleep(RETRY_S)

    async def _hold_lease(self) -> None:
        lease = await self._store.grant(self._ttl_s)
        self._dirty = set(self._agents)
        try:
            while not lease.lost.is_set():
                try:
                    await self._sweep(lease)
                except LeaseNotFound:
                    return
                except (StoreError, OSError) as error:
                    self._log.warning("agents' liveness is not written yet", error=str(error))
                    await asyncio.sleep(self._sweep_s)
                self._news.clear()
                if not self._dirty:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(self._sweep_s):
                            await self._news.wait()
        finally:
            with contextlib.suppress(StoreError, TimeoutError):
                async with asyncio.timeout(LEAVE_TIMEOUT_S):
                    await lease.revoke()

    async def _sweep(self, lease: Lease) -> None:
        """Write the keys of who was heard first, and delete those of who is silent."""
        now = self._monotonic()
        silent = [place for place, heard in self._agents.items() if heard.until <= now]
        for part in _parts(silent):
            await self._forget(part)
        for part in _parts(sorted(self._dirty)):
            await self._tell(part, lease)

    async def _tell(self, places: Sequence[Place], lease: Lease) -> None:
        found = {place: self._agents[place] for place in places if place in self._agents}
        puts = [
            Put(keys.lease(*place), records.encode(heard.agent), lease=lease.id)
            for place, heard in found.items()
        ]
        revision = (await self._store.txn([], puts)).revision if puts else 0
        for place, heard in found.items():
            if self._agents.get(place) is heard:
                heard.revision = revision
                self._dirty.discard(place)
        self._dirty.difference_update(set(places) - found.keys())

    async def _forget(self, places: Sequence[Place]) -> None:
        """Delete the keys as this region wrote them; another region's stay."""
        written = {place: self._agents[place].revision for place in places}
        compare = [
            Compare(keys.lease(*place), "mod", "=", revision)
            for place, revision in written.items()
            if revision
        ]
        deletes = [Delete(each.key) for each in compare]
        if compare and not (await self._store.txn(compare, deletes)).succeeded:
            for each in compare:
                await self._store.txn([each], [Delete(each.key)])
        now = self._monotonic()
        for place in places:
            if self._agents[place].until <= now:
                del self._agents[place]
                self._dirty.discard(place)
            else:  # heard again meanwhile
                self._agents[place].revision = 0
                self._dirty.add(place)


def _parts(places: Iterable[Place]) -> list[list[Place]]:
    whole = list(places)
    return [whole[first : first + AT_ONCE] for first in range(0, len(whole), AT_ONCE)]
