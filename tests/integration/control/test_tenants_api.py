"""Users and tokens of two tenants over HTTP: neither has anything of the other's."""

from collections.abc import AsyncIterator, Iterable
from typing import Any

import httpx
import pytest

from lpmos.model.access import Role
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import ANSWER_TIMEOUT_S
from tests.support.signing_in import OTHER, bearer, make, who

ADMIN, VIEWER = Role.ADMIN, Role.VIEWER


class Tenants:
    """Administrators of two tenants and of the provider, as clients."""

    def __init__(self, control_plane: RunningControlPlane, clients: Iterable[Any]) -> None:
        self.control_plane = control_plane
        self.provider, self.acme, self.globex = clients


@pytest.fixture
async def tenants(control_plane: RunningControlPlane) -> AsyncIterator[Tenants]:
    clients = []
    for tenant in (None, "acme", "globex"):
        token = await control_plane.as_user([ADMIN], tenant)
        clients.append(
            httpx.AsyncClient(
                base_url=control_plane.url, headers=bearer(token), timeout=ANSWER_TIMEOUT_S
            )
        )
    yield Tenants(control_plane, clients)
    for client in clients:
        await client.aclose()


async def test_tenants_administrator_makes_and_sees_users_of_that_tenant_only(
    tenants: Tenants,
) -> None:
    made = await make(tenants.acme, "wile", roles=["operator"])
    assert (made.status_code, made.json()["tenant"]) == (201, "acme")
    for tenant in ("globex", None):
        answer = await make(tenants.acme, "other", tenant=tenant or "globex")
        assert answer.status_code == 403
    names = [user["name"] for user in (await tenants.acme.get("/api/v1/users")).json()["users"]]
    assert names == ["acme-admin", "wile"]
    assert (await tenants.provider.get("/api/v1/users")).json()["total"] == 4
    assert (await tenants.provider.get("/api/v1/users/wile")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "", None),
        ("PATCH", "", {"disabled": True}),
        ("DELETE", "", None),
        ("PUT", "/password", {"password": OTHER}),
        ("GET", "/sessions", None),
        ("DELETE", "/sessions", None),
        ("DELETE", "/sessions/{session}", None),
    ],
)
async def test_another_tenants_user_is_not_there(
    tenants: Tenants, method: str, path: str, body: object
) -> None:
    await make(tenants.acme, "wile")
    token = await tenants.control_plane.as_user([VIEWER], "acme", "wile")
    (session,) = tenants.control_plane.services.identity.sessions.of("wile")
    for name in ("wile", "provider-admin"):
        url = f"/api/v1/users/{name}{path.replace('{session}', session.name)}"
        answer = await tenants.globex.request(method, url, json=body)
        assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
    assert (await who(tenants.globex, token))[0] == 200


async def test_another_tenants_tokens_are_not_there(tenants: Tenants) -> None:
    new = {"name": "ci"}
    made = (await tenants.acme.post("/api/v1/tokens", json=new)).json()
    assert made["user"] == "acme-admin"
    for answer in (
        await tenants.globex.get("/api/v1/tokens?user=acme-admin"),
        await tenants.globex.post("/api/v1/tokens?user=acme-admin", json=new),
        await tenants.globex.delete(f"/api/v1/tokens/{made['id']}?user=acme-admin"),
        await tenants.globex.delete(f"/api/v1/tokens/{made['id']}"),
    ):
        assert answer.status_code == 404
    token_id = "0b0b6f5e-0000-4000-8000-000000000001"
    assert (await tenants.globex.delete(f"/api/v1/key-tokens/{token_id}")).status_code == 403
    assert (await tenants.globex.get("/api/v1/key-tokens")).status_code == 403


async def test_tenants_administrator_cannot_leave_its_tenant(tenants: Tenants) -> None:
    for change in ({"tenant": None}, {"tenant": "globex"}):
        answer = await tenants.acme.patch("/api/v1/users/acme-admin", json=change)
        assert answer.status_code == 403
    assert (await tenants.acme.get("/api/v1/session")).json()["tenant"] == "acme"
