"""The machine calls over HTTP: inventory, tags, tenants, and forgetting."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from lpmos.model.access import Role
from lpmos.model.inventory import Product
from lpmos.model.lifecycle import Status
from lpmos.model.machine import AgentLease, Installed, Machine
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_inventory, make_task
from tests.support.control_plane import TIMEOUT_S, RunningControlPlane

PLACE = "/api/v1/machines/dc1/SN-1"


def _machine(**fields: Any) -> Machine:
    inventory = make_inventory(product=Product(vendor="Dell Inc.", name="PowerEdge R650"))
    whole = Machine(
        idc="dc1",
        sn="SN-1",
        macs=(MAC,),
        inventory=inventory,
        tags={"rack": "a1"},
        first_seen_at=NOW,
        reported_at=NOW,
        updated_at=NOW,
    )
    return msgspec.structs.replace(whole, **fields)


async def _put(control_plane: RunningControlPlane, machine: Machine) -> None:
    await _stored(control_plane, keys.meta(machine.idc, machine.sn), machine)


async def _stored(control_plane: RunningControlPlane, key: str, document: msgspec.Struct) -> None:
    revision = await control_plane.store.put(key, records.encode(document))
    async with asyncio.timeout(TIMEOUT_S):
        await control_plane.fleet.wait_for_revision(revision)


async def _bearer(control_plane: RunningControlPlane, role: Role, tenant: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {await control_plane.as_user([role], tenant)}"}


async def test_show_has_the_inventory_and_all_tasks_of_the_machine(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    past = make_task(task_id="past", status=Status.CANCELLED)
    await _stored(control_plane, keys.history("dc1", "SN-1", "past"), past)
    await control_plane.put_task(make_task(task_id="now", status=Status.INSTALLING))
    await _put(control_plane, _machine())
    answer = await api.get(PLACE)
    shown = answer.json()
    assert shown["inventory"]["product"]["vendor"] == "Dell Inc."
    assert (shown["task"]["task_id"], shown["task"]["status"]) == ("now", "installing")
    assert [task["task_id"] for task in shown["past_tasks"]] == ["past"]
    assert shown["links"] == {"self": PLACE, "task": "/api/v1/tasks/now"}
    assert (shown["online"], shown["reported_at"]) == (None, "2026-01-02T03:04:05Z")
    assert answer.headers["etag"] == f'"{shown["revision"]}"'


async def test_machine_that_has_not_reported_is_known_by_its_task(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task())
    shown = (await api.get(PLACE)).json()
    assert (shown["inventory"], shown["reported_at"], shown["revision"]) == (None, None, None)
    assert shown["macs"] == [MAC]
    (row,) = (await api.get("/api/v1/machines")).json()["machines"]
    assert (row["sn"], row["task"]["status"], row["vendor"]) == ("SN-1", "pending", None)
    assert row["revision"] is None


async def test_machine_that_has_not_reported_has_no_revision_that_a_change_could_name(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(make_task(status=Status.CANCELLED))
    assert "etag" not in (await api.get(PLACE)).headers
    before = await control_plane.documents()
    for revision in (0, 1):
        answer = await api.delete(PLACE, headers={"If-Match": f'"{revision}"'})
        assert (answer.status_code, answer.json()["code"]) == (412, "store-conflict")
        assert "has not reported yet" in answer.json()["detail"]
    assert await control_plane.documents() == before
    assert (await api.delete(PLACE)).status_code == 204


async def test_online_follows_the_lease_of_the_agent(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine())
    lease = AgentLease(agent_id="run", mac=MAC, at=NOW)
    await _stored(control_plane, keys.lease("dc1", "SN-1"), lease)
    assert (await api.get(PLACE)).json()["online"] is True
    await control_plane.store.delete(keys.lease("dc1", "SN-1"))
    await _put(control_plane, _machine())
    assert (await api.get(PLACE)).json()["online"] is False


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["SN-1", "SN-2", "SN-3"]),
        ("sort=-sn", ["SN-3", "SN-2", "SN-1"]),
        ("idc=dc1", ["SN-1", "SN-2"]),
        ("text=poweredge", ["SN-1"]),
        ("text=00:00:02", ["SN-2"]),
        ("tag=rack", ["SN-1"]),
        ("tag=rack=b1", []),
        ("os=debian 12", ["SN-2"]),
        ("os=rocky", []),
        ("status=installing,failed", ["SN-2"]),
        ("tenant=a", ["SN-3"]),
        ("text=sn&idc=dc1&sort=-updated_at", ["SN-1", "SN-2"]),
    ],
)
async def test_list_gives_those_that_match_in_order_with_their_number(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, query: str, found: list[str]
) -> None:
    installed = Installed(
        generation=1, task_id="t", os_type="debian", os_version="12", installed_at=NOW
    )
    await _put(control_plane, _machine())
    second = _machine(
        sn="SN-2", macs=("52:54:00:00:00:02",), inventory=None, tags={}, installed=installed
    )
    await _put(control_plane, second)
    third = make_task(idc="dc2", sn="SN-3", mac="52:54:00:00:00:03", tenant="a", task_id="t3")
    await control_plane.put_task(third)
    task = make_task(sn="SN-2", mac="52:54:00:00:00:02", status=Status.INSTALLING)
    await control_plane.put_task(task)
    page = (await api.get(f"/api/v1/machines?{query}")).json()
    assert [row["sn"] for row in page["machines"]] == found
    assert page["total"] == len(found)
    first = (await api.get(f"/api/v1/machines?{query}&limit=1")).json()
    assert first["total"] == len(found)
    assert (first["links"]["next"] is None) == (len(found) < 2)


async def test_change_of_tags_keeps_the_others_and_takes_away_what_is_null(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine(tags={"rack": "a1", "row": "7"}))
    answer = await api.patch(PLACE, json={"tags": {"rack": "b2", "row": None, "owner": ""}})
    assert answer.status_code == 200
    assert answer.json()["tags"] == {"rack": "b2", "owner": ""}
    assert answer.headers["etag"] == (await api.get(PLACE)).headers["etag"]
    (row,) = (await api.get("/api/v1/machines?tag=rack=b2")).json()["machines"]
    assert row["tags"] == {"rack": "b2", "owner": ""}
    event = await control_plane.audited(action="machine.changed")
    assert event.before == {"tags": {"rack": "a1", "row": "7"}}


async def test_change_of_what_was_not_seen_is_refused(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine())
    seen = (await api.get(PLACE)).headers["etag"]
    assert (await api.patch(PLACE, json={"tags": {"a": "1"}})).status_code == 200
    before = await control_plane.documents()
    for call in (
        api.patch(PLACE, json={"tags": {"b": "2"}}, headers={"If-Match": seen}),
        api.delete(PLACE, headers={"If-Match": seen}),
    ):
        assert (await call).status_code == 412
    assert await control_plane.documents() == before


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"tags": {"a b": "c"}}, ["tags.a b"]),
        ({"tags": {"k": "x" * 257, "": "y"}}, ["tags.k", "tags."]),
        ({"tags": {"k": 3}}, ["tags.k"]),
        ({"tags": []}, ["tags"]),
        ({"tags": {f"k{n}": "v" for n in range(65)}}, ["tags"]),
        ({"tags": {f"k{n}": "v" for n in range(64)}}, ["tags"]),
        ({"tenant": "A B"}, ["tenant"]),
        ({"tenant": 3, "tags": {"!": "x"}}, ["tenant", "tags.!"]),
        ({"address": "192.0.2"}, ["address"]),
        ({"address": "192.0.2.256"}, ["address"]),
        ({"address": "224.0.0.1", "tenant": "A B"}, ["tenant", "address"]),
        ({"colour": "red"}, ["colour"]),
        ([], ["body"]),
    ],
)
async def test_change_with_wrong_fields_names_each_and_changes_nothing(
    api: httpx.AsyncClient, control_plane: RunningControlPlane, body: Any, fields: list[str]
) -> None:
    await _put(control_plane, _machine())
    before = await control_plane.documents()
    answer = await api.patch(PLACE, json=body)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == fields
    assert await control_plane.documents() == before


async def test_provider_gives_a_machine_to_a_tenant_which_then_sees_it(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine())
    own = await _bearer(control_plane, Role.ADMIN, "a")
    assert (await api.get(PLACE, headers=own)).status_code == 404
    assert (await api.patch(PLACE, json={"tenant": "a"})).json()["tenant"] == "a"
    assert (await api.get(PLACE, headers=own)).status_code == 200
    assert (await api.get("/api/v1/machines", headers=own)).json()["total"] == 1
    assert (await api.patch(PLACE, json={"tags": {"x": "y"}}, headers=own)).status_code == 200
    refused = await api.patch(PLACE, json={"tenant": "b"}, headers=own)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await api.patch(PLACE, json={"tenant": None})).json()["tenant"] is None


async def test_address_is_reserved_for_one_machine_until_it_gives_it_back(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    other = "/api/v1/machines/dc1/SN-OTHER"
    await _put(control_plane, _machine())
    await _put(control_plane, _machine(sn="SN-OTHER", macs=("52:54:00:00:00:99",)))
    wanted = {"address": "192.0.2.42"}
    assert (await api.patch(PLACE, json=wanted)).json()["address"] == "192.0.2.42"
    assert (await api.patch(PLACE, json=wanted)).status_code == 200
    refused = await api.patch(other, json=wanted)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "address")
    found = await api.get("/api/v1/machines", params={"text": "192.0.2.42"})
    assert [each["address"] for each in found.json()["machines"]] == ["192.0.2.42"]
    assert (await api.patch(PLACE, json={"address": "192.0.2.43"})).status_code == 200
    assert (await api.patch(other, json=wanted)).status_code == 200
    assert (await api.patch(PLACE, json={"address": None})).json()["address"] is None
    assert (await api.patch(other, json={"address": "192.0.2.43"})).status_code == 200


async def test_reserved_address_of_a_forgotten_machine_is_free(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine())
    assert (await api.patch(PLACE, json={"address": "192.0.2.42"})).status_code == 200
    assert (await api.delete(PLACE)).status_code == 204
    await _put(control_plane, _machine(sn="SN-OTHER"))
    again = await api.patch("/api/v1/machines/dc1/SN-OTHER", json={"address": "192.0.2.42"})
    assert again.status_code == 200


async def test_tenants_user_reserves_no_address(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine(tenant="a"))
    own = await _bearer(control_plane, Role.ADMIN, "a")
    refused = await api.patch(PLACE, json={"address": "192.0.2.42"}, headers=own)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_machine_of_another_tenant_is_not_there_for_any_call(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine(tenant="a"))
    foreign = await _bearer(control_plane, Role.ADMIN, "b")
    before = await control_plane.documents()
    for method, body in (("GET", None), ("PATCH", {"tags": {"x": "y"}}), ("DELETE", None)):
        answer = await api.request(method, PLACE, json=body, headers=foreign)
        assert answer.status_code == 404
    assert await control_plane.documents() == before
    assert (await api.get("/api/v1/machines", headers=foreign)).json()["total"] == 0


async def test_machine_with_another_tenants_task_under_way_is_not_given_away(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine())
    await control_plane.put_task(make_task(status=Status.INSTALLING))
    answer = await api.patch(PLACE, json={"tenant": "a"})
    assert (answer.status_code, answer.json()["code"]) == (409, "unfinished-task")


async def test_task_for_a_tenants_machine_is_the_tenants(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine(tenant="a"))
    new = {"idc": "dc1", "sn": "SN-1", "mac": MAC, "os_type": "debian", "os_version": "12"}
    made = await api.post("/api/v1/tasks", json=new)
    assert (await api.get(made.headers["location"])).json()["tenant"] == "a"


async def test_forget_leaves_nothing_of_the_machine(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    new = {"idc": "dc1", "sn": "SN-1", "mac": MAC, "os_type": "debian", "os_version": "12"}
    for _ in range(3):
        made = await api.post("/api/v1/tasks", json=new)
        await api.delete(made.headers["location"])
    await _put(control_plane, _machine())
    assert (await api.delete(PLACE)).status_code == 204
    assert (await api.get(PLACE)).status_code == 404
    assert (await api.get("/api/v1/machines")).json()["total"] == 0
    assert (await api.get("/api/v1/tasks")).json()["total"] == 0
    assert (await api.get(made.headers["location"])).status_code == 404
    left = [key for key in await control_plane.documents() if "SN-1" in key or "525400" in key]
    places = [key for key in await control_plane.documents() if key.startswith("/os/tasks/")]
    assert (left, places) == ([], [])
    assert (await control_plane.audited(action="machine.forgotten")).target == "machine/dc1/SN-1"
    assert (await api.delete(PLACE)).status_code == 404


async def test_forget_with_a_task_under_way_is_a_conflict_and_changes_nothing(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, _machine())
    await control_plane.put_task(make_task(status=Status.READY))
    before = await control_plane.documents()
    answer = await api.delete(PLACE)
    assert (answer.status_code, answer.json()["code"]) == (409, "unfinished-task")
    assert await control_plane.documents() == before
