"""BMC credentials and the keys that they are sealed with, over the API."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import httpx
import pytest

from lpmos.core.clock import utc_now
from lpmos.core.secrets.box import key_id
from lpmos.model.access import Role
from lpmos.model.machine import Machine
from lpmos.store import keys, records
from lpmos.store.api import Store
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.polling import ANSWER_TIMEOUT_S
from tests.support.secret_keys import KEY_ID, KeptKeys

PASSWORD = "calvin-2026"
BMC = {"address": "192.0.2.50", "username": "root", "password": PASSWORD}
PATH = "/api/v1/machines/dc1/SN-1/bmc"


@pytest.fixture
async def api(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> AsyncIterator[httpx.AsyncClient]:
    """The admin's client, where there is one machine of the provider and one of a tenant."""
    await put_machine(control_plane.store, "SN-1")
    await put_machine(control_plane.store, "SN-2", tenant="acme")
    yield api


async def put_machine(store: Store, sn: str, tenant: str | None = None) -> None:
    """Store a machine of dc1."""
    now = utc_now()
    machine = Machine(
        idc="dc1",
        sn=sn,
        macs=("52:54:00:00:00:01",),
        tenant=tenant,
        first_seen_at=now,
        updated_at=now,
    )
    await store.put(keys.meta("dc1", sn), records.encode(machine))


async def stored(control_plane: RunningControlPlane, sn: str = "SN-1") -> bytes:
    """The document as it stands in the store."""
    kv = await control_plane.store.get(keys.control("bmc", f"dc1/{sn}"))
    assert kv is not None
    return kv.value


