"""The audit log as people and their tools meet it: search, one entry, the chain, refusals."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest
from litestar import Router
from litestar.routes import HTTPRoute

from lpmos.control import refusals
from lpmos.control.access import COOKIE
from lpmos.control.app import routes
from lpmos.control.audited import ACTIONS
from lpmos.control.auth import Use
from lpmos.core.clock import utc_now
from lpmos.model.access import Role
from lpmos.model.audit import SYSTEM
from lpmos.model.auditcheck import ChainPage, verify
from lpmos.model.lifecycle import Status
from lpmos.model.user import NewApiToken, UserChange
from lpmos.store import keys
from tests.support.builders import make_principal, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import ANSWER_TIMEOUT_S, until

NEW = {"idc": "dc1", "mac": "52:54:00:00:00:01", "os_type": "debian", "os_version": "12"}
AUDIT = "/api/v1/audit"
TASKS = "/api/v1/tasks"


async def all_chained(control_plane: RunningControlPlane) -> None:
    """Wait until no event is left to be taken into the log."""

    async def none_is_left() -> bool:
        return not (await control_plane.store.range(keys.EVENTS, limit=1)).kvs

    await until(none_is_left)


@asynccontextmanager
async def client_of(
    control_plane: RunningControlPlane, *roles: Role, tenant: str | None = None
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of a user with these roles."""
    token = await control_plane.as_user(roles, tenant)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as client:
        yield client


async def search(api: httpx.AsyncClient, **parameters: object) -> list[dict[str, Any]]:
    """The events of the first page."""
    answer = await api.get(AUDIT, params={k: str(v) for k, v in parameters.items()})
    assert answer.status_code == 200, answer.text
    return [entry["event"] for entry in answer.json()["entries"]]


