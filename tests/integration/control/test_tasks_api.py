"""The task calls over real HTTP: what they answer, and what they leave in the store."""

from typing import Any

import httpx
import msgspec
import pytest

from lpmos.core.taskstore import moved
from lpmos.model.diskplan import GIB, DiskPlan, RootDiskHints, plan_disk
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Event, Status
from lpmos.store import keys
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

NEW = {"idc": "dc1", "sn": "SN-1", "mac": "52-54-00-12-34-56", "os_type": "debian"} | {
    "os_version": "12"
}


async def _waiting_task(control_plane: RunningControlPlane) -> str:
    task = make_task(status=Status.PENDING_APPROVAL, hardware=make_inventory())
    await control_plane.put_task(task)
    return task.task_id


def _plan_of_disk(serial: str) -> DiskPlan:
    disk = Disk(device="/dev/vda", size_bytes=8 * GIB, kind="ssd", serial=serial)
    return plan_disk(make_inventory(disks=(disk,)), "auto", RootDiskHints(), GIB)


async def test_create_answers_where_the_task_is(api: httpx.AsyncClient) -> None:
    answer = await api.post("/api/v1/tasks", json=NEW)
    assert answer.status_code == 201
    made = answer.json()
    assert set(made) == {"task_id", "status", "created_at", "links", "warnings"}
    assert made["status"] == "pending"
    place = f"/api/v1/tasks/{made['task_id']}"
    assert made["links"] == {"self": place, "approve": f"{place}/approve"}
    assert answer.headers["location"] == place


async def test_create_is_read_at_once_with_every_name_normalised(api: httpx.AsyncClient) -> None:
    made = (await api.post("/api/v1/tasks", json=NEW)).json()
    task = (await api.get(made["links"]["self"])).json()
    assert task["mac"] == "52:54:00:12:34:56"
    assert task["metadata"]["idc"] == "dc1"
    assert task["timeline"][0]["event"] == "pending"
    assert task["created_by"] == "admin"
    assert (task["hardware"], task["progress"]) == (None, [])
    assert "intent" not in task


async def test_create_with_the_older_names_and_no_serial_number_works(
    api: httpx.AsyncClient,
) -> None:
    older = {"region_id": "dc1", "target_mac": "525400123456", "os_type": "debian"}
    answer = await api.post("/api/v1/tasks", json=older | {"os_version": "12"})
    assert answer.status_code == 201
    task = (await api.get(answer.json()["links"]["self"])).json()
    assert task["sn"] == "mac-525400123456"


@pytest.mark.parametrize(
    ("change", "fields"),
    [
        ({"mac": "nonsense"}, ["mac"]),
        ({"mac": "01:00:5e:00:00:01"}, ["mac"]),
        ({"idc": "dc9"}, ["idc"]),
        ({"idc": "DC 1"}, ["idc"]),
        ({"os_type": "plan9"}, ["os_type"]),
        ({"os_version": "99"}, ["os_version"]),
        ({"disk_layout": "raid7"}, ["disk_layout"]),
        ({"colour": "red"}, ["colour"]),
        ({"root_disk": {"serial": 3}}, ["root_disk.serial"]),
        ({"root_disk": {"overwrite": "true"}}, ["root_disk.overwrite"]),
        ({"tags": {"a b": "c"}}, ["tags.a b"]),
        ({"ssh_keys": ["no key"]}, ["ssh_keys.0"]),
        ({"network_config": {"address": "192.0.2.300/24"}}, ["network_config.address"]),
        ({"mac": 3, "sn": "/../", "os_type": None}, ["mac", "sn", "os_type"]),
        (
            {"root_disk": {"foo": 1}, "disk_layout": "raid9", "sn": "/../"},
            ["root_disk.foo", "sn", "disk_layout"],
        ),
        ({"mac": "x", "sn": "/../", "disk_layout": "?"}, ["mac", "sn", "disk_layout"]),
    ],
)
async def test_create_with_wrong_fields_names_each_and_changes_nothing(
    api: httpx.AsyncClient,
    control_plane: RunningControlPlane,
    change: dict[str, Any],
    fields: list[str],
) -> None:
    before = await control_plane.documents()
    answer = await api.post("/api/v1/tasks", json=NEW | change)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert [each["field"] for each in answer.json()["errors"]] == fields
    assert await control_plane.documents() == before


