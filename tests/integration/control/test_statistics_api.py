"""The figures over HTTP: of all tasks for the provider, of its own for a tenant."""

import httpx

from lpmos.core.clock import utc_now
from lpmos.model.access import Role
from lpmos.model.lifecycle import Status
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane


async def _populate(control_plane: RunningControlPlane) -> None:
    now = utc_now()
    await control_plane.put_task(make_task(status=Status.COMPLETED, created_at=now, updated_at=now))
    await control_plane.put_task(
        make_task(
            task_id="t2", sn="SN-2", mac="52:54:00:00:00:02", tenant="a", os_version="13",
            created_at=now,
        )
    )  # fmt: skip


async def test_statistics_count_by_status_region_and_system(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _populate(control_plane)
    found = (await api.get("/api/v1/statistics")).json()
    assert (found["total"], found["counts"]["completed"], found["unmatched"]) == (2, 1, 0)
    (region,) = found["regions"]
    assert (region["idc"], region["total"], region["counts"]["pending"]) == ("dc1", 2, 1)
    assert [(each["os_version"], each["total"]) for each in found["systems"]] == [
        ("12", 1),
        ("13", 1),
    ]
    assert len(found["throughput"]) == found["hours"] * 3600 // found["bucket_s"] == 72
    sums = [sum(each[name] for each in found["throughput"]) for name in ("created", "completed")]
    assert sums == [2, 1]


async def test_statistics_of_a_tenants_user_are_of_its_tasks_only(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _populate(control_plane)
    own = {"Authorization": f"Bearer {await control_plane.as_user([Role.VIEWER], 'a')}"}
    found = (await api.get("/api/v1/statistics?hours=1", headers=own)).json()
    assert (found["total"], found["unmatched"], found["regions"][0]["unmatched"]) == (1, None, None)
    assert [each["os_version"] for each in found["systems"]] == ["13"]
    assert sum(each["completed"] for each in found["throughput"]) == 0


async def test_statistics_of_too_many_hours_are_refused(api: httpx.AsyncClient) -> None:
    for hours in ("0", "49", "x"):
        assert (await api.get(f"/api/v1/statistics?hours={hours}")).status_code == 422
