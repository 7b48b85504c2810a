"""Every route with every role, with nobody and with a foreign tenant, against the one table.

No route is named here: a new one is walked because it is there. What a route may need to be more
than asked in vain (a body, an id of a foreign resource) can be added to `BODIES` and `_acme`.
"""

import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from litestar.routes import HTTPRoute, WebSocketRoute

from lpmos.control.app import create_app
from lpmos.control.config import ControlConfig
from lpmos.control.pages import DASHBOARD
from lpmos.model.access import GRANTS, Permission, Role, permits
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine
from lpmos.store import keys, records
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.polling import ANSWER_TIMEOUT_S

TASK = "0b0b6f5e-0000-4000-8000-00000000acae"
OTHER_MAC = "52:54:00:00:00:99"
WORD = "roadrunner"
"""Stands in every resource of the tenant acme, and in no other."""

BODIES: dict[str, dict[str, object]] = {
    "POST /api/v1/tasks": {
        "idc": "dc1",
        "sn": f"SN-{WORD}",
        "mac": OTHER_MAC,
        "os_type": "debian",
        "os_version": "12",
    },
    "PUT /api/v1/tasks/{task_id}/approve": {"approved": True},
    "PUT /api/v1/tasks/{task_id}/reject": {"reason": "no"},
    "PATCH /api/v1/users/{name}": {"disabled": True},
    "PUT /api/v1/users/{name}/password": {"password": "a good long password"},
    "POST /api/v1/tokens": {"name": "ci"},
    "PATCH /api/v1/webhooks/{webhook_id}": {"enabled": False},
    "PUT /api/v1/rules/{name}": {"kind": "approve", "condition": "size(machine.disks) > 1"},
    "POST /api/v1/templates/{name}/preview": {
        "task_id": TASK,
        "content": "{{ task.hostname }} {{ machine.tags.owner }}",
    },
    "PATCH /api/v1/machines/{idc}/{sn}": {"tags": {"owner": "me"}},
    "PUT /api/v1/machines/{idc}/{sn}/bmc": {
        "address": "192.0.2.9",
        "username": "root",
        "password": "calvin",
    },
}


class Call(NamedTuple):
    """One method of one route, and what it needs."""

    method: str
    path: str
    opt: dict[str, Any]
    numbers: frozenset[str]

    def filled(self, values: dict[str, str]) -> str:
        """The path with its parameters; what `values` has not is `x`, a number 1."""
        vain = dict.fromkeys(self.numbers, "1")
        return re.sub(
            r"\{(\w+)[^}]*\}", lambda match: (vain | values).get(match[1], "x"), self.path
        )

    @property
    def permission(self) -> Permission:
        """What it needs for what is not the caller's own."""
        return Permission(self.opt.get("others") or self.opt["permission"])

    @property
    def body(self) -> dict[str, object] | None:
        """Something to send along."""
        if self.method in ("GET", "DELETE"):
            return None
        return BODIES.get(f"{self.method} {self.path}", {})

    def url(self, values: dict[str, str], user: str) -> str:
        """Where it is, for another user's things where there are such."""
        other = "others" in self.opt and "{name" not in self.path
        return self.filled({"name": user} | values) + (f"?user={user}" if other else "")


def _routes(control_plane: RunningControlPlane) -> Iterator[Call]:
    """Every route, those that the framework adds for `OPTIONS` left out."""
    for route in create_app(control_plane.services).routes:
        parts = [part for part in route.path_components if not isinstance(part, str)]
        numbers = frozenset(part.name for part in parts if part.type is int)
        if isinstance(route, HTTPRoute):
            for handler in route.route_handlers:
                for method in handler.http_methods - {"OPTIONS", "HEAD"}:
                    yield Call(method, route.path_format, dict(handler.opt), numbers)
        elif isinstance(route, WebSocketRoute):
            yield Call("WEBSOCKET", route.path_format, dict(route.route_handler.opt), numbers)
        else:
            raise AssertionError(f"{route.path_format} is a kind of route that nobody checks")


def calls(control_plane: RunningControlPlane) -> list[Call]:
    """Every call over HTTP that is not open to everybody."""
    return [
        call
        for call in _routes(control_plane)
        if call.method != "WEBSOCKET" and not call.opt.get("public")
    ]


@pytest.fixture
async def control_plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    """A control plane without limits on how often one may ask."""
    config = ControlConfig(
        images_dir=tmp_path / "images", rate_limit_per_s=0, rate_limit_address_per_s=0
    )
    async with open_store(tmp_path) as store, running(store, config=config) as control_plane:
        await control_plane.offer_debian()
        yield control_plane


async def test_every_route_names_a_permission_or_says_that_it_is_public(
    control_plane: RunningControlPlane,
) -> None:
    routes = list(_routes(control_plane))
    assert len(routes) > 60
    for call in routes:
        public, permission = call.opt.get("public"), call.opt.get("permission")
        assert (public is True) != (permission in GRANTS), call
        if (others := call.opt.get("others")) is not None:
            assert permission is Permission.SELF and others in GRANTS, call


PUBLIC = {
    *(f"GET {path.replace(':str', '')}" for path in DASHBOARD),
    *("GET /assets/{name}", "GET /login", "GET /static/{name}", "WEBSOCKET /ws"),
    "GET /schema",
    *("GET /health", "GET /health/live", "GET /health/ready"),
    *("POST /api/v1/login", "POST /api/v1/login/refresh"),
    *("POST /api/v1/session", "DELETE /api/v1/session"),
    *("GET /login/oidc", "GET /login/oidc/callback"),
    *("GET /api/v1/login/oidc", "POST /api/v1/login/oidc"),
}


