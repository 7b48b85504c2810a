"""One fault after another, while machines install that nobody holds."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.fault_group import (
    BlackHole,
    ControlPlaneKilled,
    EtcdFollowerKilled,
    EtcdLeaderKilled,
    Fault,
    LinkCut,
    QuorumLost,
    RegionKilled,
    installed_all,
    wrong_in,
)
from tests.support.fault_site import cluster_site

pytestmark = [pytest.mark.faults, pytest.mark.slow]

SEED = 7
MACHINES = 8
POWER_ON_EVERY_S = 1.0
LONGEST_S = 1.5
SLOW_MBIT = 2.0
FAULTS: tuple[type[Fault], ...] = (
    RegionKilled,
    ControlPlaneKilled,
    EtcdLeaderKilled,
    LinkCut,
    EtcdFollowerKilled,
    RegionKilled,
    QuorumLost,
    BlackHole,
)


async def test_faults_in_a_row_under_free_installs_lose_and_double_none(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    dice = random.Random(SEED)  # noqa: S311 - when it strikes
    async with cluster_site(tmp_path) as site:
        machines = [site.machine("free") for _ in range(MACHINES)]
        await asyncio.gather(*(site.create_task(machine) for machine in machines))

        async def power_on() -> None:
            for machine in machines:
                await machine.power_on(speed_mbit=SLOW_MBIT)
                await asyncio.sleep(POWER_ON_EVERY_S)

        async def strike() -> None:
            for kind in FAULTS:
                fault = kind()
                await asyncio.sleep(dice.uniform(0.2, LONGEST_S))
                await fault.strike(site)
                await asyncio.sleep(dice.uniform(0.2, LONGEST_S))
                await fault.mend(site)

        async with asyncio.TaskGroup() as group:
            group.create_task(power_on())
            group.create_task(strike())
            group.create_task(installed_all(site, machines))
        wrong = {machine.sn: await wrong_in(site, machine) for machine in machines}
        assert not {sn: words for sn, words in wrong.items() if words}
        await site.check_audit_chain()
    record_property(
        "fault", (f"{len(FAULTS)} faults in a row, nobody waits", f"{MACHINES} installed once")
    )