def client_of(control_plane: RunningControlPlane, token: str) -> httpx.AsyncClient:
    """A client with this token."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.AsyncClient(base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S)


async def test_credentials_are_shown_without_the_password_and_stored_sealed(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    put = await api.put(PATH, json=BMC)
    assert put.status_code == 200
    got = await api.get(PATH)
    assert got.json() == put.json()
    assert got.json() == {
        "idc": "dc1",
        "sn": "SN-1",
        "address": "192.0.2.50",
        "username": "root",
        "password_set": True,
        "password_set_at": got.json()["password_set_at"],
    }
    value = await stored(control_plane)
    assert PASSWORD.encode() not in value
    assert b'"password":"sealed:v1:first:' in value
    assert await control_plane.services.bmcs.password("dc1", "SN-1") == PASSWORD


async def test_credentials_are_replaced_and_forgotten(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await api.put(PATH, json=BMC)
    again = await api.put(PATH, json={**BMC, "address": "BMC-1.example", "password": "other"})
    assert again.json()["address"] == "bmc-1.example"
    assert await control_plane.services.bmcs.password("dc1", "SN-1") == "other"
    assert (await api.delete(PATH)).status_code == 204
    for method in ("GET", "DELETE"):
        assert (await api.request(method, PATH)).status_code == 404
    assert (await api.put(PATH, json=BMC)).status_code == 200


async def test_change_of_an_older_revision_is_refused(api: httpx.AsyncClient) -> None:
    first = (await api.put(PATH, json=BMC)).headers["etag"]
    second = (await api.put(PATH, json=BMC, headers={"If-Match": first})).headers["etag"]
    for method, body in (("PUT", BMC), ("DELETE", None)):
        late = await api.request(method, PATH, json=body, headers={"If-Match": first})
        assert late.status_code == 412
    assert (await api.delete(PATH, headers={"If-Match": second})).status_code == 204
    gone = await api.put(PATH, json=BMC, headers={"If-Match": second})
    assert gone.status_code == 404


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"address": "https://root:calvin@192.0.2.50/"}, "address"),
        ({"address": "192.0.2.50:623"}, "address"),
        ({"address": "192.0.2.300"}, "address"),
        ({"address": ""}, "address"),
        ({"username": "a\nb"}, "username"),
        ({"username": ""}, "username"),
        ({"password": ""}, "password"),
        ({"password": "x" * 257}, "password"),
        ({"password": 1234}, "password"),
        ({"port": 443}, "port"),
    ],
)
async def test_wrong_field_is_named_and_what_was_given_is_not_said_again(
    api: httpx.AsyncClient, change: dict[str, object], field: str
) -> None:
    answer = await api.put(PATH, json={**BMC, **change})
    assert answer.status_code == 422
    assert field in [each["field"] for each in answer.json()["errors"]]
    assert "calvin" not in answer.text
    assert (await api.get(PATH)).status_code == 404


@pytest.mark.parametrize(
    "path", ["dc1/SN-9", "dc9/SN-1", "DC 1/SN-1", "dc1/..%2fx", "dc1/" + "x" * 99]
)
async def test_machine_that_is_not_there_is_not_found(api: httpx.AsyncClient, path: str) -> None:
    for method, body in (("GET", None), ("PUT", BMC), ("DELETE", None)):
        answer = await api.request(method, f"/api/v1/machines/{path}/bmc", json=body)
        assert answer.status_code in (404, 422)


async def test_tenant_reaches_its_own_machines_only(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await api.put(PATH, json=BMC)
    token = await control_plane.as_user([Role.OPERATOR], tenant="acme")
    async with client_of(control_plane, token) as acme:
        own = PATH.replace("SN-1", "SN-2")
        assert (await acme.put(own, json=BMC)).status_code == 200
        assert (await acme.get(own)).json()["username"] == "root"
        for method, body in (("GET", None), ("PUT", BMC), ("DELETE", None)):
            assert (await acme.request(method, PATH, json=body)).status_code == 404
    rival = await control_plane.as_user([Role.ADMIN], tenant="rival")
    async with client_of(control_plane, rival) as other:
        assert (await other.get(own)).status_code == 404
        assert (await other.get("/api/v1/secrets")).status_code == 403
        assert (await other.post("/api/v1/secrets/rotate")).status_code == 403


async def test_viewer_reads_and_changes_nothing(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await api.put(PATH, json=BMC)
    token = await control_plane.as_user([Role.VIEWER])
    async with client_of(control_plane, token) as viewer:
        assert (await viewer.get(PATH)).status_code == 200
        for method, body in (("PUT", BMC), ("DELETE", None)):
            assert (await viewer.request(method, PATH, json=body)).status_code == 403


async def test_rotation_shows_keys_by_use_and_old_ones_can_go(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await api.put(PATH, json=BMC)
    before = (await api.get("/api/v1/secrets")).json()
    assert before["keys"] == [{"key_id": KEY_ID, "values": 1, "present": True, "current": True}]
    assert before["rotation"] is None
    rotated = await api.post("/api/v1/secrets/rotate")
    assert rotated.status_code == 200
    new = rotated.json()["key_id"]
    assert rotated.json() == {
        "key_id": new,
        "done": True,
        "rewrapped_now": 1,
        "rewrapped": 1,
        "failed": [],
    }
    after = (await api.get("/api/v1/secrets")).json()
    assert after["current"] == new
    assert [(each["key_id"], each["values"]) for each in after["keys"]] == [(KEY_ID, 0), (new, 1)]
    assert (await api.delete(f"/api/v1/secrets/keys/{new}")).status_code == 409
    assert (await api.delete(f"/api/v1/secrets/keys/{KEY_ID}")).status_code == 204
    assert (await api.delete(f"/api/v1/secrets/keys/{KEY_ID}")).status_code == 404
    assert await control_plane.services.bmcs.password("dc1", "SN-1") == PASSWORD


async def test_etag_of_a_document_changes_with_its_rotation(api: httpx.AsyncClient) -> None:
    """It is another document for who compares; nothing is overwritten unseen."""
    before = (await api.put(PATH, json=BMC)).headers["etag"]
    await api.post("/api/v1/secrets/rotate")
    assert (await api.put(PATH, json=BMC, headers={"If-Match": before})).status_code == 412


async def test_control_plane_without_the_key_says_so_and_keeps_the_rest(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(tmp_path))
        one = await stack.enter_async_context(running(store))
        other = await stack.enter_async_context(running(store, key_provider=KeptKeys()))
        await put_machine(store, "SN-1")
        await put_machine(store, "SN-2")
        first = await stack.enter_async_context(client_of(one, one.token))
        second = await stack.enter_async_context(client_of(other, other.token))
        await first.put(PATH, json=BMC)
        new = (await first.post("/api/v1/secrets/rotate")).json()["key_id"]
        assert (await second.get(PATH)).json()["username"] == "root"
        keys_there = {
            each["key_id"]: each for each in (await second.get("/api/v1/secrets")).json()["keys"]
        }
        assert keys_there[new] == {"key_id": new, "values": 1, "present": False, "current": True}
        refused = await second.put(PATH.replace("SN-1", "SN-2"), json=BMC)
        assert (refused.status_code, refused.json()["code"]) == (503, "unknown-key")
        assert new in refused.json()["detail"]
        assert refused.headers["retry-after"]


async def test_stored_value_that_was_changed_is_an_error_that_says_where(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await api.put(PATH, json=BMC)
    key = keys.control("bmc", "dc1/SN-1")
    value = await stored(control_plane)
    sealed = value.split(b'"password":"')[1].split(b'"')[0]
    assert key_id(sealed.decode()) == KEY_ID
    other = sealed[:-6] + (b"AAAAAA" if sealed[-6:] != b"AAAAAA" else b"BBBBBB")
    await control_plane.store.put(key, value.replace(sealed, other))
    rotated = (await api.post("/api/v1/secrets/rotate")).json()
    # The data key is whole, so it is wrapped; only opening shows that the text was changed.
    assert rotated["failed"] == []
    broken = sealed[:30] + (b"A" if sealed[30:31] != b"A" else b"B") + sealed[31:]
    await control_plane.store.put(key, value.replace(sealed, broken))
    failed = (await api.post("/api/v1/secrets/rotate")).json()
    assert (failed["done"], failed["failed"]) == (False, [key])
