"""Machines of a simulated fleet boot by real HTTP, so their tasks have what a region sees of it."""

import asyncio
from pathlib import Path

from lpmos.lab.fleet.machine import FleetMachine
from lpmos.lab.fleet.profiles import FleetSpec, Profile, profiles
from lpmos.model.task import Task
from tests.support.builders import actor, make_spec
from tests.support.region import RunningRegion, fill, running

SPEC = FleetSpec(machines=3, faults=False, install_s=1.0, boot_s=0.1)
LONGEST_S = 60.0


async def approve(region: RunningRegion, profile: Profile) -> None:
    # Its machine boots meanwhile: it may have reported before anybody sees the task ready.
    spec = make_spec(mac=profile.mac, sn=profile.sn)
    task = await region.tasks.create(spec, by=actor("admin"))
    await region.task_in(task.task_id, "pending_approval")
    await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)


async def test_machines_that_boot_at_once_have_their_own_boots(tmp_path: Path) -> None:
    fleet = profiles(SPEC)
    async with running(tmp_path) as region:
        fill(region.catalog, tmp_path, first_boot=True)
        async with asyncio.timeout(LONGEST_S), asyncio.TaskGroup() as group:
            for profile in fleet:
                group.create_task(approve(region, profile))
                machine = FleetMachine(profile, region.url, lambda _: None)
                group.create_task(machine.run())
        for profile in fleet:
            known = region.fleet.current_task("dc1", profile.sn)
            assert known is not None
            check_boot(await region.task_in(known.task_id, "completed"))


def check_boot(task: Task) -> None:
    """The moments are there, in order, and between the states that they belong to."""
    assert [*task.boot] == ["boot.script", "boot.agent", "restart.seen", "restart.script"]
    assert [*task.boot.values()] == sorted(task.boot.values())
    assert task.reported_at and task.boot["boot.agent"] <= task.reported_at
    assert task.handed_over_at and task.handed_over_at <= task.boot["restart.seen"]
