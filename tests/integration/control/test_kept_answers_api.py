"""Lists and tasks that were answered before: for whom, how new, and in which coding."""

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
from backports import zstd

from lpmos.model.access import Role
from lpmos.store.etcd import EtcdStore
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane, running
from tests.support.etcd import EtcdServer

TASKS = "/api/v1/tasks"


@asynccontextmanager
async def _client(plane: RunningControlPlane, token: str) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=plane.url, headers=headers, timeout=30.0) as client:
        yield client


def _new(number: int) -> dict[str, str]:
    mac = f"52:54:00:00:00:{number:02x}"
    known = {"idc": "dc1", "sn": f"SN-{number}", "mac": mac}
    return known | {"os_type": "debian", "os_version": "12"}


async def test_same_query_shows_each_tenant_its_own(control_plane: RunningControlPlane) -> None:
    for number, tenant in enumerate(("acme", "acme", "globex", None)):
        task = make_task(
            task_id=f"t{number}", sn=f"SN-{number}", mac=f"52:54:00:00:00:0{number}", tenant=tenant
        )
        await control_plane.put_task(task)
    tokens = {
        tenant: await control_plane.as_user([Role.VIEWER], tenant)
        for tenant in ("acme", "globex", "other", None)
    }
    seen = {"acme": {"t0", "t1"}, "globex": {"t2"}, "other": set(), None: {"t0", "t1", "t2", "t3"}}
    for _ in range(3):
        for tenant, own in seen.items():
            async with _client(control_plane, tokens[tenant]) as client:
                page = (await client.get(TASKS)).json()
                assert {task["task_id"] for task in page["tasks"]} == own
                assert page["total"] == sum(page["counts"].values()) == len(own)
                for number in range(4):
                    answer = await client.get(f"{TASKS}/t{number}")
                    assert answer.status_code == (200 if f"t{number}" in own else 404)


async def test_kept_answer_is_only_for_who_may_still_come_in(
    control_plane: RunningControlPlane, anyone: httpx.AsyncClient
) -> None:
    await control_plane.put_task(make_task(task_id="t1"))
    token = await control_plane.as_user([Role.VIEWER])
    async with _client(control_plane, token) as viewer:
        for path in (TASKS, f"{TASKS}/t1"):
            assert (await viewer.get(path)).status_code == 200
            assert (await viewer.get(path)).status_code == 200
            assert (await anyone.get(path)).status_code == 401
            wrong = await viewer.get(f"{path}?no=such")
            assert wrong.status_code == 422
        assert (await viewer.delete("/api/v1/login")).is_success
        for path in (TASKS, f"{TASKS}/t1"):
            assert (await viewer.get(path)).status_code == 401


async def test_who_writes_reads_it_in_what_was_kept_before(api: httpx.AsyncClient) -> None:
    for number in range(10):
        before = (await api.get(TASKS)).json()["total"]
        made = await api.post(TASKS, json=_new(number))
        page = (await api.get(TASKS)).json()
        assert page["total"] == before + 1
        place = made.headers["location"]
        first = await api.get(place)
        assert (await api.get(place)).content == first.content
        assert (await api.delete(place)).status_code == 204
        after = await api.get(place)
        assert after.json()["status"] == "cancelled"
        assert after.headers["etag"] != first.headers["etag"]
        assert (await api.get(f"{TASKS}?status=cancelled")).json()["total"] == number + 1
        again = (await api.post(f"{place}/retry")).json()["task_id"]
        assert (await api.get(place)).json()["retried_as"] == again


async def test_task_that_another_control_plane_changed_is_not_shown_as_it_was_kept() -> None:
    async with EtcdServer() as server:
        stores = [await EtcdStore.connect([server.endpoint]) for _ in range(2)]
        async with (
            running(stores[0]) as one,
            running(stores[1]) as other,
            _client(one, one.token) as writer,
            _client(other, other.token) as reader,
        ):
            await one.offer_debian()
            for number in range(20):
                place = (await writer.post(TASKS, json=_new(number))).headers["location"]
                kept = await asyncio.gather(*(reader.get(place) for _ in range(10)))
                assert {answer.json()["status"] for answer in kept} == {"pending"}
                assert (await writer.delete(place)).status_code == 204
                seen = await asyncio.gather(*(reader.get(place) for _ in range(10)))
                assert {answer.json()["status"] for answer in seen} == {"cancelled"}
        for store in stores:
            await store.close()


async def test_kept_task_is_shown_while_the_store_is_away() -> None:
    async with EtcdServer() as server:
        store = await EtcdStore.connect([server.endpoint])
        async with running(store, silence_s=0.2) as plane, _client(plane, plane.token) as client:
            await plane.put_task(make_task(task_id="t1"))
            first = await client.get(f"{TASKS}/t1")
            await server.kill()
            await plane.until_connected(False)
            again = await client.get(f"{TASKS}/t1")
            assert (again.status_code, again.content) == (200, first.content)
        await store.close()


@pytest.mark.parametrize("path", [TASKS, f"{TASKS}/t1", "/static/lpmos.css", "/api/v1/machines"])
async def test_answer_is_the_same_in_every_coding(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, path: str
) -> None:
    for number in range(20):
        task = make_task(
            task_id=f"t{number}", sn=f"SN-{number}", mac=f"52:54:00:00:00:{number:02x}"
        )
        await control_plane.put_task(task)
    for _ in range(2):
        bodies = []
        for accept, decode in (
            ("identity", bytes),
            ("gzip", gzip.decompress),
            ("zstd", zstd.decompress),
            ("gzip, deflate, br, zstd", zstd.decompress),
        ):
            headers = {"Accept-Encoding": accept}
            async with api.stream("GET", path, headers=headers) as answer:
                raw = b"".join([chunk async for chunk in answer.aiter_raw()])
            assert answer.headers["vary"] == "Accept-Encoding"
            coding = answer.headers.get("content-encoding", "identity")
            assert coding in accept
            assert int(answer.headers["content-length"]) == len(raw)
            assert answer.headers["x-content-type-options"] == "nosniff"
            bodies.append(decode(raw))
        assert len(set(bodies)) == 1
