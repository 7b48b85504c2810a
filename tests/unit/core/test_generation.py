"""The system in a machine's record: what a job that writes to its disk leaves of it."""

from typing import Any

import msgspec
import pytest

from lpmos.model.bootplan import BootAgent, BootLocalDisk
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Disk
from lpmos.model.job import StepResult
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, InstalledDisk, Machine
from lpmos.model.task import Progress, Task, TaskError
from lpmos.store import keys, records
from tests.support.builders import MAC, actor, make_inventory
from tests.unit.core.conftest import World

DISKS = tuple(
    Disk(device=f"/dev/vd{letter}", size_bytes=8 * GIB, kind="ssd", serial=f"DISK-{letter}")
    for letter in "ab"
)


async def put_system(world: World) -> None:
    """Generation 3 of the machine is on the first disk."""
    installed = Installed(
        generation=3,
        task_id="earlier",
        os_type="debian",
        os_version="11",
        installed_at=world.now,
        disk=InstalledDisk(device="/dev/vda", serial="DISK-a"),
    )
    found = msgspec.structs.replace(await record(world), installed=installed)
    await world.store.put(keys.meta("dc1", "SN-1"), records.encode(found))
    await world.synced()


async def record(world: World) -> Machine:
    kv = await world.store.get(keys.meta("dc1", "SN-1"))
    assert kv is not None
    return records.decode(kv, Machine)


async def claimed_job(world: World, *steps: dict[str, Any]) -> Task:
    """A job that is approved and begun, on a machine whose system is on the first disk."""
    task = await world.create(os_type=None, os_version=None, job={"steps": list(steps)})
    await world.report(make_inventory(disks=DISKS))
    await put_system(world)
    await world.tasks.approve(task.task_id, by=actor("boss"), notes=None)
    return await world.agents.claim(world.run, task.task_id, None)


async def told(world: World, task: Task, percent: float, *results: StepResult) -> None:
    progress = Progress(step="job", percent=percent, timestamp=world.clock())
    await world.agents.progress(world.run, task.task_id, progress, results=results)
    await world.synced()


def erase(letter: str) -> dict[str, Any]:
    return {"step": "disk_erase", "disks": [{"serial": f"DISK-{letter}"}]}


PASSED = StepResult(step="disk_test", outcome="passed", seconds=1, summary="1 disk read")


async def test_machine_whose_systems_disk_a_job_erased_has_no_system(world: World) -> None:
    task = await claimed_job(world, erase("a"))
    await told(world, task, 100, PASSED)
    assert (await record(world)).installed is None
    plan, _ = world.agents.boot_plan(MAC, "SN-1")
    assert isinstance(plan, BootAgent)


async def test_machine_whose_job_failed_while_it_erased_has_no_system(world: World) -> None:
    task = await claimed_job(world, {"step": "disk_test"}, erase("a"))
    await told(world, task, 1)
    assert (await record(world)).installed is not None
    await told(world, task, 50, PASSED)
    await world.agents.failed(world.run, task.task_id, TaskError(reason="bad block"))
    assert (await record(world)).installed is None


async def test_machine_whose_job_was_refused_before_it_wrote_keeps_its_system(
    world: World,
) -> None:
    task = await claimed_job(world, erase("a"))
    before = await record(world)
    await told(world, task, 0)
    failed = StepResult(step="disk_erase", outcome="failed", seconds=1, summary="it is mounted")
    await told(world, task, 0, failed)
    await world.agents.failed(world.run, task.task_id, TaskError(reason="it is mounted"))
    await world.synced()
    assert await record(world) == before
    plan, over = world.agents.boot_plan(MAC, "SN-1")
    assert over is not None and over.status is Status.FAILED
    assert isinstance(plan, BootLocalDisk) and plan.installed_by == "earlier"


@pytest.mark.parametrize("step", [erase("b"), {"step": "disk_test"}, {"step": "inventory"}])
async def test_machine_whose_job_wrote_elsewhere_boots_its_system(
    world: World, step: dict[str, Any]
) -> None:
    task = await claimed_job(world, step)
    before = await record(world)
    await told(world, task, 50)
    await told(world, task, 100, PASSED)
    assert await record(world) == before
    plan, over = world.agents.boot_plan(MAC, "SN-1")
    assert over is not None and over.status is Status.COMPLETED
    assert isinstance(plan, BootLocalDisk) and plan.installed_by == "earlier"
