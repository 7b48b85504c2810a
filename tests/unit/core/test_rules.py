"""Rules kept, changed and asked: who may, in which order, and what each says."""

from typing import Any

import msgspec
import pytest

from lpmos.core.rules.rules import Rules, judge_report, judge_task
from lpmos.core.unmatched_reports import report_place
from lpmos.model.diskplan import GIB, DiskPlan, Member, StorageLayout
from lpmos.model.errors import Conflict, InvalidInput, NotFound
from lpmos.model.inventory import Disk
from lpmos.model.job import Job
from lpmos.model.jobplan import plan_job
from lpmos.model.rule import RULE_LIMIT, TENANT_RULE_LIMIT, check_rule, rule_actor
from lpmos.model.task import Task
from lpmos.store.api import CasConflict
from tests.support.builders import actor, make_inventory, make_task
from tests.support.rules import DEBIAN, Plane, make_fields, make_report, make_rule
from tests.unit.core.conftest import World


@pytest.fixture
def rules(world: World) -> Rules:
    return Rules(world.store, world.mirror, world.clock)


def waiting_task(**fields: Any) -> Task:
    plan = DiskPlan(device="/dev/vda", size_bytes=8 << 30, partitions=())
    return make_task(**{"hardware": make_inventory(), "plan": plan, **fields})


async def test_rules_are_asked_by_priority_then_by_name(rules: Rules) -> None:
    for name, priority in (("b", 1), ("a", 1), ("c", 9)):
        await rules.create(name, make_fields(priority=priority), by=actor())
    await rules.create("off", make_fields(priority=10, enabled=False), by=actor())
    await rules.create("zt", make_fields(task=DEBIAN), by=actor())

    assert [held.name for held in rules.enabled("approve")] == ["c", "a", "b"]
    assert [held.name for held in rules.enabled("create")] == ["zt"]
    assert [held.name for held in rules.seen_by(None)] == ["zt", "off", "c", "a", "b"]


async def test_rule_of_a_taken_name_is_refused(rules: Rules) -> None:
    await rules.create("one", make_fields(), by=actor())

    with pytest.raises(Conflict):
        await rules.create("one", make_fields(), by=actor())


async def test_rule_with_several_wrong_fields_names_them_all(rules: Rules) -> None:
    fields = make_fields(condition="machine.x > 1", idc=("DC",), task=DEBIAN, allow_overwrite=True)

    with pytest.raises(InvalidInput) as refused:
        await rules.create("bad", fields, by=actor())

    assert {each.field for each in refused.value.problems} == {
        "condition",
        "idc.0",
        "allow_overwrite",
    }


async def test_rules_beyond_the_limits_are_refused(rules: Rules) -> None:
    for number in range(TENANT_RULE_LIMIT):
        await rules.create(f"acme-{number}", make_fields(), by=actor("a", tenant="acme"))
    with pytest.raises(Conflict, match="delete one"):
        await rules.create("acme-more", make_fields(), by=actor("a", tenant="acme"))
    for number in range(RULE_LIMIT - TENANT_RULE_LIMIT):
        await rules.create(f"rule-{number}", make_fields(), by=actor())

    with pytest.raises(Conflict, match="delete one"):
        await rules.create("more", make_fields(), by=actor())


async def test_rule_changed_at_an_older_revision_stays(rules: Rules) -> None:
    first = await rules.create("one", make_fields(), by=actor())
    await rules.change("one", make_fields(priority=5), by=actor("bob"))

    with pytest.raises(CasConflict):
        await rules.change("one", make_fields(), by=actor(), at_revision=first.revision)
    with pytest.raises(CasConflict):
        await rules.delete("one", by=actor(), at_revision=first.revision)

    held = await rules.read("one", None)
    assert held.document.fields.priority == 5
    assert held.document.changed_by == "bob"
    assert held.document.created_at < held.document.changed_at


async def test_rule_never_becomes_one_of_another_kind(rules: Rules) -> None:
    await rules.create("one", make_fields(), by=actor())

    with pytest.raises(Conflict, match="kind"):
        await rules.change("one", make_fields(task=DEBIAN), by=actor())


async def test_tenants_user_makes_rules_for_its_tenant_only(rules: Rules) -> None:
    acme = actor("ann", tenant="acme")
    held = await rules.create("ours", make_fields(), by=acme)

    assert held.document.tenant == "acme"
    with pytest.raises(InvalidInput, match="tenant"):
        await rules.create("theirs", make_fields(tenant="other"), by=acme)
    with pytest.raises(InvalidInput, match="provider's"):
        await rules.create("zt", make_fields(task=DEBIAN), by=acme)


