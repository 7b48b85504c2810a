"""Jobs over the API: what is taken, what is shown, what an approval is bound to."""

from typing import Any

import httpx
import msgspec
import pytest

from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Disk
from lpmos.model.job import Job, StepResult
from lpmos.model.jobplan import plan_job
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

ERASE = {"step": "disk_erase", "disks": [{"serial": "A", "overwrite": True}]}
NEW: dict[str, Any] = {"idc": "dc1", "sn": "SN-1", "mac": "52:54:00:12:34:56"}


def waiting_job(*steps: dict[str, Any], **fields: Any) -> Task:
    job = msgspec.convert({"steps": steps}, Job)
    disk = Disk(device="/dev/vda", size_bytes=GIB, kind="ssd", serial="A", contents=("gpt",))
    hardware = make_inventory(disks=(disk,))
    return make_task(
        status=Status.PENDING_APPROVAL,
        os_type="job",
        os_version=job.title,
        hardware=hardware,
        job=job,
        job_plan=plan_job(hardware, job),
        **fields,
    )


async def test_job_is_created_without_an_os_and_found_by_its_steps(api: httpx.AsyncClient) -> None:
    job = {"steps": [{"step": "memory_test", "passes": 2}, {"step": "disk_test"}]}
    made = await api.post("/api/v1/tasks", json={**NEW, "job": job})
    assert made.status_code == 201, made.text
    task = (await api.get(made.json()["links"]["self"])).json()
    listed = (await api.get("/api/v1/tasks", params={"os": "job"})).json()
    assert task["job"] == job
    assert (task["os_type"], task["os_version"]) == ("job", "memory-test.disk-test")
    assert (task["job_plan"], task["results"]) == (None, [])
    assert [row["task_id"] for row in listed["tasks"]] == [task["task_id"]]


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({}, {"os_type", "os_version"}),
        ({"job": {"steps": []}}, {"job.steps"}),
        ({"job": {"steps": [{"step": "format"}]}}, {"job.steps.0.step"}),
        ({"job": {"steps": [{"step": "memory_test", "speed": 1}]}}, {"job.steps.0.speed"}),
        ({"job": {"steps": [{"step": "inventory"}]}, "os_type": "debian"}, {"os_type"}),
        ({"job": {"steps": [{"step": "disk_test", "mode": "write"}]}}, {"job.steps.0.disks"}),
    ],
)
async def test_job_that_is_wrong_is_refused_by_its_field(
    api: httpx.AsyncClient, fields: dict[str, Any], wrong: set[str]
) -> None:
    answer = await api.post("/api/v1/tasks", json={**NEW, **fields})
    assert answer.status_code == 422, answer.text
    assert {each["field"] for each in answer.json()["errors"]} == wrong


async def test_approval_of_a_job_holds_for_the_plan_that_was_seen(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task = waiting_job({"step": "disk_test"}, ERASE)
    await control_plane.put_task(task)
    place = f"/api/v1/tasks/{task.task_id}"
    shown = (await api.get(place)).json()
    body = {"approved": True, "plan_digest": "0" * 64}
    refused = await api.put(f"{place}/approve", json=body)
    approved = await api.put(f"{place}/approve", json={**body, "plan_digest": shown["plan_digest"]})
    assert shown["plan"] is None
    assert [(s["devices"], s["writes"]) for s in shown["job_plan"]["steps"]] == [
        (["/dev/vda"], False),
        (["/dev/vda"], True),
    ]
    assert shown["job_plan"]["disks"][0]["overwrites"] == ["gpt"]
    assert (refused.status_code, approved.status_code) == (409, 200)


async def test_results_of_a_job_are_shown_and_it_can_be_tried_again(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    result = StepResult(
        step="disk_test", outcome="failed", seconds=1.5, summary="bad", evidence=("at 0",)
    )
    task = waiting_job({"step": "disk_test"})
    task = msgspec.structs.replace(task, status=Status.FAILED, results=(result,))
    await control_plane.put_task(task)
    place = f"/api/v1/tasks/{task.task_id}"
    shown = (await api.get(place)).json()
    again = await api.post(f"{place}/retry")
    new = (await api.get(again.json()["links"]["self"])).json()
    assert shown["results"] == [msgspec.to_builtins(result) | {"evidence": ["at 0"]}]
    assert "which step" in shown["meaning"]
    assert (new["job"], new["results"], new["job_plan"]) == (shown["job"], [], None)
