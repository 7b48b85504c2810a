"""Agents' liveness (S4) over both stores: shown at once, gone when silent, gone with the region."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from lpmos.control.live.messages import AgentMessage, Others
from lpmos.core.agentrun import AgentRun
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.region.liveness import AFTER_WAIT_S, AT_ONCE, SILENCE_S, AgentLiveness
from lpmos.store import keys, records
from lpmos.store.api import Compare, Lease, Operation, Store, TxnResult
from lpmos.store.keys import KeyName
from lpmos.store.mirror import Mirror
from tests.support.builders import MAC, make_task
from tests.support.faulty_store import FaultyStore
from tests.support.polling import until
from tests.support.region import AGENT_ID, OTHER_AGENT_ID, running
from tests.support.stores import two_clients

PLACE = ("dc1", "SN-1")
RUN = AgentRun(mac=MAC, agent_id=AGENT_ID)
UNNAMED = AgentRun(mac=MAC, agent_id=MAC)
SWEEP_S = 0.02
TIMEOUT_S = 30.0


class CountingStore(FaultyStore):
    """Counts the keys that are written, and knows the leases."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.written = 0
        self.leases: list[Lease] = []

    async def txn(
        self,
        compare: Sequence[Compare],
        success: Sequence[Operation],
        failure: Sequence[Operation] = (),
    ) -> TxnResult:
        self.written += len(success)
        return await super().txn(compare, success, failure)

    async def grant(self, ttl_s: int) -> Lease:
        lease = await super().grant(ttl_s)
        self.leases.append(lease)
        return lease