async def test_create_for_a_machine_with_a_task_under_way_is_a_conflict(
    api: httpx.AsyncClient,
) -> None:
    await api.post("/api/v1/tasks", json=NEW)
    answer = await api.post("/api/v1/tasks", json=NEW)
    assert answer.status_code == 409
    assert answer.json()["code"] == "unfinished-task"


async def test_show_unknown_task_is_not_found(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v1/tasks/none")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")


async def test_list_pages_filters_and_counts(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    for number in range(5):
        status = Status.READY if number % 2 else Status.PENDING
        name = f"SN-{number}"
        mac = f"52:54:00:00:00:{number:02x}"
        await control_plane.put_task(make_task(task_id=name, sn=name, mac=mac, status=status))
    page = (await api.get("/api/v1/tasks", params={"limit": 2, "offset": 1})).json()
    assert (page["total"], page["limit"], page["offset"]) == (5, 2, 1)
    assert len(page["tasks"]) == 2
    assert (page["counts"]["pending"], page["counts"]["ready"]) == (3, 2)
    ready = (await api.get("/api/v1/tasks?status=ready&idc=dc1")).json()
    assert {task["sn"] for task in ready["tasks"]} == {"SN-1", "SN-3"}
    assert (await api.get("/api/v1/tasks?region_id=dc2")).json()["total"] == 0


async def test_list_is_searched_and_sorted(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    for number, rack in enumerate("aab"):
        name = f"SN-{number}"
        mac = f"52:54:00:00:00:{number:02x}"
        await control_plane.put_task(make_task(task_id=name, sn=name, mac=mac, tags={"rack": rack}))

    async def found(**params: str) -> list[str]:
        answer = await api.get("/api/v1/tasks", params=params)
        return [task["sn"] for task in answer.json()["tasks"]]

    assert await found(text="sn-2") == ["SN-2"]
    assert await found(tag="rack=a", sort="sn") == ["SN-0", "SN-1"]
    assert await found(os="debian 12", sort="-created_at") == ["SN-2", "SN-1", "SN-0"]
    assert await found(os="rocky") == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=501", "limit"),
        ("limit=many", "limit"),
        ("offset=-1", "offset"),
        ("status=sleeping", "status"),
        ("colour=red", "colour"),
        ("sort=size", "sort"),
        ("text=", "text"),
        (f"tag={'x' * 129}", "tag"),
        ("idc=dc1&region_id=dc2", "region_id"),
    ],
)
async def test_list_with_a_wrong_parameter_names_it(
    api: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = await api.get(f"/api/v1/tasks?{query}")
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


async def test_approve_allows_one_installation(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task_id = await _waiting_task(control_plane)
    body = {"approved": True, "notes": "rack a3\nslot 7"}
    answer = await api.put(f"/api/v1/tasks/{task_id}/approve", json=body)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["task_id"], told["next_status"]) == (task_id, "installing")
    assert told["approval"]["status"] == "approved"
    assert told["approval"]["approved_by"] == "admin"
    assert told["approval"]["approved_at"]
    task = (await api.get(f"/api/v1/tasks/{task_id}")).json()
    assert (task["status"], task["approval"]["notes"]) == ("approved", "rack a3 slot 7")
    assert not any("\n" in line for line in task["logs"])


async def test_approve_of_another_plan_than_was_seen_is_a_conflict_and_approves_nothing(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    seen, now = _plan_of_disk("A"), _plan_of_disk("B")
    task = make_task(status=Status.PENDING_APPROVAL, hardware=make_inventory(), plan=seen)
    await control_plane.put_task(task)
    shown = (await api.get(f"/api/v1/tasks/{task.task_id}")).json()["plan_digest"]
    (row,) = (await api.get("/api/v1/tasks")).json()["tasks"]
    assert row["plan_digest"] == shown == seen.digest
    await control_plane.put_task(msgspec.structs.replace(task, plan=now))
    place = f"/api/v1/tasks/{task.task_id}/approve"
    answer = await api.put(place, json={"approved": True, "plan_digest": shown})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "look again" in answer.json()["detail"]
    assert (await api.get(f"/api/v1/tasks/{task.task_id}")).json()["status"] == "pending_approval"
    answer = await api.put(place, json={"approved": True, "plan_digest": now.digest})
    assert answer.status_code == 200


async def test_approve_twice_is_a_conflict_and_makes_no_second_intent(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task_id = await _waiting_task(control_plane)
    place = f"/api/v1/tasks/{task_id}/approve"
    assert (await api.put(place, json={"approved": True})).status_code == 200
    before = await control_plane.store.get(keys.task("dc1", "SN-1"))
    answer = await api.put(place, json={"approved": True})
    assert (answer.status_code, answer.json()["code"]) == (409, "impossible-transition")
    assert await control_plane.store.get(keys.task("dc1", "SN-1")) == before


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "approved"),
        ({"approved": False}, "approved"),
        ({"approved": "true"}, "approved"),
        ({"approved": True, "note": "x"}, "note"),
        ({"approved": True, "notes": "x" * 1001}, "notes"),
        ({"approved": True, "notes": "bell \x07"}, "notes"),
        ({"approved": True, "plan_digest": ""}, "plan_digest"),
    ],
)
async def test_approve_with_a_wrong_body_approves_nothing(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, body: dict[str, Any], field: str
) -> None:
    task_id = await _waiting_task(control_plane)
    answer = await api.put(f"/api/v1/tasks/{task_id}/approve", json=body)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]
    assert (await api.get(f"/api/v1/tasks/{task_id}")).json()["status"] == "pending_approval"


