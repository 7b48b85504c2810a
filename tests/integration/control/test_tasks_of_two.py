"""Two control planes over one store, of either kind: they behave as one (F7)."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from lpmos.model.lifecycle import Status
from lpmos.store.etcd import EtcdStore
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import EtcdServer

BULK = "/api/v1/tasks/bulk"


class Two:
    """Two control planes, and an admin's client of each."""

    def __init__(self, planes: tuple[RunningControlPlane, RunningControlPlane]) -> None:
        self.planes = planes
        self.clients = tuple(
            httpx.AsyncClient(
                base_url=plane.url,
                headers={"Authorization": f"Bearer {plane.token}"},
                timeout=60.0,
            )
            for plane in planes
        )


async def _two(first: Any, second: Any) -> AsyncIterator[Two]:
    async with running(first) as one, running(second) as other:
        await one.offer_debian()
        await other.offer_debian()
        two = Two((one, other))
        yield two
        for client in two.clients:
            await client.aclose()


@pytest.fixture(params=["sqlite", "etcd"])
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Two]:
    """Two control planes over one embedded store, or over one etcd."""
    if request.param == "sqlite":
        async with open_store(tmp_path) as store:
            async for each in _two(store, store):
                yield each
        return
    async with EtcdServer() as server:
        stores = [await EtcdStore.connect([server.endpoint]) for _ in range(2)]
        async for each in _two(*stores):
            yield each
        for etcd in stores:
            await etcd.close()


def _row(number: int) -> dict[str, str]:
    mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
    known = {"idc": "dc1", "sn": f"SN-{number}", "mac": mac}
    return known | {"os_type": "debian", "os_version": "12"}


async def test_what_one_changed_the_other_shows_by_id_at_once(two: Two) -> None:
    one, other = two.clients
    for number in range(10):
        made = await one.post("/api/v1/tasks", json=_row(number))
        place = made.headers["location"]
        assert (await other.get(place)).json()["status"] == "pending"
        assert (await other.delete(place)).status_code == 204
        assert (await one.get(place)).json()["status"] == "cancelled"
        again = await one.post(f"{place}/retry")
        assert again.status_code == 201
        assert (await other.get(place)).status_code == 200
        machine = await other.get(f"/api/v1/machines/dc1/SN-{number}")
        assert machine.json()["task"]["task_id"] == again.json()["task_id"]


async def test_only_one_of_two_approvals_holds(two: Two) -> None:
    task = make_task(status=Status.PENDING_APPROVAL, hardware=make_inventory())
    for plane in two.planes:
        await plane.put_task(task)
    place = f"/api/v1/tasks/{task.task_id}"
    seen = (await two.clients[0].get(place)).headers["etag"]
    answers = [
        await client.put(f"{place}/approve", json={"approved": True}, headers={"If-Match": seen})
        for client in two.clients
    ]
    assert [answer.status_code for answer in answers] == [200, 412]


async def test_bulk_call_again_at_the_other_finds_every_row(two: Two) -> None:
    one, other = two.clients
    rows, key = [_row(number) for number in range(200)], {"Idempotency-Key": "k"}
    first = await one.post(BULK, json=rows[:90], headers=key)
    second = await other.post(BULK, json=rows, headers=key)
    assert (first.status_code, second.status_code) == (201, 201)
    assert second.json()["counts"] == {"created": 110, "exists": 90}
    ids = [row["task_id"] for row in second.json()["rows"]]
    assert [row["task_id"] for row in first.json()["rows"]] == ids[:90]


async def test_bulk_calls_for_the_same_machines_at_both_make_each_once(two: Two) -> None:
    rows = [_row(number) for number in range(100)]
    answers = [await client.post(BULK, json=rows) for client in two.clients]
    assert answers[0].json()["counts"] == {"created": 100}
    assert (answers[1].status_code, answers[1].json()["counts"]) == (409, {"conflict": 100})
    for client in two.clients:
        assert (await client.get("/api/v1/tasks")).json()["total"] == 100
