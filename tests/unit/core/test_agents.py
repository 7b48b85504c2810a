"""What machines may do to tasks: only their own, only in order, each install claimed once."""

import asyncio
from datetime import timedelta

import msgspec
import pytest

from lpmos.core.agentrun import AgentRun, NoTask
from lpmos.model.bootplan import BootAgent, BootInstaller, BootLocalDisk, Wait
from lpmos.model.diskplan import GIB, RootDiskHints
from lpmos.model.errors import Conflict, ForeignClaim, ImpossibleTransition
from lpmos.model.inventory import Dimm, Disk, Nic, PciDevice
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.machine import Machine, UnmatchedReport
from lpmos.model.task import TaskError
from lpmos.store import keys, records
from lpmos.store.api import Unavailable
from tests.support.builders import MAC, actor, make_inventory
from tests.unit.core.conftest import World

OTHER = AgentRun(mac=MAC, agent_id="run-2")
STRANGER = AgentRun(mac="52:54:00:00:00:99", agent_id="run-3")


async def unmatched(world: World) -> list[UnmatchedReport]:
    page = await world.store.range(keys.unmatched_prefix("dc1"))
    return [records.decode(kv, UnmatchedReport) for kv in page.kvs]


async def test_boot_of_a_ready_task_moves_it_to_booting_once(world: World) -> None:
    await world.task_that_is(Status.READY)
    plan, task = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootAgent) and task and task.status is Status.BOOTING
    await world.synced()
    _, again = await world.agents.boot(MAC, "SN-1")
    assert again == task


async def test_boot_before_the_region_is_prepared_waits(world: World) -> None:
    await world.task_that_is(Status.PENDING)
    plan, _ = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, Wait)


@pytest.mark.parametrize("status", sorted(FINAL))
async def test_boot_of_a_finished_task_is_the_local_disk(world: World, status: Status) -> None:
    await world.task_that_is(status)
    plan, _ = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootLocalDisk)


async def test_boot_by_serial_number_alone_finds_the_task(world: World) -> None:
    await world.task_that_is(Status.READY)
    plan, task = await world.agents.boot("52:54:00:00:00:77", "SN-1")
    assert isinstance(plan, BootAgent) and task is not None


async def test_boot_of_an_unknown_machine_with_the_store_away_is_not_a_guess(world: World) -> None:
    await world.cut_mirror()
    with pytest.raises(Unavailable):
        await world.agents.boot("52:54:00:00:00:77", "SN-9")


async def test_report_stores_hardware_plan_and_machine(world: World) -> None:
    await world.task_that_is(Status.BOOTING)
    task = await world.report()
    assert task.status is Status.PENDING_APPROVAL
    assert task.plan is not None and task.plan.serial == "DISK01"
    machine = world.fleet.machine("dc1", "SN-1")
    assert machine is not None and machine.macs == (MAC,)


async def test_report_a_hundred_times_is_one_wait_for_approval(world: World) -> None:
    await world.task_that_is(Status.BOOTING)
    for _ in range(100):
        task = await world.report()
    assert [c.status for c in task.status_history].count(Status.PENDING_APPROVAL) == 1


async def test_report_without_a_task_is_kept_once_for_each_machine(world: World) -> None:
    for _ in range(3):
        with pytest.raises(NoTask):
            await world.agents.report(STRANGER, None, make_inventory(), GIB)
    assert [report.mac_address for report in await unmatched(world)] == [STRANGER.mac]


async def test_report_without_a_task_after_a_region_restart_is_still_one(world: World) -> None:
    for _ in range(3):
        world.restart_region()
        with pytest.raises(NoTask):
            await world.agents.report(STRANGER, None, make_inventory(), GIB)
    assert len(await unmatched(world)) == 1
    await world.create(mac=STRANGER.mac)
    world.restart_region()
    await world.agents.report(STRANGER, None, make_inventory(), GIB)
    assert await unmatched(world) == []


async def test_report_without_a_task_unchanged_is_not_written_each_time(world: World) -> None:
    with pytest.raises(NoTask):
        await world.agents.report(STRANGER, None, make_inventory(), GIB)
    before = (await world.store.status()).revision
    for _ in range(5):
        with pytest.raises(NoTask):
            await world.agents.report(STRANGER, None, make_inventory(), GIB)
    assert (await world.store.status()).revision == before
    world.now += timedelta(minutes=11)
    with pytest.raises(NoTask):
        await world.agents.report(STRANGER, None, make_inventory(), GIB)
    assert (await world.store.status()).revision == before + 1