async def test_change_is_found_with_who_what_when_and_from_where(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    made = await api.post(TASKS, json=NEW)
    task_id = made.json()["task_id"]
    await api.delete(f"{TASKS}/{task_id}")
    await all_chained(control_plane)

    cancelled, created = await search(api, target=f"task/{task_id}")
    assert (created["action"], cancelled["action"]) == ("task.created", "task.cancelled")
    assert created["actor"]["name"] == "admin"
    assert created["actor"]["address"] == "127.0.0.1"
    assert created["actor"]["credential"].startswith("key:")
    assert created["actor"]["request_id"] == made.headers["x-request-id"]
    assert created["at"].endswith("Z")
    assert created["after"]["os_type"] == "debian"
    assert (created["idc"], created["sn"]) == ("dc1", created["sn"])
    assert cancelled["before"] == {"status": "pending"}
    assert cancelled["after"] == {"status": "cancelled"}


async def test_pages_go_on_from_next_in_both_orders(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    for number in range(5):
        await api.post(TASKS, json=NEW | {"mac": f"52:54:00:00:00:{number:02x}"})
    await all_chained(control_plane)
    for sort, order in (("-seq", -1), ("seq", 1)):
        found: list[int] = []
        page: dict[str, Any] = {"next": 1 if order == 1 else None}
        while not found or page["next"] is not None:
            start = {"from_seq": page["next"]} if page["next"] else {}
            query = {"sort": sort, "limit": 2, "action": "task.created", **start}
            page = (await api.get(AUDIT, params=query)).json()
            found += [entry["seq"] for entry in page["entries"]]
        assert len(found) == 5
        assert found == sorted(found, reverse=order == -1)
    shown = await api.get(f"{AUDIT}/{found[0]}")
    assert shown.json()["event"]["action"] == "task.created"
    assert (await api.get(f"{AUDIT}/999999")).status_code == 404


@pytest.mark.parametrize(
    ("parameters", "fields"),
    [
        ({"acter": "admin"}, ["acter"]),
        ({"limit": "0"}, ["limit"]),
        ({"limit": "501"}, ["limit"]),
        ({"from_seq": "0"}, ["from_seq"]),
        ({"from_seq": "1" * 40}, ["from_seq"]),
        ({"since": "yesterday"}, ["since"]),
        ({"sort": "time"}, ["sort"]),
        ({"outcome": "maybe"}, ["outcome"]),
        ({"actor": ""}, ["actor"]),
        ({"actor": "x" * 300}, ["actor"]),
    ],
)
async def test_search_with_wrong_parameters_is_refused(
    api: httpx.AsyncClient, parameters: dict[str, str], fields: list[str]
) -> None:
    answer = await api.get(AUDIT, params=parameters)
    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == fields


@pytest.mark.parametrize("moment", ["2026-01-02T03:04:05", "yesterday", "0.5", "1767323045"])
async def test_time_that_is_none_or_has_no_zone_is_refused(
    api: httpx.AsyncClient, moment: str
) -> None:
    for name in ("since", "until"):
        answer = await api.get("/api/v1/audit", params={name: moment})
        assert answer.status_code == 422
        assert [each["field"] for each in answer.json()["errors"]] == [name]


async def test_chain_read_over_the_api_verifies_and_a_changed_entry_is_found(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    for number in range(5):
        await api.post(TASKS, json=NEW | {"mac": f"52:54:00:00:00:{number:02x}"})
    await all_chained(control_plane)

    async def pages() -> list[ChainPage]:
        found: list[ChainPage] = []
        start: int | None = 1
        while start is not None:
            answer = await api.get(f"{AUDIT}/chain", params={"from_seq": start, "limit": 2})
            found.append(msgspec.json.decode(answer.content, type=ChainPage))
            start = found[-1].next
        return found

    assert list(verify(await pages())) == []
    kv = await control_plane.store.get(keys.audit_entry(3))
    assert kv is not None
    await control_plane.store.put(kv.key, kv.value.replace(b'"debian"', b'"devuan"'))
    assert [each.seq for each in verify(await pages())] == [3]


async def test_tenants_admin_sees_its_tenant_only_and_not_the_chain(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await api.post(TASKS, json=NEW)
    await api.post(TASKS, json=NEW | {"mac": "52:54:00:00:00:02", "tenant": "acme"})
    await all_chained(control_plane)
    async with client_of(control_plane, Role.ADMIN, tenant="acme") as acme:
        events = await search(acme)
        assert {event["tenant"] for event in events} == {"acme"}
        assert [e["action"] for e in events if e["action"].startswith("task.")] == ["task.created"]
        page = (await api.get(AUDIT, params={"action": "task.created"})).json()
        seen = {
            entry["event"].get("tenant"): await acme.get(f"{AUDIT}/{entry['seq']}")
            for entry in page["entries"]
        }
        assert (seen["acme"].status_code, seen[None].status_code) == (200, 404)
        assert (await acme.get(AUDIT, params={"tenant": "other"})).status_code == 422
        assert (await acme.get(f"{AUDIT}/chain")).status_code == 403


async def test_metrics_say_who_leads_and_what_is_not_in_the_log_yet(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await api.post(TASKS, json=NEW)
    await control_plane.audited(action="task.created")

    async def said() -> bool:
        lines = (await api.get("/metrics")).text.splitlines()
        return {"lpmos_audit_pending_events 0.0", "lpmos_control_plane_leads 1.0"} <= set(lines)

    await until(said)


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR, Role.APPROVER])
async def test_only_admins_read_the_log(control_plane: RunningControlPlane, role: Role) -> None:
    async with client_of(control_plane, role) as client:
        for path in (AUDIT, f"{AUDIT}/1", f"{AUDIT}/chain"):
            assert (await client.get(path)).status_code == 403


async def test_refused_changes_are_in_the_log_with_their_code(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    task = make_task(status=Status.PENDING)
    await control_plane.put_task(task)
    place = f"{TASKS}/{task.task_id}"
    async with client_of(control_plane, Role.VIEWER, tenant="acme") as viewer:
        assert (await viewer.delete(place)).status_code == 403
    refused = [
        (await api.put(f"{place}/approve", json={"approved": True}), "task.approved"),
        (await api.put(f"{TASKS}/none/reject", json={"reason": "x"}), "task.rejected"),
        (await api.post(TASKS, json=NEW | {"mac": "rubbish"}), "task.created"),
    ]
    for answer, action in refused:
        code = answer.json()["code"]
        event = await control_plane.audited(action=action, reason=code)
        assert event.outcome == "refused"
        assert event.actor.name == "admin"
        assert event.actor.request_id == answer.headers["x-request-id"]
        assert event.after
        assert event.after["status"] == answer.status_code
    event = await control_plane.audited(action="task.cancelled", outcome="refused")
    assert (event.tenant, event.target) == ("acme", f"task/{task.task_id}")
    assert event.reason == "forbidden"


async def test_wrong_password_of_a_known_user_is_in_the_log_and_the_password_is_not(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.as_user([Role.VIEWER], name="anna")
    secret = "not-the-right-password-17"
    body = {"username": "anna", "password": secret}
    assert (await anyone.post("/api/v1/login", json=body)).status_code == 401
    event = await control_plane.audited(outcome="refused")
    assert event.actor.name == "anna"
    assert event.actor.address == "127.0.0.1"
    assert secret.encode() not in msgspec.json.encode(event)


async def test_reading_and_unknown_callers_leave_nothing_in_the_log(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    assert (await api.get(f"{TASKS}/none")).status_code == 404
    assert (await anyone.post(TASKS, json=NEW)).status_code == 401
    assert (await api.post("/api/v1/nothing")).status_code == 404
    await api.delete(f"{TASKS}/none")
    event = await control_plane.audited(outcome="refused")
    assert event.action == "task.cancelled"
    assert len(await search(api, outcome="refused")) == 1


async def old_token(control_plane: RunningControlPlane, kind: str) -> str:
    """A token of alice's that was good once."""
    identity, signer = control_plane.services.identity, control_plane.signer
    token = await control_plane.as_user([Role.VIEWER], "acme", "alice")
    session = signer.read(token, Use.ACCESS).token_id
    user = identity.users.documents.get("alice")
    assert user is not None
    if kind == "expired":
        return signer.of_session(Use.ACCESS, session, "alice", utc_now() - timedelta(minutes=1))
    if kind == "personal":
        new = NewApiToken(name="ci")
        made = await identity.tokens.create(user.document, new, within=None, by=SYSTEM)
        change = UserChange(disabled=True)
        await identity.users.change("alice", change, caller=make_principal(), by=SYSTEM)
        return made.secret
    await identity.sessions.end(session, by=SYSTEM)
    if kind == "ended":
        return token
    use = Use.COOKIE if kind == "cookie" else Use.REFRESH
    return signer.of_session(use, session, "alice", utc_now() + timedelta(hours=1))


@pytest.mark.parametrize("kind", ["expired", "ended", "personal", "cookie", "refresh"])
async def test_old_token_of_a_known_user_is_in_the_log_also_where_it_only_reads(
    control_plane: RunningControlPlane, anyone: httpx.AsyncClient, kind: str
) -> None:
    token = await old_token(control_plane, kind)
    if kind == "refresh":
        answer = await anyone.post("/api/v1/login/refresh", json={"refresh_token": token})
    elif kind == "cookie":
        answer = await anyone.get(TASKS, headers={"Cookie": f"{COOKIE}={token}"})
    else:
        answer = await anyone.get(TASKS, headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401

    event = await control_plane.audited(action="session.used")

    assert (event.actor.name, event.tenant, event.outcome) == ("alice", "acme", "refused")
    assert event.actor.address == "127.0.0.1"
    assert event.target == (event.actor.credential or "").replace(":", "/")
    assert event.after
    assert event.after["path"] == ("/api/v1/login/refresh" if kind == "refresh" else TASKS)
    assert token not in str(event)


async def test_flood_of_refusals_is_told_in_full_only_at_first(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    for _ in range(3 * refusals.OF_ONE_A_MINUTE):
        await api.delete(f"{TASKS}/none")
    await control_plane.audited(action="task.cancelled", outcome="refused")
    await all_chained(control_plane)
    assert len(await search(api, outcome="refused", limit=500)) <= refusals.OF_ONE_A_MINUTE


async def test_search_by_action_finds_what_was_done_and_what_was_refused(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    assert (await api.post(TASKS, json=NEW)).status_code == 201
    assert (await api.post(TASKS, json=NEW | {"mac": "rubbish"})).status_code == 422
    await control_plane.audited(action="task.created", outcome="refused")
    found = await search(api, action="task.created")
    assert sorted(event.get("outcome", "done") for event in found) == ["done", "refused"]


def test_every_call_that_is_no_question_has_its_action() -> None:
    calls = {
        handler.fn.__name__
        for router in routes()
        if isinstance(router, Router)
        for route in router.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if set(handler.http_methods) - {"GET", "HEAD", "OPTIONS"}
    }
    assert calls == set(ACTIONS)
