"""Creating and deciding: one transaction each, every refusal changes nothing."""

import asyncio
from collections.abc import Awaitable

import pytest

from lpmos.core.creation import HISTORY_LIMIT
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.model.diskplan import GIB
from lpmos.model.errors import (
    Conflict,
    ImpossibleTransition,
    InvalidInput,
    NotFound,
    UnfinishedTask,
)
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.machine import ServerEntry
from lpmos.model.task import Task, TaskError
from lpmos.store import keys, records
from lpmos.store.api import Unavailable
from lpmos.store.mirror import Mirror
from tests.support.builders import MAC, actor, make_inventory, make_spec
from tests.unit.core.conftest import World

UNFINISHED = [status for status in Status if status not in FINAL]


async def stored(world: World, sn: str = "SN-1") -> Task:
    kv = await world.store.get(keys.task("dc1", sn))
    assert kv is not None
    return records.decode(kv, Task)


async def test_create_writes_server_and_task_in_one_revision(world: World) -> None:
    task = await world.create()
    server = await world.store.get(keys.server("dc1", "SN-1"))
    document = await world.store.get(keys.task("dc1", "SN-1"))
    assert server and document and server.mod_revision == document.mod_revision
    assert records.decode(document, Task) == task
    entry = records.decode(server, ServerEntry)
    assert (entry.sn, entry.mac, entry.status) == ("SN-1", MAC, "pending")


async def test_create_for_an_unknown_region_names_the_field(world: World) -> None:
    with pytest.raises(InvalidInput, match="known: dc1") as caught:
        await world.tasks.create(make_spec(idc="dc9"), by=actor("admin"))
    assert caught.value.problems[0].field == "idc"


@pytest.mark.parametrize(
    ("fields", "wrong"), [({"os_type": "plan9"}, "os_type"), ({"os_version": "1"}, "os_version")]
)
async def test_create_for_an_os_not_offered_names_the_field(
    world: World, fields: dict[str, str], wrong: str
) -> None:
    with pytest.raises(InvalidInput, match="debian 12") as caught:
        await world.tasks.create(make_spec(**fields), by=actor("admin"))
    assert caught.value.problems[0].field == wrong
    assert await world.store.get(keys.task("dc1", "SN-1")) is None


@pytest.mark.parametrize("status", UNFINISHED)
async def test_create_second_task_while_one_is_under_way_is_refused(
    world: World, status: Status
) -> None:
    first = await world.task_that_is(status)
    with pytest.raises(UnfinishedTask, match=first.task_id):
        await world.create()
    assert (await stored(world)).task_id == first.task_id


async def test_create_with_the_mac_of_another_machine_is_refused(world: World) -> None:
    await world.create()
    with pytest.raises(UnfinishedTask, match="SN-1"):
        await world.create(sn="SN-2")


async def test_create_two_at_once_one_wins(world: World) -> None:
    spec = make_spec()
    results = await asyncio.gather(
        *(world.tasks.create(spec, by=actor("admin")) for _ in range(8)), return_exceptions=True
    )
    assert sum(isinstance(result, Task) for result in results) == 1
    assert all(isinstance(r, Task | UnfinishedTask) for r in results)


async def test_create_whose_answer_was_lost_is_made_once(world: World) -> None:
    world.store.lose_answers = 1
    task = await world.create()
    assert (await stored(world)) == task
    assert len((await world.store.range(keys.EVENTS)).kvs) == 1


async def test_create_after_a_finished_task_keeps_it_in_history(world: World) -> None:
    first = await world.task_that_is(Status.COMPLETED)
    second = await world.create()
    assert world.fleet.current_task("dc1", "SN-1") == second
    kept = world.fleet.task(first.task_id)
    assert kept is not None and kept.status is Status.COMPLETED


async def test_create_many_times_history_keeps_the_newest(world: World) -> None:
    made = []
    for _ in range(HISTORY_LIMIT + 3):
        task = await world.create()
        await world.tasks.cancel(task.task_id, by=actor("admin"))
        await world.synced()
        made.append(task.task_id)
    page = await world.store.range(keys.history_prefix("dc1", "SN-1"))
    assert {kv.key.rsplit("/", 1)[1] for kv in page.kvs} == set(made[-HISTORY_LIMIT - 1 : -1])
    assert world.fleet.task(made[0]) is None


async def test_dead_letters_go_with_the_oldest_tasks_of_the_history(world: World) -> None:
    """Otherwise a machine that fails again and again fills the store."""
    failed = []
    for _ in range(HISTORY_LIMIT + 3):
        task = await world.create()
        await world.agents.fail(task, TaskError(reason="no image"))
        await world.synced()
        failed.append(task.task_id)

    page = await world.store.range(keys.dead_letter("dc1", ""))

    assert {kv.key.rsplit("/", 1)[1] for kv in page.kvs} == set(failed[-HISTORY_LIMIT - 1 :])


async def test_approve_makes_a_fresh_intent_and_says_who(world: World) -> None:
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    approved = await world.tasks.approve(task.task_id, by=actor("boss"), notes="fine")
    assert approved.intent is not None and approved.intent.claimed_by is None
    assert approved.approval is not None
    assert (approved.approval.approved_by, approved.approval.notes) == ("boss", "fine")
    assert "approved by boss: fine" in approved.logs[-1]


@pytest.mark.parametrize("status", [s for s in Status if s is not Status.PENDING_APPROVAL])
async def test_approve_or_reject_in_any_other_state_changes_nothing(
    world: World, status: Status
) -> None:
    task = await world.task_that_is(status)
    before = await stored(world)
    decisions: list[Awaitable[Task]] = [
        world.tasks.approve(task.task_id, by=actor("boss"), notes=None),
        world.tasks.reject(task.task_id, by=actor("boss"), reason="no"),
    ]
    for decision in decisions:
        with pytest.raises(ImpossibleTransition):
            await decision
    assert await stored(world) == before