async def test_rule_of_another_tenant_is_not_there(rules: Rules) -> None:
    await rules.create("ours", make_fields(tenant="acme"), by=actor())
    await rules.create("all", make_fields(), by=actor())
    other = actor("bob", tenant="other")

    assert rules.seen_by("other") == []
    assert [held.name for held in rules.seen_by("acme")] == ["ours"]
    for name in ("ours", "all", "none"):
        with pytest.raises(NotFound):
            await rules.read(name, "other")
        with pytest.raises(NotFound):
            await rules.change(name, make_fields(), by=other)
        with pytest.raises(NotFound):
            await rules.delete(name, by=other)


async def test_deleted_rule_is_asked_no_more(rules: Rules) -> None:
    await rules.create("one", make_fields(), by=actor())

    await rules.delete("one", by=actor())

    assert rules.enabled("approve") == []


async def test_changes_of_rules_are_told_with_what_changed(rules: Rules, world: World) -> None:
    plane = Plane(world.store, world.clock)
    await rules.create("one", make_fields(), by=actor())
    await rules.change("one", make_fields(enabled=False), by=actor("bob"))
    await rules.delete("one", by=actor())

    told = {event.action: event for event in await plane.events()}
    assert set(told) == {"rule.created", "rule.changed", "rule.deleted"}
    assert told["rule.changed"].before == {"enabled": True}
    assert told["rule.changed"].after == {"enabled": False}
    assert told["rule.changed"].actor.name == "bob"


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"idc": ("dc2",)}, "is only for tasks in dc2"),
        ({"tenant": "acme"}, "is only for tasks of acme"),
        ({"condition": "plan.size_bytes > TiB"}, "plan.size_bytes = 8589934592"),
    ],
)
def test_rule_that_does_not_match_a_task_says_why(fields: dict[str, Any], why: str) -> None:
    verdict = judge_task(make_rule(**fields), waiting_task())

    assert not verdict.matched
    assert why in verdict.reason


def test_rule_approves_what_overwrites_data_only_where_it_says_so() -> None:
    plan = DiskPlan(device="/dev/vda", size_bytes=1, overwrites=("gpt", "ext4"), partitions=())
    task = waiting_task(plan=plan)

    verdict = judge_task(make_rule(), task)

    assert not verdict.matched
    assert verdict.reason == "the plan overwrites what /dev/vda holds (gpt, ext4)"
    assert judge_task(make_rule(allow_overwrite=True), task).matched


def test_rule_approves_no_plan_of_which_any_disk_holds_something() -> None:
    full = Member(device="/dev/vdb", size_bytes=1, overwrites=("LVM2_member",))
    plan = DiskPlan(device="/dev/vda", size_bytes=1, partitions=(), members=(full,))
    blank = make_rule(condition="size(plan.overwrites) == 0")

    assert not judge_task(blank, waiting_task(plan=plan)).matched
    verdict = judge_task(make_rule(), waiting_task(plan=plan))
    assert verdict.reason == "the plan overwrites what /dev/vdb holds (LVM2_member)"
    rule = make_rule(condition="'/dev/vdb' in plan.devices", allow_overwrite=True)
    assert judge_task(rule, waiting_task(plan=plan)).matched


def test_rule_sees_a_layout_by_its_name() -> None:
    own = StorageLayout(raid="raid1", lvm=True)
    for layout, name in (("raid1", "raid1"), (StorageLayout(lvm=True), "lvm"), (own, "custom")):
        rule = make_rule(condition=f"task.disk_layout == '{name}'")
        assert judge_task(rule, waiting_task(disk_layout=layout)).matched


def test_rule_that_names_overwriting_in_its_condition_still_needs_the_flag() -> None:
    plan = DiskPlan(device="/dev/vda", size_bytes=1, overwrites=("gpt",), partitions=())

    rule = make_rule(condition="'gpt' in plan.overwrites")

    assert not judge_task(rule, waiting_task(plan=plan)).matched


