"""Control planes that end what waits too long and try it again, on a clock that a test sets."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta

from lpmos.core.deadlines.deadlines import Deadlines
from lpmos.core.deadlines.duty import DeadlineDuty
from lpmos.core.duties import Duties
from lpmos.core.fleet import Fleet
from lpmos.core.retry import RetryDuty
from lpmos.core.tasks import Tasks
from lpmos.model.audit import AuditEvent
from lpmos.model.machine import AgentLease
from lpmos.model.region import Heartbeat, OutboxState
from lpmos.model.retry import RetryPolicy
from lpmos.model.task import Task
from lpmos.model.waiting import Timeouts
from lpmos.store import keys, records
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror
from tests.support.builders import MAC, NOW
from tests.support.clocks import HandClock
from tests.support.following import following
from tests.support.polling import until

TIMEOUT_S = 30.0
LOOK_S = 0.01


class SetClock(HandClock):
    """One that can also be set wrong."""

    def __init__(self, now: datetime = NOW) -> None:
        super().__init__(now)
        self._set_by_s = 0.0

    def pass_s(self, seconds: float) -> None:
        """Let time pass."""
        self.move(seconds=seconds)

    def set_by_s(self, seconds: float) -> None:
        """Set the clock wrong, or right."""
        self.move(seconds=seconds)
        self._set_by_s += seconds

    def monotonic(self) -> float:
        """The time that passed, however the clock was set."""
        return self.now.timestamp() - self._set_by_s


class Warden:
    """A control plane's part in deadlines and retries, over a mirror of its own."""

    def __init__(
        self,
        store: Store,
        clock: SetClock,
        *,
        timeouts: Timeouts | None = None,
        retries: RetryPolicy | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.mirror = Mirror(store, keys.ROOT)
        self.fleet = Fleet(self.mirror)
        self.tasks = Tasks(store, self.fleet, clock)
        self.deadlines = Deadlines(self.fleet, timeouts or Timeouts(), clock)
        self.duty = DeadlineDuty(
            store, self.fleet, self.deadlines, clock, look_s=LOOK_S, monotonic=clock.monotonic
        )
        policy = retries or RetryPolicy(limit=0)
        self.retry = RetryDuty(self.fleet, self.tasks, policy, clock, look_s=LOOK_S)

    async def shows(self, revision: int) -> None:
        """Wait until memory has a revision."""
        async with asyncio.timeout(TIMEOUT_S):
            await self.mirror.wait_for(revision)

    async def synced(self) -> None:
        """Everything written so far is in memory."""
        await self.shows(await self.store.put(keys.idc_prefix("dc1") + "probe", b""))

    async def beat(
        self,
        since: datetime | None = NOW - timedelta(days=1),
        outbox: OutboxState | None = None,
        behind_s: float = 0.0,
    ) -> None:
        """The region dc1 is heard; `since` is when it came on line, `outbox` what it keeps.

        Its clock is `behind_s` behind.
        """
        at = self.clock() - timedelta(seconds=behind_s)
        beat = Heartbeat(idc="dc1", identity="r1", at=at, services={}, since=since, outbox=outbox)
        await self.shows(await self.store.put(keys.heartbeat("dc1"), records.encode(beat)))

    async def lose_region(self) -> None:
        """The region's lease ends."""
        await self.store.delete(keys.heartbeat("dc1"))
        await self.synced()

    async def hear_agent(self) -> None:
        """The agent of SN-1 has its lease."""
        lease = AgentLease(agent_id="run-1", mac=MAC, at=self.clock())
        await self.shows(await self.store.put(keys.lease("dc1", "SN-1"), records.encode(lease)))

    async def lose_agent(self) -> None:
        """The agent's lease ends."""
        await self.store.delete(keys.lease("dc1", "SN-1"))
        await self.synced()

    async def rounds(self) -> None:
        """Time in which the duty looks at the clock several times."""
        await asyncio.sleep(LOOK_S * 6)

    async def task_when(self, task_id: str, condition: Callable[[Task], bool]) -> Task:
        """The task once `condition` holds; raises AssertionError where it never does."""
        task = await self.fleet.wait_for_task(task_id, condition, TIMEOUT_S)
        assert task is not None
        assert condition(task), task.status
        return task

    async def events(self, action: str) -> list[AuditEvent]:
        """The events with this action that were not taken into the audit log yet."""
        page = await self.store.range(keys.EVENTS)
        events = [records.decode(kv, AuditEvent) for kv in page.kvs]
        return [event for event in events if event.action == action]

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Warden"]:
        """With memory that follows the store."""
        async with following(self.mirror):
            yield self

    @asynccontextmanager
    async def leading(
        self, identity: str = "one", *, wait: bool = True
    ) -> AsyncIterator[asyncio.Task[None]]:
        """Standing for election, and doing the duties while elected, which is waited for."""
        duties = Duties(self.store, identity, [self.duty, self.retry], retry_s=0.05)
        task = asyncio.create_task(duties.run())
        try:
            if wait:
                await until(lambda: _leads(duties), TIMEOUT_S)
            await self.rounds()
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _leads(duties: Duties) -> bool:
    return duties.leading
