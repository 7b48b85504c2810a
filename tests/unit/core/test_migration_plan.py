"""What a migration decides before it writes: which machine, which task is present, who stays."""

import json
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from lpmos.core.creation import HISTORY_LIMIT
from lpmos.core.migration.conversion import convert
from lpmos.core.migration.entries import Entry
from lpmos.core.migration.oldtask import OUTCOMES, Outcome, outcome_of
from lpmos.core.migration.plan import Plan, PlannedTask, plan
from lpmos.core.migration.standing import Found, Standing, read
from lpmos.model.lifecycle import Status
from lpmos.store.records import VALUE_LIMIT_BYTES

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
BEGAN = datetime(2026, 1, 29, 10, tzinfo=UTC)
MAC = "52:54:00:00:00:01"
OTHER_MAC = "52:54:00:00:00:02"
Values = dict[str, Any]


def task_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def in_v1(number: int = 1, *, status: str = "completed", **fields: Any) -> Values:
    metadata = {
        "id": task_id(number), "region_id": "dc1", "target_mac": MAC, "os_type": "ubuntu",
        "os_version": "22.04", "created_by": "ops",
        "created_at": (BEGAN + timedelta(hours=number)).isoformat(),
    }  # fmt: skip
    place = f"/lpmos/tasks/{task_id(number)}"
    return {f"{place}/metadata": metadata | fields, f"{place}/status": status}


def in_list(number: int, sn: str, mac: str = MAC, *, status: str = "completed") -> Values:
    (metadata, _) = in_v1(number, target_mac=mac).values()
    place = f"/os/dc1/machines/{sn}"
    return {f"{place}/tasks": metadata, f"{place}/state": {"status": status}}


def planned(values: Values, standing: Standing | None = None) -> Plan:
    entries = {
        key: Entry(key, value.encode() if isinstance(value, str) else json.dumps(value).encode())
        for key, value in values.items()
    }
    standing = standing or Standing()
    return plan(read(Found(entries=entries, standing=standing, alive=[])), standing, AT)


def the_one(values: Values) -> PlannedTask:
    (task,) = planned(values).tasks
    return task


def kinds(found: Plan) -> list[str]:
    return sorted(finding.kind for finding in found.findings)


def test_newest_task_is_the_present_one_and_the_others_are_history() -> None:
    found = planned(in_v1(1) | in_v1(3, status="ready") | in_v1(2, status="failed"))
    assert [(task.old.task_id, task.present) for task in found.tasks] == [
        (task_id(1), False), (task_id(2), False), (task_id(3), True),
    ]  # fmt: skip
    assert not found.findings


def test_older_task_that_has_not_begun_is_put_aside() -> None:
    found = planned(in_v1(1, status="ready") | in_v1(2))
    assert [task.old.task_id for task in found.tasks] == [task_id(2)]
    assert kinds(found) == ["superseded"]


def test_history_beyond_the_limit_is_named() -> None:
    values: Values = {}
    for number in range(HISTORY_LIMIT + 3):
        values |= in_v1(number)
    found = planned(values)
    assert len(found.tasks) == HISTORY_LIMIT + 1
    assert kinds(found) == ["beyond-history"] * 2
    assert {finding.task_id for finding in found.findings} == {task_id(0), task_id(1)}


def test_task_without_serial_number_is_of_the_machine_with_its_mac() -> None:
    found = planned(in_v1(1) | in_list(2, "SN-1"))
    assert {(task.sn, task.present) for task in found.tasks} == {("SN-1", False), ("SN-1", True)}


def test_mac_of_two_machines_is_never_merged() -> None:
    found = planned(in_v1(1) | in_list(2, "SN-1") | in_list(3, "SN-2"))
    assert (found.tasks, kinds(found)) == ([], ["duplicate-mac"] * 3)
    assert "SN-1, SN-2" in found.findings[0].reason


def test_mac_of_another_machine_of_v3_is_never_merged() -> None:
    standing = Standing(macs={("dc1", MAC): "SN-9"})
    assert kinds(planned(in_list(2, "SN-1"), standing)) == ["duplicate-mac"]


def test_serial_number_with_two_macs_is_put_aside_unless_a_report_has_both() -> None:
    older = in_v1(1, sn="SN-1", target_mac=OTHER_MAC)
    newer = in_list(2, "SN-1")
    assert kinds(planned(older | newer)) == ["duplicate-serial"] * 2
    nics = [{"interface": f"eth{n}", "mac": mac} for n, mac in enumerate((MAC, OTHER_MAC))]
    newer["/os/dc1/machines/SN-1/state"]["hardware"] = {
        "collected_at": "2026-01-29T10:00:00Z", "memory": {"total_gb": 1}, "network": nics,
    }  # fmt: skip
    assert len(planned(older | newer).tasks) == 2


def test_machine_that_v3_already_installs_keeps_its_present_task() -> None:
    standing = Standing(present={("dc1", "mac-525400000001"): task_id(99)})
    (over,) = planned(in_v1(1), standing).tasks
    assert not over.present
    assert kinds(planned(in_v1(1, status="ready"), standing)) == ["superseded"]


