"""What another machine, or other hardware, does to a task: what was approved is what is written."""

from datetime import timedelta

import msgspec
import pytest

from lpmos.core.agentrun import AgentRun, NoTask
from lpmos.core.handin import HandingIn, handing_in
from lpmos.core.reporting import FOREIGN_MACHINE
from lpmos.core.rollback import Rollbacks
from lpmos.model.audit import AuditEvent
from lpmos.model.diskplan import GIB
from lpmos.model.errors import Conflict, ForeignClaim, ForeignMachine, ImpossibleTransition
from lpmos.model.fingerprint import fingerprint
from lpmos.model.inventory import Disk, Inventory, Nic, Product
from lpmos.model.lifecycle import Status
from lpmos.model.machine import UnmatchedReport
from lpmos.model.task import Progress, Task, TaskError
from lpmos.store import keys, records
from tests.support.builders import MAC, actor, make_inventory
from tests.unit.core.conftest import World

OTHER = AgentRun(mac=MAC, agent_id="run-2")
FIRST = make_inventory(product=Product(serial="AAA-1", uuid="4c4c4544-0042-4a10-8035-b4c04f4d3232"))
FOREIGN = make_inventory(product=Product(serial="BBB-2"))
OTHER_DISK = msgspec.structs.replace(
    FIRST, disks=(Disk(device="/dev/vda", size_bytes=9 * GIB, kind="ssd", serial="DISK02"),)
)
REPORTED = [Status.PENDING_APPROVAL, Status.APPROVED, Status.INSTALLING, Status.COMPLETED]


async def reported(world: World, status: Status = Status.PENDING_APPROVAL) -> Task:
    """A task brought to `status` whose hardware is `FIRST`."""
    task = await world.create()
    await world.report(FIRST)
    if status is Status.PENDING_APPROVAL:
        return await stored(world, task)
    await world.tasks.approve(task.task_id, by=actor("boss"), notes=None)
    if status is not Status.APPROVED:
        await world.agents.claim(world.run, task.task_id, None)
    if status is Status.COMPLETED:
        await world.agents.progress(world.run, task.task_id, world.at("configuring", 100))
    await world.synced()
    return await stored(world, task)


async def stored(world: World, task: Task) -> Task:
    kv = await world.store.get(keys.task(task.idc, task.sn))
    assert kv is not None
    return records.decode(kv, Task)


async def unmatched(world: World) -> list[UnmatchedReport]:
    page = await world.store.range(keys.unmatched_prefix("dc1"))
    return [records.decode(kv, UnmatchedReport) for kv in page.kvs]


async def events(world: World, action: str) -> list[AuditEvent]:
    page = await world.store.range(keys.EVENTS)
    found = [records.decode(kv, AuditEvent) for kv in page.kvs]
    return [event for event in found if event.action == action]


async def report(world: World, inventory: Inventory, run: AgentRun = OTHER) -> Task:
    task = await world.agents.report(run, None, inventory, GIB)
    await world.synced()
    return task


@pytest.mark.parametrize("status", REPORTED)
async def test_another_machine_with_the_mac_changes_nothing_and_is_shown(
    world: World, status: Status
) -> None:
    before = await reported(world, status)
    machine = world.fleet.machine("dc1", "SN-1")
    with pytest.raises(ForeignMachine, match="serial number is BBB-2, not AAA-1"):
        await report(world, FOREIGN)
    after = await stored(world, before)
    assert msgspec.structs.replace(after, logs=before.logs, log_count=before.log_count) == before
    assert "another machine reported" in after.logs[-1] and "BBB-2" not in after.logs[-1]
    await world.synced()
    assert world.fleet.machine("dc1", "SN-1") == machine
    (kept,) = await unmatched(world)
    assert kept.same_mac_as == "SN-1" and "not AAA-1" in kept.error
    assert kept.hardware == FOREIGN
    (event,) = await events(world, FOREIGN_MACHINE)
    assert (event.idc, event.sn, event.outcome) == ("dc1", "SN-1", "done")


