"""One data center on an embedded store, with all of the core's services over it."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from lpmos.core.agentrun import AgentRun
from lpmos.core.agents import Agents
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.diskplan import GIB
from lpmos.model.evidence import Evidence
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, Task, TaskError
from lpmos.store import keys, records
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import MAC, NOW, actor, make_capabilities, make_inventory, make_spec
from tests.support.clocks import HandClock
from tests.support.deliveries import Standing
from tests.support.faulty_store import FaultyStore
from tests.support.following import following
from tests.support.notifications import Notifications
from tests.support.rules import Plane

TIMEOUT_S = 30


class World:
    """The services, a clock that moves one second a look, and steps to any state."""

    run = AgentRun(mac=MAC, agent_id="run-1")
    mirroring: asyncio.Task[None]
    seen = Evidence(mac=MAC)
    """What the region sees of the machine's boots."""

    def __init__(self, store: FaultyStore) -> None:
        self.store = store
        self.mirror = Mirror(store, keys.ROOT)
        self.fleet = Fleet(self.mirror)
        self.now = NOW
        self.tasks = Tasks(store, self.fleet, self.clock)
        self.restart_region()

    def restart_region(self, *, listed: bool = True) -> None:
        """A region that knows nothing but what it hears; not `listed`: nothing from the store."""
        fleet = self.fleet if listed else Fleet(Mirror(self.store, keys.ROOT))
        self.agents = Agents(
            self.store,
            fleet,
            self.clock,
            idc="dc1",
            unknown=UnknownMachines.DISCOVER,
            seen=lambda _: self.seen,
        )

    async def lagging_tasks(self) -> Tasks:
        """The use cases of a control plane that hears nothing from now on."""
        mirror = Mirror(self.store, keys.ROOT)
        fleet = Fleet(mirror)
        async with following(mirror):
            pass
        return Tasks(self.store, fleet, self.clock)

    async def cut_mirror(self) -> None:
        """From now on the services hear nothing from the store."""
        self.mirroring.cancel()
        await asyncio.wait([self.mirroring], timeout=TIMEOUT_S)

    def clock(self) -> datetime:
        self.now += timedelta(seconds=1)
        return self.now

    async def synced(self) -> None:
        """Everything written so far is in the fleet."""
        revision = await self.store.put(keys.idc_prefix("dc1") + "probe", b"")
        async with asyncio.timeout(TIMEOUT_S):
            await self.mirror.wait_for(revision)

    async def create(self, **fields: object) -> Task:
        task = await self.tasks.create(make_spec(**fields), by=actor("admin"))
        await self.synced()
        return task

    async def report(self, inventory: Inventory | None = None, required: int = GIB) -> Task:
        task = await self.agents.report(self.run, "SN-1", inventory or make_inventory(), required)
        await self.synced()
        return task

    def at(self, step: str, percent: float) -> Progress:
        return Progress(step=step, percent=percent, timestamp=self.clock())

    async def task_that_is(self, status: Status) -> Task:
        """A new task, brought to `status` on the way that real ones take."""
        task = await self.create()
        if status is not Status.PENDING:
            task = await self.agents.prepared(task)
            await self.synced()
            task = await self._beyond_ready(task, status)
        assert task.status is status
        await self.synced()
        return task

    async def _beyond_ready(self, task: Task, status: Status) -> Task:
        if status is Status.READY:
            return task
        _, booting = await self.agents.boot(MAC, "SN-1")
        assert booting is not None
        if status is Status.BOOTING:
            return booting
        task = await self.report()
        if status is Status.PENDING_APPROVAL:
            return task
        if status is Status.REJECTED:
            return await self.tasks.reject(task.task_id, by=actor("boss"), reason="no")
        task = await self.tasks.approve(task.task_id, by=actor("boss"), notes=None)
        if status is Status.APPROVED:
            return task
        if status is Status.CANCELLED:
            return await self.tasks.cancel(task.task_id, by=actor("boss"))
        task = await self.agents.claim(self.run, task.task_id, None)
        if status is Status.COMPLETED:
            return await self.agents.progress(self.run, task.task_id, self.at("configuring", 100))
        return task if status is Status.INSTALLING else await self._failed(task)

    async def _failed(self, task: Task) -> Task:
        return await self.agents.failed(self.run, task.task_id, TaskError(reason="broken"))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await SqliteStore.open(tmp_path / "store.db")
    await store.put(keys.capabilities("dc1"), records.encode(make_capabilities()))
    world = World(FaultyStore(store))
    async with following(world.mirror) as (world.mirroring,):
        yield world
    await store.close()


@pytest.fixture
async def plane(world: World) -> AsyncIterator[Plane]:
    """A control plane's part in rules, over the world's store."""
    plane = Plane(world.store, world.clock)
    async with plane.listening():
        yield plane


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[FaultyStore]:
    store = await SqliteStore.open(tmp_path / "store.db")
    yield FaultyStore(store)
    await store.close()


@pytest.fixture
async def notifications(store: FaultyStore) -> AsyncIterator[Standing]:
    notifications = Notifications(store, HandClock())
    async with following(notifications.mirror):
        yield notifications