async def test_report_by_the_serial_number_of_another_machine_finds_no_task(world: World) -> None:
    task = await world.task_that_is(Status.APPROVED)
    nics = (Nic(interface="eth0", mac=STRANGER.mac, booted=True),)
    with pytest.raises(NoTask, match="not that MAC"):
        await world.agents.report(STRANGER, "SN-1", make_inventory(nics=nics), GIB)
    with pytest.raises(NoTask):
        await world.agents.claim(STRANGER, task.task_id, None)
    stored = world.fleet.task(task.task_id)
    assert stored is not None and stored.hardware == task.hardware


async def test_report_by_another_nic_of_the_same_machine_finds_its_task(world: World) -> None:
    await world.task_that_is(Status.BOOTING)
    nics = (Nic(interface="eth0", mac=MAC.upper()), Nic(interface="eth1", mac=STRANGER.mac))
    task = await world.agents.report(STRANGER, "SN-1", make_inventory(nics=nics), GIB)
    assert task.status is Status.PENDING_APPROVAL
    await world.synced()
    assert world.fleet.task_by_mac("dc1", STRANGER.mac) == task


async def test_boot_with_a_finished_task_by_mac_prefers_the_unfinished_by_sn(world: World) -> None:
    await world.task_that_is(Status.CANCELLED)
    other = await world.create(sn="SN-2", mac="52:54:00:00:00:02")
    await world.agents.prepared(other)
    await world.synced()
    plan, task = await world.agents.boot(MAC, "SN-2")
    assert isinstance(plan, BootAgent) and task is not None and task.task_id == other.task_id


async def test_boot_of_an_installed_machine_with_anothers_serial_number_is_its_own_disk(
    world: World,
) -> None:
    installed = await world.task_that_is(Status.COMPLETED)
    other = await world.create(sn="SN-2", mac=STRANGER.mac)
    await world.agents.prepared(other)
    await world.synced()
    plan, task = await world.agents.boot(MAC, "SN-2")
    assert isinstance(plan, BootLocalDisk) and plan.installed_by == installed.task_id
    assert task is not None and task.task_id == installed.task_id
    await world.synced()
    waits = world.fleet.task(other.task_id)
    assert waits is not None and waits.status is Status.READY


async def test_installer_is_not_given_to_a_machine_that_says_anothers_serial_number(
    world: World,
) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    await world.agents.installer_begins(world.run, task.task_id, "restart")
    await world.synced()
    plan, _ = await world.agents.boot(STRANGER.mac, "SN-1")
    assert isinstance(plan, Wait)
    plan, _ = await world.agents.boot(MAC, "SN-1")
    assert isinstance(plan, BootInstaller)


async def test_report_that_finds_its_task_takes_the_kept_one_away(world: World) -> None:
    with pytest.raises(NoTask):
        await world.report()
    await world.create()
    assert (await world.report()).status is Status.PENDING_APPROVAL
    assert await unmatched(world) == []


async def test_report_with_no_suitable_disk_fails_the_task_with_a_hint(world: World) -> None:
    await world.task_that_is(Status.BOOTING)
    small = Disk(device="/dev/vda", size_bytes=GIB, kind="ssd")
    task = await world.report(make_inventory(disks=(small,)))
    assert task.status is Status.FAILED
    assert task.error and "/dev/vda: has 1.0 GiB" in task.error.reason and task.error.hint


async def test_report_of_a_disk_with_data_fails_unless_the_task_names_it(world: World) -> None:
    full = make_inventory(
        disks=(
            Disk(device="/dev/vda", size_bytes=8 * GIB, kind="ssd", serial="D", contents=("xfs",)),
        )
    )
    await world.create()
    assert (await world.report(full)).status is Status.FAILED
    await world.create(root_disk={"serial": "D"})
    task = await world.report(full)
    assert task.status is Status.PENDING_APPROVAL
    assert task.root_disk == RootDiskHints(serial="D")
    assert task.plan and task.plan.overwrites == ("xfs",)