async def test_another_machine_that_insists_is_told_of_once_in_ten_minutes(world: World) -> None:
    task = await reported(world)
    for _ in range(20):
        with pytest.raises(ForeignMachine):
            await report(world, FOREIGN)
    assert len(await unmatched(world)) == len(await events(world, FOREIGN_MACHINE)) == 1
    assert sum("another machine" in line for line in (await stored(world, task)).logs) == 1
    world.now += timedelta(minutes=11)
    with pytest.raises(ForeignMachine):
        await report(world, FOREIGN)
    assert (len(await unmatched(world)), len(await events(world, FOREIGN_MACHINE))) == (1, 2)


async def test_report_of_another_machine_stays_when_the_right_one_reports(world: World) -> None:
    await reported(world)
    with pytest.raises(ForeignMachine):
        await report(world, FOREIGN)
    await world.report(FIRST)
    world.restart_region()
    await world.report(FIRST)
    assert [kept.hardware for kept in await unmatched(world)] == [FOREIGN]


async def test_another_machine_cannot_end_an_install_nor_claim_one(world: World) -> None:
    task = await reported(world, Status.APPROVED)
    with pytest.raises(ForeignMachine):
        await report(world, FOREIGN)
    with pytest.raises(ForeignClaim):
        await world.agents.claim(OTHER, task.task_id, None)
    claimed = await world.agents.claim(world.run, task.task_id, None)
    assert claimed.status is Status.INSTALLING


@pytest.mark.parametrize("field", ["serial", "uuid"])
async def test_machine_that_says_less_of_itself_is_no_other(world: World, field: str) -> None:
    await reported(world)
    less = msgspec.structs.replace(FIRST.product, **{field: "Default string"})
    again = await report(world, msgspec.structs.replace(FIRST, product=less))
    assert again.status is Status.PENDING_APPROVAL


async def test_other_hardware_of_an_approved_machine_takes_the_approval_back(world: World) -> None:
    task = await reported(world, Status.APPROVED)
    assert task.approval and task.approval.fingerprint == fingerprint(FIRST)
    again = await report(world, OTHER_DISK)
    assert (again.status, again.approval, again.intent) == (Status.PENDING_APPROVAL, None, None)
    assert again.plan and again.plan.serial == "DISK02"
    newest = again.status_history[-1]
    assert newest.reason and "disk DISK01" in newest.reason and newest.by == f"agent:{MAC}"
    (event,) = [e for e in await events(world, "task.pending_approval") if e.reason]
    assert event.reason == newest.reason
    with pytest.raises(ImpossibleTransition):
        await world.agents.claim(OTHER, task.task_id, None)
    approved = await world.tasks.approve(task.task_id, by=actor("boss"), notes=None)
    assert approved.approval and approved.approval.fingerprint == fingerprint(OTHER_DISK)
    with pytest.raises(ForeignClaim):
        await world.agents.claim(world.run, task.task_id, None)
    claimed = await world.agents.claim(OTHER, task.task_id, None)
    assert claimed.status is Status.INSTALLING


async def test_other_hardware_without_a_disk_that_fits_ends_the_approved_task(
    world: World,
) -> None:
    await reported(world, Status.APPROVED)
    again = await report(world, msgspec.structs.replace(FIRST, disks=()))
    assert again.status is Status.FAILED


async def test_same_hardware_after_approval_keeps_it_for_the_run_that_reported_last(
    world: World,
) -> None:
    task = await reported(world, Status.APPROVED)
    kernel_name = msgspec.structs.replace(FIRST.disks[0], device="/dev/sdz")
    again = await report(world, msgspec.structs.replace(FIRST, disks=(kernel_name,)))
    assert (again.status, again.plan, again.intent) == (Status.APPROVED, task.plan, task.intent)
    assert again.reported_by == OTHER.agent_id
    with pytest.raises(ForeignClaim, match="another agent run has reported"):
        await world.agents.claim(world.run, task.task_id, None)
    with pytest.raises(ForeignClaim):
        await world.agents.progress(world.run, task.task_id, world.at("partitioning", 5))
    claimed = await world.agents.claim(OTHER, task.task_id, None)
    assert claimed.status is Status.INSTALLING


async def test_approval_of_an_earlier_version_stands_for_the_hardware_of_then(
    world: World,
) -> None:
    task = await reported(world, Status.APPROVED)
    assert task.approval
    older = msgspec.structs.replace(
        task, approval=msgspec.structs.replace(task.approval, fingerprint=None), reported_by=None
    )
    await world.store.put(keys.task("dc1", "SN-1"), records.encode(older))
    await world.synced()
    assert (await report(world, FIRST)).status is Status.APPROVED
    assert (await report(world, OTHER_DISK)).status is Status.PENDING_APPROVAL