class Site:
    """A region's liveness over one client of a store, and a control plane over the other."""

    def __init__(self, stores: Sequence[Store], ttl_s: int = 30) -> None:
        region, control = stores
        self.store = CountingStore(region)
        self.now = 1000.0
        self.liveness = AgentLiveness(
            self.store, utc_now, lambda: self.now, ttl_s=ttl_s, sweep_s=SWEEP_S
        )
        self._mirror = Mirror(control, keys.ROOT)
        self.fleet = Fleet(self._mirror)
        self._others = Others(self.fleet)
        self.told: list[bool] = []
        self.fleet.subscribe_others(self._tell)

    def _tell(self, name: KeyName, revision: int) -> None:
        for told in self._others.take(name, exists=bool(revision), revision=revision or 1):
            if told.kind == "agent" and told.text is not None:
                self.told.append(msgspec.json.decode(told.text, type=AgentMessage).online)

    def online(self) -> bool | None:
        return self.fleet.agent_online(*PLACE)

    async def until_online(self, online: bool | None) -> None:
        async def so() -> bool:
            return self.online() is online

        await until(so, TIMEOUT_S)

    async def sweeps(self) -> None:
        """Time in which silence is looked for several times."""
        await asyncio.sleep(SWEEP_S * 10)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Both parts, with a machine that is known by its task."""
        await self.store.put(keys.task(*PLACE), records.encode(make_task()))
        tasks = [asyncio.create_task(each.run()) for each in (self._mirror, self.liveness)]
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._mirror.wait_ready()
            yield tasks[1]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(params=["sqlite", "etcd"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Store]]:
    """Two clients of one store."""
    async with two_clients(request.param, tmp_path) as clients:
        yield clients


@pytest.fixture
async def site(stores: list[Store]) -> AsyncIterator[Site]:
    site = Site(stores)
    async with site.running():
        yield site


async def test_agent_is_on_line_when_heard_and_off_when_silent(site: Site) -> None:
    site.liveness.heard(RUN, PLACE)
    await site.until_online(True)
    kv = await site.store.get(keys.lease(*PLACE))
    assert kv is not None and kv.lease == site.store.leases[0].id

    site.now += SILENCE_S - 0.1
    await site.sweeps()
    assert site.online() is True

    site.now += 0.1
    await site.until_online(False)
    assert site.told == [True, False]


async def test_long_poll_is_no_silence(site: Site) -> None:
    site.liveness.heard(RUN, PLACE)
    site.liveness.heard(UNNAMED, PLACE, wait_s=60)
    await site.until_online(True)

    site.now += 60 + AFTER_WAIT_S - 0.1
    await site.sweeps()
    assert site.online() is True

    site.now += 0.1
    await site.until_online(False)


async def test_agents_that_go_on_calling_write_nothing(site: Site) -> None:
    count = 4 * AT_ONCE
    for _ in range(20):
        for number in range(count):
            site.liveness.heard(RUN, ("dc1", f"SN-{number}"))
        await site.sweeps()
        site.now += SILENCE_S / 2
    await site.until_online(True)
    assert site.store.written == count
    assert len(site.store.leases) == 1


async def test_agent_that_is_heard_again_is_on_line_again(site: Site) -> None:
    for _ in range(3):
        site.liveness.heard(RUN, PLACE)
        await site.until_online(True)
        site.now += SILENCE_S
        await site.until_online(False)
    assert site.told == [True, False] * 3


async def test_another_run_of_the_machine_is_the_one_that_lives(site: Site) -> None:
    site.liveness.heard(RUN, PLACE)
    site.liveness.heard(AgentRun(mac=MAC, agent_id=OTHER_AGENT_ID), PLACE)

    async def other_lives() -> bool:
        kv = await site.store.get(keys.lease(*PLACE))
        return kv is not None and OTHER_AGENT_ID.encode() in kv.value

    await until(other_lives, TIMEOUT_S)


async def test_lost_lease_shows_agents_off_line_and_the_next_one_on_line(site: Site) -> None:
    site.liveness.heard(RUN, PLACE)
    await site.until_online(True)

    await site.store.leases[0].revoke()

    await site.until_online(False)
    await site.until_online(True)
    assert len(site.store.leases) == 2


async def test_store_that_was_away_hears_of_who_is_silent(site: Site) -> None:
    site.liveness.heard(RUN, PLACE)
    await site.until_online(True)
    site.store.away = True
    site.now += SILENCE_S
    await site.sweeps()
    assert site.online() is True

    site.store.away = False
    await site.until_online(False)


async def test_key_of_another_region_is_left_alone(site: Site) -> None:
    """The standby took over: its key is newer than ours."""
    site.liveness.heard(RUN, PLACE)
    await site.until_online(True)
    await site.store.put(keys.lease(*PLACE), b'{"agent_id":"x","mac":"y","at":"2026-01-01T00:00Z"}')

    site.now += SILENCE_S
    await site.sweeps()

    assert await site.store.get(keys.lease(*PLACE)) is not None


async def test_orderly_stop_takes_the_agents_away_at_once(stores: list[Store]) -> None:
    site = Site(stores)
    async with site.running() as serving:
        site.liveness.heard(RUN, PLACE)
        await site.until_online(True)
        serving.cancel()
        await site.until_online(False)


@pytest.mark.parametrize("stores", ["etcd"], indirect=True)
async def test_region_that_dies_takes_its_agents_with_its_lease(stores: list[Store]) -> None:
    site = Site(stores, ttl_s=2)
    async with site.running():
        site.liveness.heard(RUN, PLACE)
        await site.until_online(True)
        await stores[0].close()  # nobody keeps the lease alive from here on, nor revokes it
        await site.until_online(False)


async def test_every_call_of_an_agent_is_heard(tmp_path: Path) -> None:
    """Report, long poll, claim and progress of a real region, on the wire."""
    async with running(tmp_path) as region:
        task = await region.create_task()
        assert (await region.report())[0] == 200

        async def lives() -> bool:
            return region.fleet.agent_online("dc1", "SN-1") is True

        await until(lives, TIMEOUT_S)
        status, _ = await region.get(f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}&wait=1")
        assert status == 200
        assert await lives()
