"""Two control planes decide by rules over either store; the leader is lost on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from lpmos.core.agentrun import AgentRun
from lpmos.core.agents import Agents
from lpmos.core.clock import utc_now
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Nic
from lpmos.model.lifecycle import Status
from lpmos.store import keys, records
from lpmos.store.api import Store
from tests.support.builders import actor, make_capabilities, make_inventory, make_spec
from tests.support.polling import until
from tests.support.rules import DEBIAN, Plane, make_fields, make_report
from tests.support.stores import two_clients

TASKS = 30
REPORTS = 20
DECIDED_TIMEOUT_S = 60.0


@pytest.fixture(params=["sqlite", "etcd"])
async def stores(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[list[Store]]:
    async with two_clients(request.param, tmp_path) as clients:
        yield clients


def mac_of(number: int) -> str:
    return f"52:54:00:00:{number // 256:02x}:{number % 256:02x}"


async def report_all(plane: Plane) -> None:
    """Machines with tasks report, and machines without."""
    agents = Agents(plane.store, plane.fleet, utc_now, idc="dc1", unknown=UnknownMachines.DISCOVER)
    for number in range(1, TASKS + 1):
        spec = make_spec(sn=f"SN-{number}", mac=mac_of(number))
        await plane.tasks.create(spec, by=actor("admin"))
    await plane.synced()
    for number in range(1, max(TASKS, REPORTS) + 1):
        mac = mac_of(number)
        nics = (Nic(interface="eth0", mac=mac, booted=True),)
        run = AgentRun(mac=mac, agent_id=mac)
        await agents.report(run, f"SN-{number}", make_inventory(nics=nics), GIB)
        if number <= REPORTS:
            unknown = mac_of(1000 + number)
            hardware = make_inventory(nics=(Nic(interface="eth0", mac=unknown),))
            await plane.keep(
                make_report(sn=f"NEW-{number}", mac_address=unknown, hardware=hardware)
            )


async def test_every_decision_is_made_once_when_the_leader_is_lost(stores: list[Store]) -> None:
    await stores[0].put(keys.capabilities("dc1"), records.encode(make_capabilities()))
    first, second = (Plane(store, utc_now) for store in stores)
    async with AsyncExitStack() as stack:
        for plane in (first, second):
            await stack.enter_async_context(plane.listening())
        leading = await stack.enter_async_context(first.deciding("first"))
        await stack.enter_async_context(second.deciding("second"))
        await second.rules.create("all", make_fields(), by=actor())
        await second.rules.create("zt", make_fields(task=DEBIAN), by=actor())
        reporting = asyncio.create_task(report_all(second))
        await until(lambda: some_approved(second), DECIDED_TIMEOUT_S)
        leading.cancel()

        await reporting
        await until(lambda: all_decided(second), DECIDED_TIMEOUT_S)

        events = await second.events()
    approved = [each.target for each in events if each.action == "task.approved"]
    created = [each.sn for each in events if each.action == "task.created"]
    assert len(approved) == len(set(approved)) == TASKS
    assert len(created) == len(set(created)) == TASKS + REPORTS
    assert [each for each in events if each.outcome != "done"] == []


async def some_approved(plane: Plane) -> bool:
    return plane.fleet.counts()[Status.APPROVED] > 2


async def all_decided(plane: Plane) -> bool:
    counts = plane.fleet.counts()
    return (
        counts[Status.APPROVED] == TASKS
        and counts[Status.PENDING] == REPORTS
        and not plane.fleet.unmatched()
    )
