"""Rules as documents: what a person may say, and the task that a rule makes."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.diskplan import RootDiskHints
from lpmos.model.errors import InvalidInput
from lpmos.model.rule import (
    NewRule,
    RuleFields,
    RuleTask,
    check_rule,
    rule_actor,
    rule_of_actor,
    task_of_rule,
)
from tests.support.builders import MAC
from tests.support.rules import DEBIAN, make_fields, make_rule


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"idc": ("dc1", "dc-2"), "tenant": "acme", "allow_overwrite": True},
        {"task": DEBIAN},
        {"task": RuleTask(os_type="debian", os_version="12", hostname="node-{sn}.{mac}.example")},
    ],
)
def test_rule_that_is_sound_passes(fields: dict[str, Any]) -> None:
    check_rule(make_fields(**fields))


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"idc": ("dc1", "DC 2", "region")}, {"idc.1", "idc.2"}),
        ({"tenant": "A B"}, {"tenant"}),
        ({"kind": "approve", "task": DEBIAN}, {"task"}),
        ({"kind": "create"}, {"task"}),
        (
            {"task": DEBIAN, "allow_overwrite": True, "tenant": "acme"},
            {"allow_overwrite", "tenant"},
        ),
        (
            {"task": RuleTask(os_type="debian", os_version="12", hostname="{serial}")},
            {"task.hostname"},
        ),
        (
            {"task": RuleTask(os_type="debian", os_version="12", hostname="node_{sn}")},
            {"task.hostname"},
        ),
        (
            {
                "task": RuleTask(
                    os_type="debian", os_version="12", disk_layout="raid9", ssh_keys=("nonsense",)
                )
            },
            {"task.disk_layout", "task.ssh_keys.0"},
        ),
        (
            {"task": RuleTask(os_type="debian", os_version="12", kernel_arguments="a;reboot")},
            {"task.kernel_arguments"},
        ),
    ],
)
def test_rule_that_is_not_sound_is_refused_with_every_field(
    fields: dict[str, Any], wrong: set[str]
) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_rule(make_fields(**fields))

    assert {problem.field for problem in refused.value.problems} == wrong


@pytest.mark.parametrize(
    "body",
    [
        {"name": "Big", "kind": "approve", "condition": "true"},
        {"name": "x", "kind": "reject", "condition": "true"},
        {"name": "x", "kind": "approve", "condition": ""},
        {"name": "x", "kind": "approve", "condition": "x" * 1001},
        {"name": "x", "kind": "approve", "condition": "true", "priority": 1001},
        {"name": "x", "kind": "approve", "condition": "true", "colour": "red"},
    ],
)
def test_new_rule_of_another_shape_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(body, NewRule)


def test_task_of_a_rule_has_the_machine_and_what_the_rule_says() -> None:
    task = RuleTask(
        os_type="debian",
        os_version="12",
        hostname="node-{sn}-{mac}",
        root_disk=RootDiskHints(min_size_bytes=1),
        tags={"by": "rule"},
        tenant="acme",
        kernel_arguments="console=ttyS1,115200n8 hugepages=16",
    )

    spec = task_of_rule(task, "dc1", MAC, "SN_7")

    assert (spec.idc, spec.mac, spec.sn, spec.tenant) == ("dc1", MAC, "SN_7", "acme")
    assert spec.hostname == "node-sn-7-525400000001"
    assert spec.tags == {"by": "rule"}
    assert spec.kernel_arguments == "console=ttyS1,115200n8 hugepages=16"


def test_task_of_a_rule_for_a_machine_without_a_serial_number_is_named_by_its_mac() -> None:
    spec = task_of_rule(DEBIAN, "dc1", MAC, None)

    assert (spec.sn, spec.kernel_arguments) == ("mac-525400000001", "")


@given(sn=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", fullmatch=True))
def test_task_of_a_rule_has_a_host_name_for_any_serial_number(sn: str) -> None:
    task = RuleTask(os_type="debian", os_version="12", hostname="{sn}")

    assert task_of_rule(task, "dc1", MAC, sn).hostname


def test_rule_holds_for_its_data_centers_and_its_tenant() -> None:
    rule = make_rule(idc=("dc1",), tenant="acme")

    assert rule.holds_for("dc1", "acme")
    assert not rule.holds_for("dc2", "acme")
    assert not rule.holds_for("dc1", "other")
    assert not rule.holds_for("dc1", None)
    assert make_rule().holds_for("dc9", "anyone")


@pytest.mark.parametrize("name", ["admin", "region:dc1", "rule:", ""])
def test_actor_that_is_no_rule_names_none(name: str) -> None:
    assert rule_of_actor(name) is None


def test_actor_of_a_rule_names_it() -> None:
    assert rule_of_actor(rule_actor("blank-disks")) == "blank-disks"


def test_rule_is_audited_with_all_that_a_person_said() -> None:
    audited = make_rule(description="why").audited()

    assert set(audited) == set(RuleFields.__struct_fields__)
    assert audited["description"] == "why"