def test_copy_of_a_task_in_a_later_layout_counts() -> None:
    values = in_v1(1, status="installing")
    later = {key.replace("/lpmos/tasks/", "/os/install/task/dc1/"): value
             for key, value in in_v1(1, status="completed").items()}  # fmt: skip
    found = planned(values | later)
    assert [task.old.outcome for task in found.tasks] == [Outcome.COMPLETED]
    assert kinds(found) == ["copy"]


def test_region_of_key_and_document_that_differ_are_put_aside() -> None:
    later = {key.replace("/lpmos/tasks/", "/os/install/task/dc2/"): value
             for key, value in in_v1(1).items()}  # fmt: skip
    (finding,) = planned(later).findings
    assert "'dc1' is not the key's 'dc2'" in finding.reason


@pytest.mark.parametrize(
    "mac", ["52-54-00-00-00-01", "5254.0000.0001", "525400000001", "52:54:00:00:00:01"]
)
def test_mac_in_any_usual_notation_is_the_same(mac: str) -> None:
    assert the_one(in_v1(1, target_mac=mac)).old.mac == MAC


def test_task_without_region_names_what_is_missing() -> None:
    (finding,) = planned(in_v1(1, region_id="")).findings
    assert (finding.kind, finding.reason) == ("damaged-task", "region_id is missing")


def test_every_wrong_field_is_named_at_once() -> None:
    (finding,) = planned(in_v1(1, status="odd", target_mac=7, os_type="?")).findings
    assert [word in finding.reason for word in ("status", "target_mac", "os_type")] == [True] * 3


def test_id_that_is_no_uuid_becomes_always_the_same_one() -> None:
    values = {key.replace(task_id(1), "task-001"): value for key, value in in_v1(1).items()}
    values["/lpmos/tasks/task-001/metadata"]["id"] = "task-001"
    first, again = the_one(values).old, the_one(values).old
    assert first.task_id == again.task_id == str(uuid.UUID(first.task_id))
    task, _ = convert(first, "SN-1", AT)
    assert "task task-001" in task.logs[-1]


@pytest.mark.parametrize("word", OUTCOMES)
def test_status_of_the_table_has_one_meaning_whatever_its_case(word: str) -> None:
    assert outcome_of(word.upper().replace("_", "-")) is OUTCOMES[word]
    assert outcome_of(f"{word}?") is None


APPROVED = {"status": "approved", "approved_by": "eve", "approved_at": "2026-01-29T12:00:00Z"}


def converted(status: str, **parts: Any) -> Any:
    values = in_v1(1, status=status)
    values |= {f"/lpmos/tasks/{task_id(1)}/{name}": part for name, part in parts.items()}
    task, _ = convert(the_one(values).old, "SN-1", AT)
    return task


def test_approval_never_carries_over_to_an_install_that_has_not_begun() -> None:
    task = converted("approved", approval=APPROVED)
    assert (task.status, task.approval, task.intent) == (Status.PENDING, None, None)
    assert task.updated_at == task.status_history[-1].timestamp == AT
    assert "must be approved again" in task.logs[-1]


def test_install_under_way_comes_as_failed_with_a_reason() -> None:
    task = converted("installing", approval=APPROVED)
    assert task.status is Status.FAILED and "under way" in task.error.reason
    assert task.approval.approved_by == "eve"


def test_install_with_progress_was_under_way_whatever_its_status_says() -> None:
    step = {"stage": "partitioning", "percentage": 5, "updated_at": "2026-01-29T12:00:00Z"}
    assert converted("approved", progress=step).status is Status.FAILED


def test_install_at_the_end_of_its_last_step_is_completed() -> None:
    step = {"stage": "configuring", "percentage": 100, "updated_at": "2026-01-29T12:00:00Z"}
    assert converted("installing", progress=step).status is Status.COMPLETED


def test_rejection_counts_though_the_status_did_not_say_it() -> None:
    no = {"status": "rejected", "rejected_by": "eve", "reason": "too small"}
    task = converted("pending_approval", approval=no)
    assert (task.status, task.approval.reason) == (Status.REJECTED, "too small")


@pytest.mark.parametrize("part", ["hardware", "approval", "progress", "error"])
def test_part_that_is_damaged_is_left_out_and_named(part: str) -> None:
    values = in_v1(1) | {f"/lpmos/tasks/{task_id(1)}/{part}": "{"}
    found = planned(values)
    assert len(found.tasks) == 1
    assert [(each.key, each.refused) for each in found.findings] == [
        (f"/lpmos/tasks/{task_id(1)}/{part}", False)
    ]


def test_long_log_is_cut_to_its_newest_lines_and_the_document_fits() -> None:
    lines = "\n".join(f"[INFO] {number} {'x' * 400}" for number in range(5000))
    values = in_v1(1) | {f"/lpmos/tasks/{task_id(1)}/logs": lines}
    task, document = convert(the_one(values).old, "SN-1", AT)
    assert "4999" in task.logs[-2] and task.log_count == 5001
    assert len(document) < VALUE_LIMIT_BYTES
