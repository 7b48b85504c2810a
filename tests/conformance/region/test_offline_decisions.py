"""What people decide, or decided, stands while a region goes on without its store."""

from collections.abc import Awaitable, Callable

import msgspec
import pytest

from lpmos.core.agentrun import AgentRun
from lpmos.core.taskstore import TaskStore, moved
from lpmos.model.diskplan import GIB
from lpmos.model.errors import Conflict, ImpossibleTransition
from lpmos.model.lifecycle import Event, Status
from lpmos.model.retry import is_transient
from lpmos.model.rollback import previous_generation
from lpmos.model.task import Task, TaskError
from lpmos.region.keeping import APPROVAL_AGE
from lpmos.store import keys, records
from lpmos.store.api import KV, Unavailable
from tests.support.builders import MAC, actor, make_inventory, make_spec
from tests.support.offline_region import OfflineSite, intent_of

OTHER_RUN = AgentRun(mac=MAC, agent_id="run-2")


async def test_unapproved_task_is_never_assumed_to_be_approved(site: OfflineSite) -> None:
    task = await site.create()
    await site.report()
    await site.cut()
    await site.tasks.approve(task.task_id, by=actor("boss"), notes=None)  # too late
    for _ in range(2):
        with pytest.raises(ImpossibleTransition):
            await site.region.agents.claim(site.run, task.task_id, None)
        known = site.region.fleet.task(task.task_id)
        assert known is not None and known.status is Status.PENDING_APPROVAL
        await site.restart_region()
    await site.heal()
    assert (await site.stored(task)).status is Status.APPROVED
    assert (await site.install(await site.stored(task))).status is Status.COMPLETED


async def cancel(site: OfflineSite, task: Task) -> None:
    await site.tasks.cancel(task.task_id, by=actor("boss"))


async def supersede(site: OfflineSite, task: Task) -> None:
    await cancel(site, task)
    await site.synced()
    await site.tasks.create(make_spec(idc=site.idc), by=actor("admin"))


async def delete(site: OfflineSite, task: Task) -> None:
    await site.store.delete(keys.task(task.idc, task.sn))


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [
        (cancel, "the task was cancelled meanwhile"),
        (supersede, "the machine has a newer task"),
        (delete, "the task was deleted meanwhile"),
    ],
)
@pytest.mark.parametrize("heard", [True, False], ids=["heard", "not heard of yet"])
async def test_what_people_decided_meanwhile_stands_and_what_is_refused_is_told(
    site: OfflineSite,
    meanwhile: Callable[[OfflineSite, Task], Awaitable[None]],
    reason: str,
    heard: bool,
) -> None:
    task = await site.approved()
    await site.cut()
    await site.install(task)
    await meanwhile(site, task)
    kv = await site.store.get(keys.task(task.idc, task.sn))
    if not heard:
        await site.hand_in_before_the_news(task)
    await site.heal()
    after = await site.store.get(keys.task(task.idc, task.sn))
    assert _decision(kv) == _decision(after)
    refused = await site.told("outbox.refused")
    assert {event.reason for event in refused} == {reason}
    told = [event.after or {} for event in sorted(refused, key=lambda each: str(each.after))]
    assert sorted(str(word["word"]) for word in told) == ["claimed", *["progressed"] * 4]
    assert site.region.agents.outbox_state.refused == 5
    shown = site.region.fleet.current_task(site.idc, "SN-1")
    assert shown == (records.decode(after, Task) if after else None)


def _decision(kv: KV | None) -> tuple[object, ...] | None:
    """What people decided on: all but that the disk may be written."""
    if kv is None:
        return None
    task = records.decode(kv, Task)
    return task.task_id, task.status, task.status_history, task.error, task.progress


async def fail(site: OfflineSite, task: Task, code: str = "timeout-approved") -> None:
    """A control plane that had not heard that the link was cut ends the task."""
    error = TaskError(reason="the agent did not take the approval", code=code)
    await TaskStore(site.store).change(
        task, lambda now: moved(now, Event.FAIL, site.clock(), error=error), by=actor("system")
    )


async def test_task_that_failed_by_its_deadline_while_it_installed_is_not_tried_again_by_itself(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await site.install(task)
    await fail(site, task)
    assert is_transient(await site.stored(task))
    await site.heal()
    failed = await site.stored(task)
    assert failed.status is Status.FAILED
    assert not is_transient(failed)
    assert "its disk may be written" in failed.logs[-1]


@pytest.mark.parametrize("end", [cancel, fail])
async def test_machine_that_began_before_it_heard_of_the_end_is_not_given_back_to_what_it_was(
    site: OfflineSite, end: Callable[[OfflineSite, Task], Awaitable[None]]
) -> None:
    await site.install(await site.approved())
    await site.synced()
    task = await site.approved()
    await site.cut()
    await site.region.agents.claim(site.run, task.task_id, None)
    await end(site, task)
    machine = site.region.fleet.machine(site.idc, "SN-1")
    assert previous_generation(await site.stored(task), machine) == 1
    await site.heal()
    with pytest.raises(Conflict, match="it is gone"):
        previous_generation(await site.stored(task), machine)


async def test_cancelled_task_ends_the_offline_install_as_soon_as_it_is_known(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await site.region.agents.claim(site.run, task.task_id, None)
    await cancel(site, task)
    await site.heal()
    with pytest.raises(ImpossibleTransition):
        await site.region.agents.progress(site.run, task.task_id, site.at("downloading", 30))


async def test_old_approval_is_not_taken_from_what_a_region_knew_before_it_was_started(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    await site.stop_region()
    site.now += APPROVAL_AGE
    await site.start_region()
    with pytest.raises(Unavailable, match="old approval"):
        await site.region.agents.claim(site.run, task.task_id, intent_of(task))
    with pytest.raises(Unavailable, match="old approval"):
        await site.region.agents.progress(site.run, task.task_id, site.at("downloading", 40))
    await site.heal()
    assert (await site.install(task)).status is Status.COMPLETED


async def test_old_approval_is_taken_where_the_region_has_heard_the_store(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    site.now += APPROVAL_AGE
    assert (await site.install(task)).status is Status.COMPLETED


async def test_approval_is_withdrawn_offline_too_where_the_hardware_is_another(
    site: OfflineSite,
) -> None:
    task = await site.approved()
    await site.cut()
    (disk,) = make_inventory().disks
    other = make_inventory(disks=(msgspec.structs.replace(disk, serial="DISK02"),))
    again = await site.region.agents.report(OTHER_RUN, None, other, GIB)
    assert again.status is Status.PENDING_APPROVAL
    with pytest.raises(ImpossibleTransition):
        await site.region.agents.claim(OTHER_RUN, task.task_id, intent_of(task))
    await site.restart_region()
    with pytest.raises(ImpossibleTransition):
        await site.region.agents.claim(OTHER_RUN, task.task_id, intent_of(task))
    await site.heal()
    after = await site.stored(task)
    assert (after.status, after.approval) == (Status.PENDING_APPROVAL, None)
    assert after.plan and after.plan.serial == "DISK02"
