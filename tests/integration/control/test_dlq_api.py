"""The dead-letter queue over HTTP: what fails comes in, what is tried again or dismissed goes."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from lpmos.core.taskstore import moved
from lpmos.model.access import Role
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import TaskError
from tests.support.builders import NOW, make_task
from tests.support.control_plane import RunningControlPlane


async def _failed(control_plane: RunningControlPlane, number: int = 1, **fields: Any) -> str:
    """A task that failed in the way that real ones do; its id."""
    task = make_task(
        task_id=f"t{number}", sn=f"SN-{number}", mac=f"52:54:00:00:00:{number:02x}", **fields
    )
    await control_plane.put_task(task)
    error = TaskError(reason=f"disk {number} died", hint="replace it")
    later = NOW + timedelta(minutes=number)
    failed = await control_plane.change(
        task.task_id, lambda now: moved(now, Event.FAIL, later, error=error)
    )
    await control_plane.seen(failed)
    return task.task_id


async def test_failed_tasks_are_listed_the_last_first_with_their_number(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    for number in (1, 2):
        await _failed(control_plane, number)
    await _failed(control_plane, 3, idc="dc2", tenant="a")
    page = (await api.get("/api/v1/dlq?limit=2")).json()
    assert [letter["task_id"] for letter in page["dead_letters"]] == ["t3", "t2"]
    assert page["dead_letters"][0]["error"] == "disk 3 died"
    assert page["total"] == 3
    last = (await api.get(page["links"]["next"])).json()
    assert [letter["task_id"] for letter in last["dead_letters"]] == ["t1"]
    for query, found in (("idc=dc1", ["t2", "t1"]), ("tenant=a", ["t3"]), ("text=00:01", ["t1"])):
        page = (await api.get(f"/api/v1/dlq?{query}")).json()
        assert [letter["task_id"] for letter in page["dead_letters"]] == found


async def test_dead_letter_is_the_whole_task_with_the_cause(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task_id = await _failed(control_plane)
    answer = await api.get(f"/api/v1/dlq/{task_id}")
    letter = answer.json()
    assert letter["error"] == {
        "reason": "disk 1 died", "command": None, "output": None, "hint": "replace it",
        "code": None,
    }  # fmt: skip
    assert letter["links"]["requeue"] == f"/api/v1/dlq/{task_id}/requeue"
    assert answer.headers["etag"] == f'"{letter["revision"]}"'


async def test_requeue_makes_a_new_task_and_empties_the_queue_in_one(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task_id = await _failed(control_plane)
    answer = await api.post(f"/api/v1/dlq/{task_id}/requeue")
    assert answer.status_code == 201
    made = answer.json()
    assert (made["retry_of"], made["attempt"]) == (task_id, 2)
    assert (await api.get("/api/v1/dlq")).json()["total"] == 0
    assert (await api.get(f"/api/v1/dlq/{task_id}")).status_code == 404
    assert (await api.get(answer.headers["location"])).json()["status"] == "pending"
    assert (await api.post(f"/api/v1/dlq/{task_id}/requeue")).status_code == 404


async def test_requeue_again_with_the_same_key_is_answered_by_the_same_task(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    place = f"/api/v1/dlq/{await _failed(control_plane)}/requeue"
    first = await api.post(place, headers={"Idempotency-Key": "k"})
    second = await api.post(place, headers={"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json() == first.json()
    assert second.headers["idempotency-replayed"] == "true"


async def test_retry_of_the_task_itself_takes_it_out_of_the_queue_too(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task_id = await _failed(control_plane)
    assert (await api.post(f"/api/v1/tasks/{task_id}/retry")).status_code == 201
    assert (await api.get("/api/v1/dlq")).json()["total"] == 0


async def test_requeue_for_a_machine_that_has_another_task_is_a_conflict_and_keeps_it(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task_id = await _failed(control_plane)
    new = {"idc": "dc1", "sn": "SN-1", "mac": "52:54:00:00:00:01"}
    system = {"os_type": "debian", "os_version": "12"}
    assert (await api.post("/api/v1/tasks", json=new | system)).status_code == 201
    assert (await api.post(f"/api/v1/dlq/{task_id}/requeue")).status_code == 409
    assert (await api.get("/api/v1/dlq")).json()["total"] == 1


async def test_dismiss_empties_the_queue_and_leaves_the_task_and_is_audited(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task_id = await _failed(control_plane)
    stale = await api.delete(f"/api/v1/dlq/{task_id}", headers={"If-Match": '"1"'})
    assert stale.status_code == 412
    assert (await api.delete(f"/api/v1/dlq/{task_id}")).status_code == 204
    assert (await api.get("/api/v1/dlq")).json()["total"] == 0
    assert (await api.get(f"/api/v1/tasks/{task_id}")).json()["status"] == Status.FAILED
    assert (await api.delete(f"/api/v1/dlq/{task_id}")).status_code == 404
    event = await control_plane.audited(action="dead_letter.dismissed")
    assert (event.actor.name, event.target) == ("admin", f"task/{task_id}")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/requeue")])
async def test_dead_letter_of_another_tenant_is_not_there(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, method: str, path: str
) -> None:
    task_id = await _failed(control_plane, tenant="a")
    foreign = {"Authorization": f"Bearer {await control_plane.as_user([Role.ADMIN], 'b')}"}
    answer = await api.request(method, f"/api/v1/dlq/{task_id}{path}", headers=foreign)
    assert answer.status_code == 404
    assert (await api.get("/api/v1/dlq", headers=foreign)).json()["total"] == 0
    assert (await api.get("/api/v1/dlq")).json()["total"] == 1
