"""The elected control plane decides by rules: at once, once only, and again after a failure."""

import asyncio

import msgspec
import pytest

from lpmos.core.duties import ELECTION
from lpmos.model.audit import AuditEvent
from lpmos.model.errors import NotFound
from lpmos.model.lifecycle import Status
from lpmos.model.rule import RuleTask
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import CasConflict, Compare
from tests.support.builders import MAC, actor, make_inventory, make_spec
from tests.support.polling import until
from tests.support.rules import DEBIAN, Plane, make_fields, make_report
from tests.unit.core.conftest import World


async def waiting(world: World) -> Task:
    """A task whose machine has reported."""
    return await world.task_that_is(Status.PENDING_APPROVAL)


def is_approved(task: Task) -> bool:
    return task.status is Status.APPROVED


async def test_duty_approves_what_waited_before_the_term(world: World, plane: Plane) -> None:
    task = await waiting(world)
    await plane.rules.create("small", make_fields(condition="plan.size_bytes < TiB"), by=actor())

    async with plane.deciding():
        approved = await plane.task_when(task.task_id, is_approved)

    assert approved.approval is not None
    assert approved.approval.approved_by == "rule:small"
    assert approved.approval.notes == "plan.size_bytes < TiB [plan.size_bytes = 8589934592]"
    assert approved.intent is not None
    (event,) = [each for each in await plane.events() if each.action == "task.approved"]
    assert event.actor.name == "rule:small"
    assert event.reason == approved.approval.notes


async def test_duty_approves_a_task_when_its_machine_reports(world: World, plane: Plane) -> None:
    await plane.rules.create("all", make_fields(), by=actor())

    async with plane.deciding():
        task = await waiting_when_decided(world)
        await plane.task_when(task.task_id, is_approved)


async def waiting_when_decided(world: World) -> Task:
    """A reported task; the rule may have approved it before this returns."""
    task = await world.create()
    task = await world.agents.prepared(task)
    await world.synced()
    await world.agents.boot(MAC, "SN-1")
    await world.synced()
    return await world.report()


async def test_duty_asks_the_rule_of_highest_priority_first(world: World, plane: Plane) -> None:
    task = await waiting(world)
    await plane.rules.create("low", make_fields(priority=1), by=actor())
    await plane.rules.create("high", make_fields(priority=2), by=actor())
    await plane.rules.create("never", make_fields(priority=3, condition="false"), by=actor())

    async with plane.deciding():
        approved = await plane.task_when(task.task_id, is_approved)

    assert approved.approval is not None
    assert approved.approval.approved_by == "rule:high"


async def test_duty_leaves_to_a_person_what_no_rule_matches(world: World, plane: Plane) -> None:
    first = await waiting(world)
    await plane.rules.create("big", make_fields(condition="plan.size_bytes > TiB"), by=actor())

    async with plane.deciding():
        other = await world.create(sn="SN-2", mac="52:54:00:00:00:02", hostname="other")
        await plane.rules.create(
            "other", make_fields(condition="task.hostname == 'other'"), by=actor()
        )
        report = make_inventory()
        nic = msgspec.structs.replace(report.nics[0], mac=other.mac)
        run = msgspec.structs.replace(world.run, mac=other.mac)
        inventory = msgspec.structs.replace(report, nics=(nic,))
        await world.agents.report(run, "SN-2", inventory, 1)
        await plane.task_when(other.task_id, is_approved)

    assert (await plane.tasks.find(first.task_id)).status is Status.PENDING_APPROVAL


@pytest.mark.parametrize("change", ["created", "changed", "enabled"])
async def test_changed_rule_is_applied_to_what_waits_now(
    world: World, plane: Plane, change: str
) -> None:
    task = await waiting(world)
    fields = make_fields(condition="false" if change == "changed" else "true", enabled=False)
    if change == "changed":
        fields = msgspec.structs.replace(fields, enabled=True)
    if change != "created":
        await plane.rules.create("one", fields, by=actor())

    async with plane.deciding():
        if change == "created":
            await plane.rules.create("one", make_fields(), by=actor())
        else:
            await plane.rules.change("one", make_fields(), by=actor())
        await plane.task_when(task.task_id, is_approved)


async def test_duty_decides_later_where_the_store_was_away(world: World, plane: Plane) -> None:
    task = await waiting(world)
    await plane.rules.create("one", make_fields(), by=actor())
    leadership = await world.store.elect(ELECTION, "one", 10)
    world.store.away = True
    deciding = asyncio.create_task(plane.duty.lead(leadership))
    try:
        await asyncio.sleep(0)
        world.store.away = False
        await plane.task_when(task.task_id, is_approved)
    finally:
        deciding.cancel()
        await asyncio.gather(deciding, return_exceptions=True)


async def test_duty_whose_answer_was_lost_approves_once(world: World, plane: Plane) -> None:
    task = await waiting(world)
    await plane.rules.create("one", make_fields(), by=actor())
    leadership = await world.store.elect(ELECTION, "one", 10)
    world.store.lose_answers = 1
    deciding = asyncio.create_task(plane.duty.lead(leadership))
    try:
        await plane.task_when(task.task_id, is_approved)
        await asyncio.sleep(0)
    finally:
        deciding.cancel()
        await asyncio.gather(deciding, return_exceptions=True)

    approvals = [each for each in await plane.events() if each.action == "task.approved"]
    assert len(approvals) == 1


async def test_duty_that_no_longer_leads_changes_nothing(world: World, plane: Plane) -> None:
    task = await waiting(world)
    held = await plane.rules.create("one", make_fields(), by=actor())
    leadership = await world.store.elect(ELECTION, "one", 10)
    await leadership.resign()

    with pytest.raises(CasConflict):
        await plane.tasks.approve(
            task.task_id, by=actor("rule:one"), notes=None, only_while=leadership.fence
        )

    assert held.revision
    assert (await plane.tasks.find(task.task_id)).status is Status.PENDING_APPROVAL


