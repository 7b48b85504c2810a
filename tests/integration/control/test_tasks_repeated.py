"""Calls on tasks that are repeated, conditional, or made by a tenant's users."""

from typing import Any

import httpx
import pytest

from lpmos.model.access import Role
from lpmos.model.lifecycle import Status
from lpmos.model.task import TaskError
from lpmos.store import keys
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

NEW = {"idc": "dc1", "sn": "SN-1", "mac": "52:54:00:00:00:01", "os_type": "debian"} | {
    "os_version": "12"
}
KEY = {"Idempotency-Key": "order 4711"}


def _waiting(**fields: Any) -> Any:
    return make_task(status=Status.PENDING_APPROVAL, hardware=make_inventory(), **fields)


async def _place(control_plane: RunningControlPlane, **fields: Any) -> str:
    task = _waiting(**fields)
    await control_plane.put_task(task)
    return f"/api/v1/tasks/{task.task_id}"


async def test_create_again_with_the_same_key_is_answered_by_the_same_task(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    first = await api.post("/api/v1/tasks", json=NEW, headers=KEY)
    before = await control_plane.documents()
    second = await api.post("/api/v1/tasks", json=NEW, headers=KEY)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    assert second.headers["location"] == first.headers["location"]
    assert await control_plane.documents() == before


async def test_create_again_with_the_same_key_after_the_task_ended_makes_no_other(
    api: httpx.AsyncClient,
) -> None:
    first = await api.post("/api/v1/tasks", json=NEW, headers=KEY)
    await api.delete(first.headers["location"])
    other = await api.post("/api/v1/tasks", json=NEW)
    again = await api.post("/api/v1/tasks", json=NEW, headers=KEY)
    assert (other.status_code, again.status_code) == (201, 201)
    assert again.json()["task_id"] == first.json()["task_id"]


async def test_create_with_the_same_key_and_another_body_is_a_conflict(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await api.post("/api/v1/tasks", json=NEW, headers=KEY)
    before = await control_plane.documents()
    answer = await api.post("/api/v1/tasks", json=NEW | {"hostname": "web"}, headers=KEY)
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "hostname" in answer.json()["detail"]
    assert await control_plane.documents() == before


async def test_create_with_the_key_of_another_user_is_another_call(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    first = await api.post("/api/v1/tasks", json=NEW, headers=KEY)
    token = await control_plane.as_user([Role.OPERATOR])
    headers = KEY | {"Authorization": f"Bearer {token}"}
    other = NEW | {"sn": "SN-2", "mac": "52:54:00:00:00:02"}
    second = await api.post("/api/v1/tasks", json=other, headers=headers)
    assert second.status_code == 201
    assert second.json()["task_id"] != first.json()["task_id"]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb"])
async def test_create_with_a_wrong_key_is_refused_and_changes_nothing(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, key: str
) -> None:
    before = await control_plane.documents()
    answer = await api.post("/api/v1/tasks", json=NEW, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == ["Idempotency-Key"]
    assert await control_plane.documents() == before


async def test_show_has_the_revision_as_etag_and_it_changes_with_the_task(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    place = await _place(control_plane)
    before = await api.get(place)
    assert before.headers["etag"] == f'"{before.json()["revision"]}"'
    await api.put(f"{place}/approve", json={"approved": True})
    assert (await api.get(place)).headers["etag"] != before.headers["etag"]


CHANGES: list[tuple[str, str, dict[str, Any] | None, Status]] = [
    ("PUT", "/approve", {"approved": True}, Status.PENDING_APPROVAL),
    ("PUT", "/reject", {"reason": "no"}, Status.PENDING_APPROVAL),
    ("DELETE", "", None, Status.PENDING_APPROVAL),
    ("POST", "/retry", None, Status.FAILED),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), CHANGES)
async def test_change_of_what_was_not_seen_is_refused_and_of_what_was_seen_done(
    api: httpx.AsyncClient,
    control_plane: RunningControlPlane,
    method: str,
    path: str,
    body: dict[str, Any] | None,
    status: Status,
) -> None:
    task = make_task(status=status, hardware=make_inventory())
    await control_plane.put_task(task)
    place = f"/api/v1/tasks/{task.task_id}"
    seen = (await api.get(place)).headers["etag"]
    stale = {"If-Match": '"1"'}
    before = await control_plane.documents()
    answer = await api.request(method, place + path, json=body, headers=stale)
    assert (answer.status_code, answer.json()["code"]) == (412, "store-conflict")
    assert await control_plane.documents() == before
    answer = await api.request(method, place + path, json=body, headers={"If-Match": seen})
    assert answer.status_code in (200, 201, 204)


@pytest.mark.parametrize(
    "tag", ['W/"5"', "5", '"abc"', '"5", "6"', '"-5"', "", '"9999999999999999999999999"']
)
async def test_change_with_a_tag_that_is_not_ours_is_refused(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, tag: str
) -> None:
    place = await _place(control_plane)
    before = await control_plane.documents()
    answer = await api.delete(place, headers={"If-Match": tag})
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == ["If-Match"]
    assert await control_plane.documents() == before


async def test_retry_is_a_new_task_of_the_same_specification_that_waits_for_approval(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    failed = make_task(
        status=Status.FAILED, tags={"rack": "a"}, ssh_keys=(), error=TaskError(reason="disk died")
    )
    await control_plane.put_task(failed)
    old = f"/api/v1/tasks/{failed.task_id}"
    shown = (await api.get(old)).json()
    assert [each["action"] for each in shown["next_actions"]] == ["retry"]
    answer = await api.post(shown["links"]["retry"])
    assert answer.status_code == 201
    made = answer.json()
    assert (made["attempt"], made["retry_of"], made["status"]) == (2, failed.task_id, "pending")
    task = (await api.get(made["links"]["self"])).json()
    assert (task["sn"], task["tags"], task["approval"]) == ("SN-1", {"rack": "a"}, None)
    assert task["timeline"][0]["task_id"] == failed.task_id
    past = (await api.get(old)).json()
    assert (past["status"], past["retried_as"]) == ("failed", task["task_id"])
    assert past["timeline"][-1]["event"] == "retried"
    assert set(past["links"]) == {"self", "machine"}


async def test_retry_again_with_the_same_key_is_answered_by_the_same_task(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    failed = make_task(status=Status.FAILED)
    await control_plane.put_task(failed)
    place = f"/api/v1/tasks/{failed.task_id}/retry"
    first = await api.post(place, headers=KEY)
    second = await api.post(place, headers=KEY)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"
    assert (await api.post(place)).status_code == 409


@pytest.mark.parametrize(
    "status", [s for s in Status if s not in {Status.FAILED, Status.CANCELLED, Status.REJECTED}]
)
async def test_retry_of_a_task_that_is_under_way_or_done_is_a_conflict(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, status: Status
) -> None:
    await control_plane.put_task(make_task(task_id="t", status=status))
    before = await control_plane.documents()
    answer = await api.post("/api/v1/tasks/t/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "impossible-transition")
    assert await control_plane.documents() == before


async def test_retry_of_a_task_that_was_followed_by_another_is_a_conflict(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    first = (await api.post("/api/v1/tasks", json=NEW)).json()["links"]["self"]
    await api.delete(first)
    second = (await api.post("/api/v1/tasks", json=NEW)).json()["links"]["self"]
    await api.delete(second)
    answer = await api.post(f"{first}/retry")
    assert answer.status_code == 409
    assert second.rpartition("/")[2] in answer.json()["detail"]


async def test_tasks_of_a_tenants_user_are_its_tenants_and_others_are_not_there(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    own = {"Authorization": f"Bearer {await control_plane.as_user([Role.OPERATOR], 'a')}"}
    made = await api.post("/api/v1/tasks", json=NEW, headers=own)
    assert made.status_code == 201
    task = (await api.get(made.headers["location"], headers=own)).json()
    assert task["tenant"] == "a"
    foreign = {"Authorization": f"Bearer {await control_plane.as_user([Role.ADMIN], 'b')}"}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/retry")):
        answer = await api.request(method, made.headers["location"] + path, headers=foreign)
        assert answer.status_code == 404
    assert (await api.get("/api/v1/tasks", headers=foreign)).json()["total"] == 0
    assert (await api.get("/api/v1/tasks", headers=own)).json()["total"] == 1
    listed = (await api.get("/api/v1/tasks", params={"tenant": "a"})).json()
    assert (listed["total"], listed["counts"]["pending"]) == (1, 1)
    assert (await api.get("/api/v1/tasks?tenant=b")).json()["total"] == 0


@pytest.mark.parametrize("call", ["create", "list", "machines", "dlq"])
async def test_tenants_user_who_names_another_tenant_is_refused(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, call: str
) -> None:
    own = {"Authorization": f"Bearer {await control_plane.as_user([Role.OPERATOR], 'a')}"}
    if call == "create":
        answer = await api.post("/api/v1/tasks", json=NEW | {"tenant": "b"}, headers=own)
    else:
        name = "tasks" if call == "list" else call
        answer = await api.get(f"/api/v1/{name}?tenant=b", headers=own)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == ["tenant"]
    assert await control_plane.store.get(keys.task("dc1", "SN-1")) is None


async def test_tenants_user_may_not_create_a_task_for_anothers_machine(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task(status=Status.CANCELLED, tenant="b"))
    own = {"Authorization": f"Bearer {await control_plane.as_user([Role.OPERATOR], 'a')}"}
    before = await control_plane.store.get(keys.task("dc1", "SN-1"))
    answer = await api.post("/api/v1/tasks", json=NEW, headers=own)
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert await control_plane.store.get(keys.task("dc1", "SN-1")) == before
