"""Over HTTP: until when a task waits, that it fails then, and giving its machine back."""

from datetime import UTC, datetime, timedelta

import httpx

from lpmos.core.clock import utc_now
from lpmos.core.taskstore import moved
from lpmos.model.access import Role
from lpmos.model.lifecycle import Event, Status
from lpmos.model.region import Heartbeat
from lpmos.model.task import StatusChange, Task, TaskError
from lpmos.store import keys, records
from tests.support.builders import NOW, make_task
from tests.support.control_plane import TIMEOUT_S, RunningControlPlane
from tests.support.polling import ANSWER_TIMEOUT_S, until

NOW_ON = timedelta(days=1)


async def beat(control_plane: RunningControlPlane, idc: str = "dc1") -> None:
    """The region is heard; it has been on line for a day."""
    now = utc_now()
    heartbeat = Heartbeat(idc=idc, identity="r1", at=now, services={}, since=now - NOW_ON)
    await control_plane.store.put(keys.heartbeat(idc), records.encode(heartbeat))


async def waiting_task(
    control_plane: RunningControlPlane, since: datetime, status: Status = Status.BOOTING
) -> Task:
    task = make_task(
        status=status,
        status_history=(StatusChange(status=status, timestamp=since),),
        updated_at=since,
    )
    await control_plane.put_task(task)
    return task


async def failed_task(control_plane: RunningControlPlane) -> Task:
    """A task of which nothing was written."""
    task = await waiting_task(control_plane, NOW)
    error = TaskError(reason="the region lost its image")
    failed = await control_plane.change(
        task.task_id, lambda now: moved(now, Event.FAIL, NOW, error=error)
    )
    await control_plane.seen(failed)
    return failed


async def test_task_says_until_when_it_waits_while_its_region_is_on_line(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    since = utc_now()
    task = await waiting_task(control_plane, since)
    path = f"/api/v1/tasks/{task.task_id}"
    assert (await api.get(path)).json()["waits_until"] is None

    await beat(control_plane)

    async def is_shown() -> bool:
        return (await api.get(path)).json()["waits_until"] is not None

    await until(is_shown, TIMEOUT_S)
    shown = (await api.get(path)).json()["waits_until"]
    assert datetime.fromisoformat(shown) == since + timedelta(minutes=30)

    await control_plane.store.delete(keys.heartbeat("dc1"))

    async def is_null() -> bool:
        return (await api.get(path)).json()["waits_until"] is None

    await until(is_null, TIMEOUT_S)


async def test_task_whose_time_is_over_fails_by_itself(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    since = datetime.now(UTC) - timedelta(hours=1)
    task = await waiting_task(control_plane, since)
    path = f"/api/v1/tasks/{task.task_id}"

    async def has_failed() -> bool:
        await beat(control_plane)
        status: str = (await api.get(path)).json()["status"]
        return status == "failed"

    await until(has_failed, TIMEOUT_S)
    found = (await api.get(path)).json()
    assert found["error"]["code"] == "timeout-booting"
    assert found["failure"]["during"] == "booting"
    assert "console" in found["failure"]["what_to_do"]
    assert found["waits_until"] is None
    event = await control_plane.audited(action="task.failed", target=f"task/{task.task_id}")
    assert (event.actor.name, event.reason) == ("system", found["error"]["reason"])


async def test_rollback_gives_the_machine_back_and_is_in_the_audit_log(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task = await failed_task(control_plane)
    path = f"/api/v1/tasks/{task.task_id}"

    answer = await api.post(f"{path}/rollback")

    assert answer.status_code == 200
    found = answer.json()
    assert (found["status"], found["rolled_back"]["generation"]) == ("failed", None)
    assert "without a task" in found["next_boot"]
    shown = (await api.get(path)).json()
    assert shown["rolled_back"] == found["rolled_back"]
    assert shown["timeline"][-1]["event"] == "rolled_back"
    assert (await api.get("/api/v1/dlq")).json()["total"] == 0
    again = await api.post(f"{path}/rollback")
    assert (again.status_code, again.json()) == (200, found)
    event = await control_plane.audited(action="task.rolled-back")
    assert event.target == f"task/{task.task_id}"


async def test_rollback_of_what_is_under_way_is_refused_with_the_reason(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task = await waiting_task(control_plane, NOW)
    answer = await api.post(f"/api/v1/tasks/{task.task_id}/rollback")
    assert answer.status_code == 409
    assert "possible for those that are failed or cancelled" in answer.json()["detail"]


async def test_rollback_takes_the_permission_to_cancel(control_plane: RunningControlPlane) -> None:
    task = await failed_task(control_plane)
    for role, status in ((Role.VIEWER, 403), (Role.OPERATOR, 200)):
        token = await control_plane.as_user([role])
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
        ) as client:
            answer = await client.post(f"/api/v1/tasks/{task.task_id}/rollback")
        assert answer.status_code == status


async def test_rollback_holds_for_the_revision_that_was_seen(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task = await failed_task(control_plane)
    path = f"/api/v1/tasks/{task.task_id}/rollback"
    assert (await api.post(path, headers={"If-Match": '"1"'})).status_code == 412
    etag = (await api.get(f"/api/v1/tasks/{task.task_id}")).headers["etag"]
    assert (await api.post(path, headers={"If-Match": etag})).status_code == 200