async def test_report_of_another_run_in_the_middle_of_an_install_fails_it(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    assert (await world.report()).status is Status.INSTALLING
    failed = await world.agents.report(OTHER, "SN-1", make_inventory(), GIB)
    assert failed.status is Status.FAILED
    assert failed.error and "restarted" in failed.error.reason
    with pytest.raises(ImpossibleTransition):
        await world.agents.progress(world.run, task.task_id, world.at("downloading", 30))


async def test_claim_by_two_runs_at_once_is_given_to_one(world: World) -> None:
    task = await world.task_that_is(Status.APPROVED)
    runs = [AgentRun(mac=MAC, agent_id=f"run-{n}") for n in range(6)]
    results = await asyncio.gather(
        *(world.agents.claim(run, task.task_id, None) for run in runs), return_exceptions=True
    )
    assert sum(not isinstance(result, Exception) for result in results) == 1
    assert all(isinstance(r, ForeignClaim) for r in results if isinstance(r, Exception))


async def test_claim_repeated_by_the_same_run_is_the_same_answer(world: World) -> None:
    task = await world.task_that_is(Status.APPROVED)
    first = await world.agents.claim(world.run, task.task_id, None)
    assert await world.agents.claim(world.run, task.task_id, None) == first


async def test_claim_with_another_intent_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.APPROVED)
    with pytest.raises(ForeignClaim):
        await world.agents.claim(world.run, task.task_id, "some-other-intent")


async def test_claim_whose_answer_was_lost_is_still_this_runs(world: World) -> None:
    task = await world.task_that_is(Status.APPROVED)
    world.store.lose_answers = 1
    assert (await world.agents.claim(world.run, task.task_id, None)).status is Status.INSTALLING


@pytest.mark.parametrize(
    "status", [s for s in Status if s not in (Status.APPROVED, Status.INSTALLING)]
)
async def test_claim_of_a_task_that_is_not_approved_is_refused(
    world: World, status: Status
) -> None:
    task = await world.task_that_is(status)
    with pytest.raises((ImpossibleTransition, ForeignClaim)):
        await world.agents.claim(world.run, task.task_id, None)
    after = world.fleet.task(task.task_id)
    assert after is not None and after.status is status


async def test_progress_above_zero_starts_the_install_of_an_older_agent(world: World) -> None:
    task = await world.task_that_is(Status.APPROVED)
    unchanged = world.agents.progress(world.run, task.task_id, world.at("partitioning", 0))
    with pytest.raises(ImpossibleTransition):
        await unchanged
    moved = await world.agents.progress(world.run, task.task_id, world.at("partitioning", 1))
    assert moved.status is Status.INSTALLING


async def test_progress_of_another_run_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    with pytest.raises(ForeignClaim):
        await world.agents.progress(OTHER, task.task_id, world.at("downloading", 30))


async def test_progress_of_another_machine_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    with pytest.raises(NoTask):
        await world.agents.progress(STRANGER, task.task_id, world.at("downloading", 30))