async def test_rule_that_was_changed_meanwhile_decides_nothing(world: World, plane: Plane) -> None:
    task = await waiting(world)
    held = await plane.rules.create("one", make_fields(), by=actor())
    await plane.rules.change("one", make_fields(enabled=False), by=actor())
    as_it_was = Compare(keys.control("rules", "one"), "mod", "=", held.revision)

    with pytest.raises(CasConflict):
        await plane.tasks.approve(
            task.task_id, by=actor("rule:one"), notes=None, only_while=[as_it_was]
        )

    assert (await plane.tasks.find(task.task_id)).status is Status.PENDING_APPROVAL


async def test_unknown_machine_gets_the_task_that_a_rule_says(plane: Plane) -> None:
    task = RuleTask(os_type="debian", os_version="12", hostname="new-{sn}", tags={"by": "rule"})
    await plane.rules.create(
        "zt", make_fields(task=task, condition="report.sn.startsWith('SN-')"), by=actor()
    )
    identity = await plane.keep(make_report())

    async with plane.deciding():
        created = await created_task(plane)

    assert (created.sn, created.mac, created.hostname) == ("SN-1", MAC, "new-sn-1")
    assert created.created_by == "rule:zt"
    assert created.tags == {"by": "rule"}
    with pytest.raises(NotFound):
        await plane.desk.find(identity)


async def created_task(plane: Plane, sn: str = "SN-1") -> Task:
    found: list[Task] = []

    async def there() -> bool:
        kv = await plane.store.get(keys.task("dc1", sn))
        found[:] = [records.decode(kv, Task)] if kv else []
        return bool(found)

    await until(there)
    return found[0]


async def test_refused_creation_is_told_once_and_tried_again(world: World, plane: Plane) -> None:
    await plane.keep(make_report())
    await plane.rules.create(
        "zt", make_fields(task=RuleTask(os_type="debian", os_version="99")), by=actor()
    )

    async with plane.deciding():
        await until(lambda: refused_events(plane, 1))
        told_at = world.store.txns

        async def tried_again() -> bool:
            return world.store.txns >= told_at + 3  # each try reads what bears on the task

        await until(tried_again)
        assert len(await told_refusals(plane)) == 1
        await plane.rules.change("zt", make_fields(task=DEBIAN), by=actor())
        await created_task(plane)

    (event,) = await told_refusals(plane)
    assert event.outcome == "refused"
    assert event.actor.name == "rule:zt"
    assert event.reason is not None
    assert "does not offer debian 99" in event.reason


async def told_refusals(plane: Plane) -> list[AuditEvent]:
    return [each for each in await plane.events() if each.outcome == "refused"]


async def refused_events(plane: Plane, count: int) -> bool:
    return len(await told_refusals(plane)) >= count


async def test_two_leaders_at_once_decide_once(world: World, plane: Plane) -> None:
    """The first leader does not know that it leads no more; its fence does."""
    second = Plane(world.store, world.clock)
    await plane.rules.create("one", make_fields(), by=actor())
    await plane.rules.create(
        "zt", make_fields(task=DEBIAN, condition="report.sn == 'SN-9'"), by=actor()
    )
    first_term = await world.store.elect(ELECTION, "one", 10)
    await first_term.resign()
    second_term = await world.store.elect(ELECTION, "two", 10)
    async with second.listening():
        leading = [
            asyncio.create_task(plane.duty.lead(first_term)),
            asyncio.create_task(second.duty.lead(second_term)),
        ]
        try:
            task = await waiting_when_decided(world)
            await plane.task_when(task.task_id, is_approved)
            await plane.keep(
                make_report(
                    sn="SN-9", mac_address="52:54:00:00:00:09", hardware=make_inventory(nics=())
                )
            )
            await created_task(plane, "SN-9")
        finally:
            for each in leading:
                each.cancel()
            await asyncio.gather(*leading, return_exceptions=True)

    actions = [each.action for each in await plane.events() if each.outcome == "done"]
    assert actions.count("task.approved") == 1
    assert actions.count("task.created") == 2


async def test_second_person_holds_for_rules_too(world: World) -> None:
    plane = Plane(world.store, world.clock, second_person=True)
    async with plane.listening():
        await plane.rules.create("mine", make_fields(priority=9), by=actor("admin"))
        await plane.rules.create("bobs", make_fields(), by=actor("bob"))
        task = await waiting(world)
        assert task.created_by == "admin"

        async with plane.deciding():
            approved = await plane.task_when(task.task_id, is_approved)

    assert approved.approval is not None
    assert approved.approval.approved_by == "rule:bobs"


async def test_tenants_rule_decides_on_its_tenants_tasks_only(world: World, plane: Plane) -> None:
    ours = await plane.tasks.create(make_spec(tenant="acme"), by=actor("ann", tenant="acme"))
    await plane.rules.create("acme", make_fields(), by=actor("ann", tenant="acme"))
    await world.synced()
    await world.report()
    provider = await plane.tasks.create(
        make_spec(sn="SN-2", mac="52:54:00:00:00:02"), by=actor("admin")
    )
    await world.synced()
    nic = msgspec.structs.replace(make_inventory().nics[0], mac=provider.mac)
    run = msgspec.structs.replace(world.run, mac=provider.mac)
    await world.agents.report(run, "SN-2", make_inventory(nics=(nic,)), 1)

    async with plane.deciding():
        await plane.task_when(ours.task_id, is_approved)

    assert (await plane.tasks.find(provider.task_id)).status is Status.PENDING_APPROVAL