@pytest.mark.parametrize("status", UNFINISHED)
async def test_cancel_in_every_state_ends_the_task_and_the_intent(
    world: World, status: Status
) -> None:
    task = await world.task_that_is(status)
    cancelled = await world.tasks.cancel(task.task_id, by=actor("boss"))
    assert (cancelled.status, cancelled.intent) == (Status.CANCELLED, None)
    assert await world.tasks.cancel(task.task_id, by=actor("boss")) == cancelled


async def test_cancel_of_a_completed_task_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.COMPLETED)
    with pytest.raises(ImpossibleTransition):
        await world.tasks.cancel(task.task_id, by=actor("boss"))


async def test_decisions_on_an_unknown_task_are_not_found(world: World) -> None:
    with pytest.raises(NotFound):
        await world.tasks.approve("no-such-task", by=actor("boss"), notes=None)


async def test_decision_on_a_past_task_never_touches_the_present_one(world: World) -> None:
    first = await world.task_that_is(Status.CANCELLED)
    second = await world.create()
    with pytest.raises(Conflict):
        await world.tasks.approve(first.task_id, by=actor("boss"), notes=None)
    assert await stored(world) == second


async def test_cancel_again_of_a_past_task_leaves_the_present_one(world: World) -> None:
    first = await world.task_that_is(Status.CANCELLED)
    second = await world.task_that_is(Status.INSTALLING)
    assert await world.tasks.cancel(first.task_id, by=actor("boss")) == first
    assert await stored(world) == second


async def test_decision_by_a_control_plane_that_lags_never_revives_a_past_task(
    world: World,
) -> None:
    first = await world.task_that_is(Status.PENDING_APPROVAL)
    lagging = await world.lagging_tasks()
    await world.tasks.cancel(first.task_id, by=actor("boss"))
    second = await world.create()
    with pytest.raises(Conflict):
        await lagging.approve(first.task_id, by=actor("late"), notes=None)
    assert await stored(world) == second


async def test_approve_of_another_plan_than_the_one_seen_is_refused(world: World) -> None:
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    assert task.plan is not None
    seen = task.plan.digest
    other = Disk(device="/dev/sdb", size_bytes=9 * GIB, kind="ssd", serial="DATA")
    again = await world.report(make_inventory(disks=(other,)))
    with pytest.raises(Conflict, match="look again"):
        await world.tasks.approve(task.task_id, by=actor("boss"), notes=None, plan_digest=seen)
    assert again.plan is not None
    approved = await world.tasks.approve(
        task.task_id, by=actor("boss"), notes=None, plan_digest=again.plan.digest
    )
    assert approved.status is Status.APPROVED


async def test_decisions_before_the_first_listing_are_unavailable_not_unknown(
    world: World,
) -> None:
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    fresh = Tasks(world.store, Fleet(Mirror(world.store, keys.ROOT)), world.clock)
    with pytest.raises(Unavailable):
        await fresh.approve("none", by=actor("boss"), notes=None)
    approved = await fresh.approve(task.task_id, by=actor("boss"), notes=None)
    assert approved.status is Status.APPROVED
    with pytest.raises(Unavailable):
        await fresh.create(make_spec(sn="SN-9", mac="52:54:00:00:00:09"), by=actor("boss"))


async def test_approve_whose_answer_was_lost_before_another_write_is_applied_once(
    world: World,
) -> None:
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    world.store.lose_answers = 1
    world.store.after_lost_answer.append(world.report)
    approved = await world.tasks.approve(task.task_id, by=actor("boss"), notes=None)
    assert approved.status is Status.APPROVED
    assert [c.status for c in approved.status_history].count(Status.APPROVED) == 1


async def test_approve_and_cancel_at_once_one_order_is_kept(world: World) -> None:
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    results = await asyncio.gather(
        world.tasks.approve(task.task_id, by=actor("a"), notes=None),
        world.tasks.cancel(task.task_id, by=actor("b")),
        return_exceptions=True,
    )
    final = await stored(world)
    assert final.status is Status.CANCELLED
    assert isinstance(results[1], Task)


async def test_approve_that_lost_a_race_is_applied_on_the_new_value(world: World) -> None:
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    world.store.before_txn = [world.report]
    approved = await world.tasks.approve(task.task_id, by=actor("boss"), notes=None)
    assert approved.status is Status.APPROVED
    assert sum("hardware reported" in line for line in approved.logs) == 2


async def test_approve_whose_answer_was_lost_is_applied_once(world: World) -> None:
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    world.store.lose_answers = 1
    approved = await world.tasks.approve(task.task_id, by=actor("boss"), notes=None)
    assert approved == await stored(world)
    assert [c.status for c in approved.status_history].count(Status.APPROVED) == 1


async def test_log_line_stays_one_line_whatever_was_written(world: World) -> None:
    task = await world.task_that_is(Status.PENDING_APPROVAL)
    approved = await world.tasks.approve(
        task.task_id, by=actor("boss"), notes="a\n[INFO] forged\r\n b"
    )
    assert approved.logs[-1].endswith("approved by boss: a [INFO] forged b")


async def test_create_with_the_store_away_is_unavailable(world: World) -> None:
    world.store.away = True
    with pytest.raises(Unavailable):
        await world.tasks.create(make_spec(), by=actor("admin"))


async def test_server_entry_follows_the_status(world: World) -> None:
    await world.task_that_is(Status.BOOTING)
    kv = await world.store.get(keys.server("dc1", "SN-1"))
    assert kv and records.decode(kv, ServerEntry).status == "booting"