async def test_no_route_is_public_by_mistake(control_plane: RunningControlPlane) -> None:
    found = {
        f"{call.method} {call.path}" for call in _routes(control_plane) if call.opt.get("public")
    }
    assert found <= PUBLIC, "if it must be open to everybody, say so here too"


async def test_every_route_refuses_nobody(control_plane: RunningControlPlane) -> None:
    wrong = []
    async with httpx.AsyncClient(base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S) as client:
        for call in calls(control_plane):
            answer = await client.request(call.method, call.url({}, "x"), json=call.body)
            if (answer.status_code, answer.json()["code"]) != (401, "unauthenticated"):
                wrong.append((call.method, call.path, answer.status_code))
    assert not wrong


@pytest.mark.parametrize("tenant", [None, "globex"])
@pytest.mark.parametrize("role", list(Role))
async def test_every_route_lets_a_role_pass_as_the_table_says(
    control_plane: RunningControlPlane, role: Role, tenant: str | None
) -> None:
    wrong = []
    async with httpx.AsyncClient(base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S) as client:
        for call in calls(control_plane):
            token = await control_plane.as_user([role], tenant)
            answer = await client.request(
                call.method,
                call.url({}, "nobody"),
                json=call.body,
                headers={"Authorization": f"Bearer {token}"},
            )
            allowed = permits([role], tenant, call.permission)
            as_it_should = answer.status_code not in (401, 403, 500)
            if not allowed:
                as_it_should = answer.status_code == 403 and answer.json()["code"] == "forbidden"
            if not as_it_should:
                wrong.append((call.method, call.path, answer.status_code, allowed))
    assert not wrong


async def test_options_of_every_route_tells_the_methods_and_does_nothing(
    control_plane: RunningControlPlane,
) -> None:
    token = await control_plane.as_user([Role.VIEWER])
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as client:
        for path in {call.path: call for call in calls(control_plane)}.values():
            answer = await client.options(path.filled({}))
            assert answer.status_code == 204, path


class Acme(NamedTuple):
    """What belongs to the tenant acme: ids as they stand in paths."""

    user: str
    sn: str
    values: dict[str, str]


async def _acme(control_plane: RunningControlPlane) -> Acme:
    """A task and its machine, a user who is signed in and has a token, a webhook, a rule."""
    task = make_task(
        task_id=TASK,
        sn=f"SN-{WORD}",
        hostname=f"host-{WORD}",
        tenant="acme",
        status=Status.PENDING_APPROVAL,
    )
    await control_plane.put_task(task)
    machine = Machine(
        idc=task.idc,
        sn=task.sn,
        macs=(task.mac,),
        tags={"owner": WORD},
        tenant="acme",
        inventory=make_inventory(),
        first_seen_at=NOW,
        updated_at=NOW,
    )
    await control_plane.store.put(keys.meta(task.idc, task.sn), records.encode(machine))
    name = f"user-{WORD}"
    token = await control_plane.as_user([Role.ADMIN], "acme", name)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as client:
        made = await client.post("/api/v1/tokens", json={"name": f"token-{WORD}"})
        assert made.status_code == 201, made.text
        new = {
            "name": f"hook-{WORD}",
            "url": "https://hooks.example/x",
            "events": ["task.failed"],
        }
        webhook = await client.post("/api/v1/webhooks", json=new)
        assert webhook.status_code == 201, webhook.text
        rule = {"name": name, "kind": "approve", "condition": "size(machine.disks) == 1"}
        ruled = await client.post("/api/v1/rules", json=rule)
        assert ruled.status_code == 201, ruled.text
    (session,) = control_plane.services.identity.sessions.of(name)
    values = {
        "task_id": TASK,
        "sn": task.sn,
        "session_id": session.name,
        "token_id": made.json()["id"],
        "webhook_id": webhook.json()["webhook_id"],
    }
    return Acme(name, task.sn, values)


def _hides(call: Call, answer: httpx.Response) -> bool:
    """Whether an answer is a refusal, or a list of nothing."""
    nothing = call.method == "GET" and answer.is_success and not any(answer.json().values())
    return nothing or answer.status_code in (403, 404)


async def _stored(control_plane: RunningControlPlane) -> dict[str, bytes]:
    """What the store has of acme, but for what is only told of it."""
    found: dict[str, bytes] = {}
    async for page in control_plane.store.list(keys.ROOT):
        found |= {
            kv.key: kv.value for kv in page.kvs if WORD in kv.key or WORD.encode() in kv.value
        }
    return {key: value for key, value in found.items() if not key.startswith(keys.EVENTS)}


async def test_every_route_shows_and_does_nothing_of_another_tenant(
    control_plane: RunningControlPlane,
) -> None:
    acme = await _acme(control_plane)
    before = await _stored(control_plane)
    assert len(before) >= 7
    wrong = []
    async with httpx.AsyncClient(base_url=control_plane.url, timeout=ANSWER_TIMEOUT_S) as client:
        for call in calls(control_plane):
            token = await control_plane.as_user(list(Role), "globex")
            url = call.url({"idc": "dc1"} | acme.values, acme.user)
            answer = await client.request(
                call.method, url, json=call.body, headers={"Authorization": f"Bearer {token}"}
            )
            theirs = any(value in url for value in (acme.user, *acme.values.values()))
            shown = WORD in answer.text.replace(acme.user, "").replace(acme.sn, "")
            if shown or answer.status_code >= 500 or (theirs and not _hides(call, answer)):
                wrong.append((call.method, call.path, answer.status_code))
    assert not wrong
    assert await _stored(control_plane) == before