async def test_approval_of_hardware_that_was_not_seen_is_refused(world: World) -> None:
    task = await reported(world)
    seen = fingerprint(FIRST)
    two_nics = (*FIRST.nics, Nic(interface="eth1", mac="52:54:00:00:00:02"))
    await report(world, msgspec.structs.replace(FIRST, nics=two_nics))
    with pytest.raises(Conflict, match="look again"):
        await world.tasks.approve(
            task.task_id, by=actor("boss"), notes=None, hardware_fingerprint=seen
        )
    present = await stored(world, task)
    assert present.hardware and present.status is Status.PENDING_APPROVAL
    approved = await world.tasks.approve(
        task.task_id,
        by=actor("boss"),
        notes=None,
        hardware_fingerprint=fingerprint(present.hardware),
    )
    assert approved.status is Status.APPROVED


async def test_new_task_of_a_machine_that_was_replaced_says_so(world: World) -> None:
    await reported(world, Status.COMPLETED)
    await world.create()
    task = await report(world, FOREIGN)
    assert task.status is Status.PENDING_APPROVAL
    assert any("serial number was AAA-1 and is BBB-2" in line for line in task.logs)


async def test_report_finds_its_task_by_any_nic_and_takes_each_kept_report_away(
    world: World,
) -> None:
    second = "52:54:00:00:00:02"
    two = msgspec.structs.replace(FIRST, nics=(*FIRST.nics, Nic(interface="b", mac=second)))
    for mac in (MAC, second):
        with pytest.raises(Exception, match="no task"):
            await world.agents.report(AgentRun(mac=mac, agent_id="run-1"), None, two, GIB)
    await world.create()
    await world.report(two)
    assert await unmatched(world) == []


async def test_thousands_of_disks_of_which_none_fits_are_one_short_reason(world: World) -> None:
    await world.create()
    disk = Disk(device="/dev/sda", size_bytes=8 * GIB, kind="ssd", serial="s" * 200, wwn="w" * 60)
    paths = tuple(msgspec.structs.replace(disk, device=f"/dev/sd{n}") for n in range(300))
    task = await report(world, msgspec.structs.replace(FIRST, disks=paths))
    assert task.status is Status.FAILED
    assert task.error and len(task.error.reason) <= 2_000


@pytest.mark.parametrize("status", REPORTED[:3])
async def test_report_by_a_card_that_the_machine_never_had_is_another_machines(
    world: World, status: Status
) -> None:
    """Who names another machine's serial number and cards, and nothing of its own."""
    before = await reported(world, status)
    own = "52:54:00:00:00:66"
    silent = msgspec.structs.replace(
        FIRST, product=Product(), nics=(*FIRST.nics, Nic(interface="b", mac=own, booted=True))
    )
    with pytest.raises(ForeignMachine, match="no card"):
        await world.agents.report(AgentRun(mac=own, agent_id="run-2"), "SN-1", silent, GIB)
    after = await stored(world, before)
    assert (after.status, after.hardware) == (before.status, before.hardware)
    (kept,) = await unmatched(world)
    assert (kept.mac_address, kept.same_mac_as) == (own, "SN-1")


@pytest.mark.parametrize("set_back", [timedelta(hours=3), timedelta(days=400)])
async def test_machine_that_restarts_after_the_clock_was_set_back_reports_and_installs(
    world: World, set_back: timedelta
) -> None:
    task = await reported(world, Status.APPROVED)
    world.now -= set_back
    assert (await report(world, FIRST)).reported_by == OTHER.agent_id
    claimed = await world.agents.claim(OTHER, task.task_id, None)
    assert claimed.status is Status.INSTALLING


