"""Installs over a network that loses a fifth of what agents and region say to each other."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.support.fault_group import installed_all, wrong_in
from tests.support.fault_site import FaultSite, embedded_site
from tests.support.lossy_proxy import LossyProxy

pytestmark = [pytest.mark.faults, pytest.mark.slow]

LOSS = 0.2
SEED = 20_250_101
MACHINES = 6


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[FaultSite]:
    async with embedded_site(tmp_path) as site:
        yield site


async def test_fifth_of_all_segments_lost_every_machine_is_installed_exactly_once(
    site: FaultSite, record_property: Callable[[str, object], None]
) -> None:
    async with LossyProxy(site.region_port, LOSS, SEED) as proxy:
        machines = [site.machine("lossy", region_url=proxy.url) for _ in range(MACHINES)]
        await asyncio.gather(*(site.create_task(machine) for machine in machines))
        for machine in machines:
            await machine.power_on()
        await installed_all(site, machines)
        what = f"{LOSS:.0%} loss on the agents' HTTP ({proxy.lost} of {proxy.lost + proxy.passed})"
        record_property("fault", (what, f"{MACHINES} machines installed once"))
        assert proxy.lost > MACHINES
    for machine in machines:
        assert not await wrong_in(site, machine)
