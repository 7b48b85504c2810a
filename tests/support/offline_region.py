"""A region that can be cut off its store and restarted, and people who are not: on any store.

The region is the use cases with their files, without HTTP; its clock moves one second a look.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from lpmos.core.agentrun import AgentRun
from lpmos.core.agents import Agents
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.model.audit import AuditEvent
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Nic
from lpmos.model.machine import UnmatchedReport
from lpmos.model.task import Progress, Task
from lpmos.region.offline import Offline, offline
from lpmos.store import keys, records
from lpmos.store.api import Store, WatchBatch
from lpmos.store.fenced import FencedStore
from lpmos.store.mirror import Mirror
from tests.support.builders import MAC, actor, make_capabilities, make_inventory, make_spec
from tests.support.faulty_store import FaultyStore

TIMEOUT_S = 15.0
SILENCE_S = 0.05


class CutStore(FaultyStore):
    """A store whose watch, too, gives nothing while it is away, and comes `late_s` after writes.

    Without `news` every call is answered, and the watch says nothing of what has changed.
    """

    late_s = 0.0

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.news = asyncio.Event()
        self.news.set()

    async def watch(self, prefix: str, *, from_revision: int) -> AsyncIterator[WatchBatch]:
        async for batch in super().watch(prefix, from_revision=from_revision):
            while self.away:  # noqa: ASYNC110 - a test sets it
                await asyncio.sleep(0.01)
            await self.news.wait()
            await asyncio.sleep(self.late_s)
            yield batch


class OfflineSite:
    """One data center: `tasks` is people's side, `region` the region's."""

    run = AgentRun(mac=MAC, agent_id="run-1")

    def __init__(self, store: Store, state_dir: Path) -> None:
        self.idc = f"dc-{uuid.uuid4().hex[:8]}"
        self.store = store
        self.link = CutStore(store)
        self.stands_by = False
        """Whether the region, when it is started next, may write nothing but what it kept."""
        self.now = datetime(2026, 1, 1, tzinfo=UTC)
        self._state_dir = state_dir
        self._mirrors = [
            Mirror(store, keys.idc_prefix(self.idc)),
            Mirror(store, f"/os/region/{self.idc}/"),
        ]
        fleet = Fleet(*self._mirrors)
        self.tasks = Tasks(store, fleet, self.clock)
        self.next_client = Agents(
            store, fleet, self.clock, idc=self.idc, unknown=UnknownMachines.DISCOVER
        )
        """Of the client that takes over, which has the store."""
        self.region: Offline
        self._mirror: Mirror
        self._stack = AsyncExitStack()
        self._running: list[asyncio.Task[None]] = []
        self._following: list[asyncio.Task[None]] = []

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    async def begin(self) -> None:
        """Both sides are there and know the store."""
        capabilities = records.encode(make_capabilities(self.idc))
        await self.store.put(keys.capabilities(self.idc), capabilities)
        self._following = [asyncio.create_task(mirror.run()) for mirror in self._mirrors]
        for mirror in self._mirrors:
            await mirror.wait_ready()
        await self.start_region()
        await until(lambda: self.region.fleet.connected)

    async def start_region(self) -> None:
        """A region on the files that are there, whether the store is or not."""
        self._mirror = Mirror(
            self.link, keys.idc_prefix(self.idc), silence_s=SILENCE_S, retry_s=SILENCE_S
        )
        self.region = await self._stack.enter_async_context(
            offline(
                FencedStore(self.link) if self.stands_by else self.link,
                self._mirror,
                self.clock,
                idc=self.idc,
                unknown=UnknownMachines.DISCOVER,
                state_dir=self._state_dir,
                unfenced=self.link,
            )
        )
        runs = (self._mirror.run(), self.region.run())
        self._running = [asyncio.create_task(run) for run in runs]

    async def stop_region(self) -> None:
        """It ends where it stands; what it had not written is gone."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running = []
        await self._stack.aclose()
        self._stack = AsyncExitStack()

    async def restart_region(self) -> None:
        """End it and start it again on the same files."""
        await self.stop_region()
        await self.start_region()

    async def cut(self) -> None:
        """The store is away for the region, and the region knows and has written down all."""
        revision = await self.store.put(keys.idc_prefix(self.idc) + "probe", b"")
        async with asyncio.timeout(TIMEOUT_S):
            await self._mirror.wait_for(revision)
        await self.region.memory.flush()
        self.link.away = True
        await until(lambda: not self.region.fleet.connected)

    async def heal(self) -> None:
        """The store is back, and all that was kept is handed in."""
        self.link.away = False
        await until(lambda: self.region.fleet.connected)
        await until(lambda: self.region.agents.outbox_state.waiting == 0)
        await self.synced()

    async def hand_in_before_the_news(self, task: Task) -> None:
        """Hand in all to a store that has not told the region yet what was done to the task."""
        key = keys.task(task.idc, task.sn)
        before = self._mirror.get(key)
        self.link.news.clear()
        self.link.away = False
        try:
            await until(lambda: self.region.agents.outbox_state.waiting == 0)
            assert self._mirror.get(key) == before
        finally:
            self.link.news.set()

    async def synced(self) -> None:
        """Both sides have all that was written so far."""
        revision = await self.store.put(keys.idc_prefix(self.idc) + "probe", b"")
        async with asyncio.timeout(TIMEOUT_S):
            await self._mirrors[0].wait_for(revision)
            if not self.link.away:
                await self._mirror.wait_for(revision)

    async def create(self, **fields: object) -> Task:
        """A task that the region has prepared."""
        task = await self.tasks.create(make_spec(idc=self.idc, **fields), by=actor("admin"))
        await self.synced()
        if self.link.away:
            return task
        task = await self.region.agents.prepared(task)
        await self.synced()
        return task

    async def report(self, run: AgentRun | None = None, sn: str | None = "SN-1") -> Task:
        """The machine's report."""
        run = run or self.run
        hardware = make_inventory(nics=(Nic(interface="eth0", mac=run.mac, booted=True),))
        return await self.region.agents.report(run, sn, hardware, GIB)

    async def approved(self, **fields: object) -> Task:
        """A reported task whose approval the region has heard of."""
        task = await self.create(**fields)
        await self.report()
        await self.synced()
        task = await self.tasks.approve(task.task_id, by=actor("boss"), notes=None)
        await self.synced()
        return task

    def at(self, step: str, percent: float) -> Progress:
        """A word of progress, said now."""
        return Progress(step=step, percent=percent, timestamp=self.clock())

    async def install(self, task: Task, *lines: str) -> Task:
        """From the claim to the end."""
        agents = self.region.agents
        await agents.claim(self.run, task.task_id, intent_of(task))
        for step, percent in (("partitioning", 10), ("downloading", 40), ("installing", 80)):
            await agents.progress(self.run, task.task_id, self.at(step, percent), lines)
        return await agents.progress(self.run, task.task_id, self.at("configuring", 100))

    async def stored(self, task: Task) -> Task:
        """The task as the store has it."""
        kv = await self.store.get(keys.task(task.idc, task.sn))
        assert kv is not None
        return records.decode(kv, Task)

    async def told(self, action: str) -> list[AuditEvent]:
        """What the audit log hears of this data center, of one action."""
        page = await self.store.range(keys.EVENTS)
        events = [records.decode(kv, AuditEvent) for kv in page.kvs]
        return [
            event
            for event in events
            if event.action == action and event.actor.name in (f"region:{self.idc}",)
        ]

    async def unmatched(self) -> list[UnmatchedReport]:
        """The reports without a task."""
        page = await self.store.range(keys.unmatched_prefix(self.idc))
        return [records.decode(kv, UnmatchedReport) for kv in page.kvs]

    async def end(self) -> None:
        await self.stop_region()
        for task in self._following:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


def intent_of(task: Task) -> str | None:
    """The right to install that its approval gave."""
    return task.intent.intent_id if task.intent else None


@asynccontextmanager
async def offline_site(store: Store, state_dir: Path) -> AsyncIterator[OfflineSite]:
    """A data center until the block ends."""
    site = OfflineSite(store, state_dir)
    await site.begin()
    try:
        yield site
    finally:
        await site.end()


async def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition of this process."""
    async with asyncio.timeout(TIMEOUT_S):
        while not condition():  # noqa: ASYNC110 - bounded above
            await asyncio.sleep(0.01)


async def poll(condition: Callable[[], Awaitable[bool]]) -> None:
    """Wait for a condition that is asked for elsewhere."""
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():  # noqa: ASYNC110 - bounded above
            await asyncio.sleep(0.01)