@pytest.mark.parametrize("status", [Status.PENDING, Status.READY, Status.APPROVED])
async def test_report_said_before_its_task_was_as_it_is_stands_after_it_in_the_history(
    world: World, status: Status
) -> None:
    if status is Status.APPROVED:
        task = await reported(world, status)
    else:
        task = await world.task_that_is(status)
    world.now -= timedelta(minutes=5)
    word = HandingIn("outbox", 1, 0, world.now)
    token = handing_in.set(word)
    try:
        task = await report(world, OTHER_DISK, world.run)
    finally:
        handing_in.reset(token)
    assert task.status is Status.PENDING_APPROVAL
    times = [change.timestamp for change in task.status_history]
    assert times == sorted(times)
    stamps = [line.partition(" ")[0] for line in task.logs]
    assert stamps == sorted(stamps)
    assert task.reported_at is not None
    assert word.at < task.reported_at < times[0]


async def test_report_for_the_image_of_a_whole_disk_plans_no_partitions(world: World) -> None:
    await world.create()
    task = await world.agents.report(world.run, None, FIRST, 8 * GIB, whole_image=True)
    assert task.plan is not None
    assert (task.plan.whole_image, task.plan.partitions) == (True, ())


async def test_report_of_disks_with_other_sectors_than_the_images_fails_the_task(
    world: World,
) -> None:
    await world.create()
    task = await world.agents.report(
        world.run, None, FIRST, 8 * GIB, whole_image=True, sector_bytes=4096
    )
    assert (task.status, task.plan) == (Status.FAILED, None)
    assert task.error is not None and "has sectors of 512 bytes" in task.error.reason


JOB = {"os_type": None, "os_version": None, "job": {"steps": [{"step": "inventory"}]}}


async def job_that_is(world: World, status: Status) -> Task:
    """A job brought to `status` by the world's run."""
    task = await world.create(**JOB)
    await world.report(FIRST)
    if status is Status.CANCELLED:
        await world.tasks.cancel(task.task_id, by=actor("boss"))
    else:
        await world.tasks.approve(task.task_id, by=actor("boss"), notes=None)
        await world.agents.claim(world.run, task.task_id, None)
    if status is Status.COMPLETED:
        last = Progress(step="job", percent=100, timestamp=world.clock())
        await world.agents.progress(world.run, task.task_id, last)
    if status is Status.FAILED:
        await world.agents.failed(world.run, task.task_id, TaskError(reason="bad block"))
    await world.synced()
    task = await stored(world, task)
    assert task.status is status
    return task


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
async def test_job_that_is_over_is_no_task_of_a_later_run(world: World, status: Status) -> None:
    task = await job_that_is(world, status)
    assert (await report(world, FIRST, world.run)).task_id == task.task_id
    with pytest.raises(NoTask, match=f"no task for {MAC} in dc1; create one"):
        await report(world, FIRST)
    assert [each.mac_address for each in await unmatched(world)] == [MAC]
    assert await stored(world, task) == task
    following = await world.create(**JOB)
    assert (await report(world, FIRST)).task_id == following.task_id
    assert await unmatched(world) == []


async def test_task_that_was_rolled_back_is_no_task_of_a_later_run(world: World) -> None:
    task = await world.create()
    await world.report(FIRST)
    await world.tasks.cancel(task.task_id, by=actor("boss"))
    back = Rollbacks(world.store, world.tasks, world.clock)
    await back.roll_back(task.task_id, by=actor("boss"))
    await world.synced()
    with pytest.raises(NoTask, match="no task for"):
        await report(world, FIRST)
    assert [each.mac_address for each in await unmatched(world)] == [MAC]


async def test_report_in_the_middle_of_a_job_is_the_new_inventory(world: World) -> None:
    before = await job_that_is(world, Status.INSTALLING)
    await report(world, OTHER_DISK, world.run)
    after = await stored(world, before)
    assert after.status is Status.INSTALLING
    assert after.hardware == OTHER_DISK.bounded()
    assert before.reported_at is not None and after.reported_at is not None
    assert after.reported_at > before.reported_at
    assert after.plan_digest == before.plan_digest
    assert "hardware reported again: " in after.logs[-1] and "DISK02" in after.logs[-1]
    machine = world.fleet.machine("dc1", "SN-1")
    assert machine is not None and machine.reported_at is not None
    assert machine.inventory == OTHER_DISK.bounded()
    assert machine.reported_at >= after.reported_at


async def test_report_of_another_run_in_the_middle_of_a_job_ends_it(world: World) -> None:
    await job_that_is(world, Status.INSTALLING)
    assert (await report(world, FIRST)).status is Status.FAILED
