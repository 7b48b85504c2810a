"""The list of tasks over HTTP: every filter, order and page, and what is refused."""

from datetime import timedelta
from typing import Any

import httpx
import pytest

from lpmos.model.lifecycle import Status
from tests.support.builders import NOW, make_task
from tests.support.control_plane import RunningControlPlane


@pytest.fixture
async def tasks(control_plane: RunningControlPlane) -> None:
    """Four tasks of two regions, a second apart."""
    statuses = [Status.PENDING, Status.READY, Status.FAILED, Status.READY]
    for number, status in enumerate(statuses):
        task = make_task(
            task_id=f"t{number}",
            idc="dc1" if number < 3 else "dc2",
            sn=f"SN-{number}",
            mac=f"52:54:00:00:00:{number:02x}",
            hostname=f"web-{number}",
            status=status,
            created_by="bob" if number == 2 else "admin",
            tenant="a" if number == 1 else None,
            created_at=NOW + timedelta(seconds=number),
        )
        await control_plane.put_task(task)


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["t3", "t2", "t1", "t0"]),
        ("status=ready,failed", ["t3", "t2", "t1"]),
        ("status=ready&idc=dc2", ["t3"]),
        ("text=WEB-1", ["t1"]),
        ("machine=SN-2", ["t2"]),
        ("created_by=bob", ["t2"]),
        ("tenant=a", ["t1"]),
        ("since=2026-01-02T03:04:07Z", ["t3", "t2"]),
        ("until=2026-01-02T03:04:06%2B00:00", ["t0"]),
        ("sort=sn", ["t0", "t1", "t2", "t3"]),
        ("sort=-sn", ["t3", "t2", "t1", "t0"]),
        ("sort=status", ["t0", "t3", "t1", "t2"]),
        ("sort=-status", ["t2", "t3", "t1", "t0"]),
        ("text=sn-&sort=-status", ["t2", "t3", "t1", "t0"]),
    ],
)
async def test_list_gives_those_that_match_in_order_with_their_number(
    api: httpx.AsyncClient, query: str, found: list[str]
) -> None:
    page = (await api.get(f"/api/v1/tasks?{query}")).json()
    assert [task["task_id"] for task in page["tasks"]] == found
    assert page["total"] == len(found)
    assert page["links"] == {"next": None, "prev": None}


@pytest.mark.usefixtures("tasks")
async def test_list_is_walked_to_its_end_and_back_by_its_links(api: httpx.AsyncClient) -> None:
    found, place = [], "/api/v1/tasks?limit=1&status=ready,pending&text=SN%2D"
    while place:
        page = (await api.get(place)).json()
        found += [task["task_id"] for task in page["tasks"]]
        assert page["total"] == 3
        last, place = page, page["links"]["next"]
    assert found == ["t3", "t1", "t0"]
    before = (await api.get(last["links"]["prev"])).json()
    assert [task["task_id"] for task in before["tasks"]] == ["t1"]


@pytest.mark.usefixtures("tasks")
async def test_row_has_revision_and_the_links_that_are_possible(api: httpx.AsyncClient) -> None:
    (failed,) = (await api.get("/api/v1/tasks?status=failed")).json()["tasks"]
    assert failed["revision"] > 0
    assert failed["links"] == {
        "self": "/api/v1/tasks/t2",
        "machine": "/api/v1/machines/dc1/SN-2",
        "retry": "/api/v1/tasks/t2/retry",
    }


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("tasks?status=ready,sleeping", "status"),
        ("tasks?status=", "status"),
        ("tasks?status=ready,,failed", "status"),
        ("tasks?since=yesterday", "since"),
        ("tasks?since=2026-01-02T03:04:05", "since"),
        ("tasks?until=2026-13-02T03:04:05Z", "until"),
        ("tasks?machine=", "machine"),
        ("tasks?limit=9999999999999999999999", "limit"),
        ("tasks?offset=-1", "offset"),
        ("tasks?sort=-size", "sort"),
        ("tasks?colour=red", "colour"),
        ("tasks/t0?verbose=1", "verbose"),
        ("regions?idc=dc1", "idc"),
        ("regions/dc1?x=1", "x"),
        ("machines?colour=red", "colour"),
        ("machines?sort=colour", "sort"),
        ("machines?status=asleep", "status"),
        ("machines/dc1/SN-1?x=1", "x"),
        ("dlq?sort=sn", "sort"),
        ("dlq/t0?x=1", "x"),
    ],
)
async def test_wrong_or_unknown_parameter_is_named(
    api: httpx.AsyncClient, path: str, field: str
) -> None:
    answer = await api.get(f"/api/v1/{path}")
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [field]


@pytest.mark.parametrize(
    "path",
    [
        "tasks/..%2f..%2fusers",
        "tasks/%2e%2e",
        "tasks/%00",
        "tasks/" + "x" * 5000,
        "tasks/%ff%fe",
        "tasks/a%2fb/approve",
        "tasks//retry",
        "machines/dc1/..%2ftask",
        "machines/region/SN-1",
        "machines/dc1/%00",
        "machines/dc1/" + "x" * 5000,
        "machines/%2e%2e/SN-1",
        "regions/..%2fdc1",
        "regions/%00",
        "dlq/..%2f..%2fevents",
        "dlq/%00",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE", "POST", "PUT", "PATCH"])
async def test_path_tricks_find_nothing_and_change_nothing(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, path: str, method: str
) -> None:
    before = await control_plane.documents()
    body: dict[str, Any] | None = {"tags": {}} if method in ("PATCH", "PUT") else None
    answer = await api.request(method, f"{control_plane.url}/api/v1/{path}", json=body)
    assert answer.status_code in (404, 405, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert await control_plane.documents() == before