async def test_approve_before_the_hardware_is_known_is_a_conflict(api: httpx.AsyncClient) -> None:
    made = (await api.post("/api/v1/tasks", json=NEW)).json()
    answer = await api.put(made["links"]["approve"], json={"approved": True})
    assert answer.status_code == 409
    assert "pending" in answer.json()["detail"]


async def test_reject_ends_the_task_with_its_reason(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task_id = await _waiting_task(control_plane)
    answer = await api.put(f"/api/v1/tasks/{task_id}/reject", json={"reason": "wrong rack"})
    assert answer.status_code == 200
    told = answer.json()["approval"]
    assert (told["status"], told["rejected_by"]) == ("rejected", "admin")
    assert told["reason"] == "wrong rack"
    assert (await api.get(f"/api/v1/tasks/{task_id}")).json()["status"] == "rejected"


@pytest.mark.parametrize("body", [{}, {"reason": "  "}, {"reason": None}])
async def test_reject_without_a_reason_is_refused(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, body: dict[str, Any]
) -> None:
    task_id = await _waiting_task(control_plane)
    answer = await api.put(f"/api/v1/tasks/{task_id}/reject", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "reason")


async def test_cancel_ends_the_task_and_again_changes_nothing(api: httpx.AsyncClient) -> None:
    place = (await api.post("/api/v1/tasks", json=NEW)).json()["links"]["self"]
    for _ in range(2):
        answer = await api.delete(place)
        assert (answer.status_code, answer.content) == (204, b"")
    task = (await api.get(place)).json()
    assert task["status"] == "cancelled"
    assert len(task["status_history"]) == 2


async def test_cancel_a_completed_task_is_a_conflict(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task(task_id="done", status=Status.COMPLETED))
    assert (await api.delete("/api/v1/tasks/done")).status_code == 409


async def test_show_follows_what_the_region_writes(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    place = (await api.post("/api/v1/tasks", json=NEW)).json()["links"]["self"]
    task_id = place.rpartition("/")[2]
    ready = await control_plane.change(task_id, lambda task: moved(task, Event.PREPARED, NOW))
    await control_plane.seen(ready)
    task = (await api.get(place)).json()
    assert task["status"] == "ready"
    assert [entry["event"] for entry in task["timeline"]] == ["pending", "ready"]


async def test_regions_tell_what_they_offer(api: httpx.AsyncClient) -> None:
    (region,) = (await api.get("/api/v1/regions")).json()["regions"]
    assert (region["idc"], region["online"]) == ("dc1", False)
    assert region["offered"][0]["os_type"] == "debian"