async def test_progress_keeps_one_entry_for_each_step(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    for step, percent in [("partitioning", 5), ("partitioning", 20), ("downloading", 40)]:
        task = await world.agents.progress(world.run, task.task_id, world.at(step, percent))
    assert [(p.step, p.percent) for p in task.progress] == [
        ("partitioning", 20),
        ("downloading", 40),
    ]


async def test_progress_last_step_at_100_completes_and_counts_the_generation(world: World) -> None:
    for generation in (1, 2):
        task = await world.task_that_is(Status.COMPLETED)
        machine = world.fleet.machine("dc1", "SN-1")
        assert isinstance(machine, Machine) and machine.installed is not None
        assert machine.installed.generation == generation
        assert machine.installed.task_id == task.task_id


async def test_progress_last_step_repeated_is_the_same_answer(world: World) -> None:
    task = await world.task_that_is(Status.COMPLETED)
    again = await world.agents.progress(world.run, task.task_id, world.at("configuring", 100))
    assert again == task


async def test_last_word_after_the_regions_clock_was_put_back_completes(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    before = world.at("configuring", 90)
    await world.agents.progress(world.run, task.task_id, before)
    put_back = before.timestamp - timedelta(hours=2)
    last = msgspec.structs.replace(world.at("configuring", 100), timestamp=put_back)
    task = await world.agents.progress(world.run, task.task_id, last)
    assert task.status is Status.COMPLETED


async def test_progress_of_a_cancelled_task_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    await world.tasks.cancel(task.task_id, by=actor("boss"))
    with pytest.raises(ImpossibleTransition):
        await world.agents.progress(world.run, task.task_id, world.at("downloading", 30))


async def test_progress_repeated_after_a_lost_answer_and_another_write_is_once(
    world: World,
) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    older, newer = world.at("downloading", 30), world.at("installing", 61)
    world.store.lose_answers = 1

    async def somebody_else() -> None:
        await world.agents.progress(world.run, task.task_id, newer, ["[INFO] newer"])

    world.store.after_lost_answer.append(somebody_else)
    await world.agents.progress(world.run, task.task_id, older, ["[INFO] older"])
    await world.synced()
    stored = world.fleet.task(task.task_id)
    assert stored is not None
    assert [p.percent for p in stored.progress] == [30, 61]
    assert sum("older" in line for line in stored.logs) == 1


async def test_before_the_first_listing_no_task_is_called_unknown(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    world.restart_region(listed=False)
    calls = (
        world.agents.progress(world.run, task.task_id, world.at("downloading", 30)),
        world.agents.failed(world.run, task.task_id, TaskError(reason="x")),
        world.agents.claim(world.run, task.task_id, None),
        world.agents.boot(MAC, "SN-1"),
        world.agents.report(world.run, "SN-1", make_inventory(), GIB),
    )
    for call in calls:
        with pytest.raises(Unavailable):
            await call


async def test_reboot_of_an_agent_without_an_id_in_the_middle_of_an_install_fails_it(
    world: World,
) -> None:
    run = AgentRun(mac=MAC, agent_id=MAC)
    task = await world.task_that_is(Status.APPROVED)
    await world.agents.report(run, "SN-1", make_inventory(), GIB)
    await world.agents.claim(run, task.task_id, None)
    failed = await world.agents.report(run, "SN-1", make_inventory(), GIB)
    assert failed.status is Status.FAILED


async def test_huge_hardware_and_errors_never_block_a_task(world: World) -> None:
    huge = make_inventory(
        disks=tuple(
            Disk(
                device=f"/dev/sd{n}",
                size_bytes=8 * GIB,
                kind="ssd",
                serial=f"{n}-{'s' * 200}",
                wwn=f"{n}-{'w' * 60}",
            )
            for n in range(300)
        ),
        pci=(PciDevice(address="a" * 12, vendor_id="1", device_id="2", class_id="3"),) * 500,
    )
    huge = msgspec.structs.replace(
        huge, memory=msgspec.structs.replace(huge.memory, dimms=(Dimm(slot="x" * 300),) * 60)
    )
    await world.create(root_disk={"device": "/dev/sd299"})
    task = await world.report(huge)
    assert task.plan is not None and task.plan.device == "/dev/sd299"
    await world.tasks.approve(task.task_id, by=actor("boss"), notes="n" * 2000)
    await world.agents.claim(world.run, task.task_id, None)
    for percent in range(20, 50):
        lines = ["[INFO] " + "\U0001f4be" * 300] * 200
        await world.agents.progress(
            world.run, task.task_id, world.at("downloading", percent), lines
        )
    error = TaskError(reason="r" * 500, command="c" * 2000, output="o" * 8000)
    failed = await world.agents.failed(world.run, task.task_id, error)
    assert failed.status is Status.FAILED


async def test_progress_of_a_task_that_was_replaced_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.CANCELLED)
    await world.create()
    with pytest.raises(Conflict):
        await world.agents.progress(world.run, task.task_id, world.at("downloading", 30))


@pytest.mark.parametrize("status", Status)
async def test_fail_by_the_region_ends_only_what_is_not_installing_or_over(
    world: World, status: Status
) -> None:
    task = await world.task_that_is(status)
    after = await world.agents.fail(task, TaskError(reason="no image"))
    keeps = status in FINAL or status is Status.INSTALLING
    assert after.status is (status if keeps else Status.FAILED)


async def test_failed_by_the_agent_says_command_and_output(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    error = TaskError(reason="mkfs failed", command="mkfs.ext4 /dev/vda3", output="no space")
    failed = await world.agents.failed(world.run, task.task_id, error)
    assert (failed.status, failed.error) == (Status.FAILED, error)
    assert await world.agents.failed(world.run, task.task_id, error) == failed


async def test_documents_stay_below_the_limit_with_endless_logs(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    lines = ["[INFO] " + "x" * 1000] * 200
    for percent in range(20, 60):
        progress = world.at("downloading", percent)
        task = await world.agents.progress(world.run, task.task_id, progress, lines)
    kv = await world.store.get(keys.task("dc1", "SN-1"))
    assert kv is not None and len(kv.value) < records.VALUE_LIMIT_BYTES