async def test_report_is_judged_by_condition_and_data_center(world: World) -> None:
    plane = Plane(world.store, world.clock)
    async with plane.listening():
        identity = await plane.keep(make_report())
        unmatched = await plane.desk.find(identity)

    assert report_place(identity)[0] == "dc1"
    assert judge_report(make_rule(task=DEBIAN, condition="report.sn == 'SN-1'"), unmatched).matched
    assert not judge_report(make_rule(task=DEBIAN, idc=("dc2",)), unmatched).matched


async def test_rule_does_not_approve_what_it_created_itself(rules: Rules) -> None:
    held = await rules.create("one", make_fields(), by=actor())

    (verdict,) = rules.verdicts_on_task(waiting_task(created_by=rule_actor("one")), [held])

    assert not verdict.matched
    assert "created this task itself" in verdict.reason


@pytest.mark.parametrize(
    ("created_by", "acting_for", "matched"),
    [
        ("alice", None, False),
        ("bob", None, True),
        ("rule:zt", "alice", False),
        ("rule:zt", "bob", True),
        ("rule:zt", None, False),
    ],
)
async def test_rule_acts_for_its_author_where_a_second_person_is_needed(
    world: World, created_by: str, acting_for: str | None, matched: bool
) -> None:
    rules = Rules(world.store, world.mirror, world.clock, second_person=True)
    held = await rules.create("one", make_fields(), by=actor("alice"))
    task = waiting_task(created_by=created_by, acting_for=acting_for)

    (verdict,) = rules.verdicts_on_task(task, [held])

    assert verdict.matched is matched, verdict.reason


async def test_decision_shows_a_tenant_its_own_rules_only(rules: Rules) -> None:
    await rules.create("all", make_fields(priority=1), by=actor())
    await rules.create("ours", make_fields(tenant="acme", condition="false"), by=actor())
    task = waiting_task(tenant="acme")

    provider = await rules.decision(task, None)
    tenant = await rules.decision(task, "acme")

    assert [(each.rule, each.matched) for each in provider] == [("ours", False), ("all", True)]
    assert [each.rule for each in tenant] == ["ours"]


def test_fields_survive_the_store() -> None:
    rule = make_rule(task=DEBIAN, idc=("dc1",))

    assert msgspec.json.decode(msgspec.json.encode(rule), type=type(rule)) == rule


def waiting_job(*steps: dict[str, Any], **fields: Any) -> Task:
    job = msgspec.convert({"steps": steps}, Job)
    hardware = make_inventory(
        disks=(Disk(device="/dev/vda", size_bytes=GIB, kind="ssd", serial="A", contents=("gpt",)),)
    )
    plan = plan_job(hardware, job)
    return make_task(hardware=hardware, job=job, job_plan=plan, os_type="job", **fields)


ERASE = {"step": "disk_erase", "disks": [{"serial": "A", "overwrite": True}]}


@pytest.mark.parametrize(
    ("step", "rule", "matched"),
    [
        ({"step": "disk_test"}, {}, False),
        ({"step": "disk_test"}, {"jobs": "reading"}, True),
        (ERASE, {"jobs": "reading"}, False),
        (ERASE, {"jobs": "reading", "allow_overwrite": True}, False),
        (ERASE, {"jobs": "writing"}, False),
        (ERASE, {"jobs": "writing", "allow_overwrite": True}, True),
        (ERASE, {"allow_overwrite": True}, False),
        ({"step": "rescue", "ssh": True}, {"jobs": "writing", "allow_overwrite": True}, False),
        ({"step": "rescue", "minutes": 5}, {"jobs": "reading"}, True),
    ],
)
def test_rule_approves_a_job_only_as_far_as_it_says(
    step: dict[str, Any], rule: dict[str, Any], matched: bool
) -> None:
    fields = make_rule(condition="machine.memory.total_bytes > 0", **rule)
    assert judge_task(fields, waiting_job(step)).matched is matched


def test_rule_on_a_job_sees_its_steps_and_what_is_lost() -> None:
    condition = "'disk_erase' in task.job && plan.overwrites == ['gpt']"
    rule = make_rule(condition=condition, jobs="writing", allow_overwrite=True)
    assert judge_task(rule, waiting_job({"step": "memory_test"}, ERASE)).matched
    assert not judge_task(rule, waiting_job({"step": "disk_test"})).matched


def test_rule_that_creates_tasks_says_nothing_of_jobs() -> None:
    with pytest.raises(InvalidInput) as refused:
        check_rule(make_fields(task=DEBIAN, jobs="reading"))
    assert [each.field for each in refused.value.problems] == ["jobs"]
