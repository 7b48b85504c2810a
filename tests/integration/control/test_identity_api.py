"""Users, passwords and sessions over HTTP, as people and programs use them."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import msgspec
import pytest

from lpmos.control.auth import Use
from lpmos.core.clock import utc_now
from lpmos.model.access import Role
from lpmos.store import keys
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import until
from tests.support.signing_in import OTHER, PASSWORD, bearer, log_in, make, token_of, who

VIEWER = Role.VIEWER


async def test_login_gives_a_short_lived_token_that_says_who_and_which_session(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    made = await make(api, "alice", display_name="Alice Miller", roles=["viewer", "approver"])
    assert made.status_code == 201
    assert PASSWORD not in made.text and "argon2" not in made.text
    answer = await log_in(anyone, "Alice")  # names are written in lower case
    document = answer.json()
    assert (document["token_type"], document["expires_in"]) == ("Bearer", 900)
    assert "set-cookie" not in answer.headers
    status, session = await who(anyone, document["access_token"])
    assert status == 200
    assert (session["name"], session["display_name"]) == ("alice", "Alice Miller")
    assert (session["roles"], session["tenant"]) == (["viewer", "approver"], None)
    assert "task:approve" in session["permissions"] and "user:read" not in session["permissions"]
    claims = control_plane.signer.verify(document["access_token"], Use.ACCESS)
    (held,) = control_plane.services.identity.sessions.of("alice")
    assert (claims.subject, claims.token_id, claims.roles) == ("alice", held.name, ())


async def test_what_is_stored_of_a_user_holds_no_secret_that_could_be_used(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await make(api, "alice")
    tokens = (await log_in(anyone, "alice")).json()
    access = bearer(tokens["access_token"])
    personal = (await anyone.post("/api/v1/tokens", json={"name": "ci"}, headers=access)).json()
    secrets = (PASSWORD, tokens["refresh_token"], personal["token"][-20:])
    async for page in control_plane.store.list("/"):
        for kv in page.kvs:
            assert not any(secret.encode() in kv.value for secret in secrets), kv.key


async def test_wrong_password_and_unknown_user_are_answered_alike(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    await make(api, "bob", disabled=True)
    await make(api, "program", password=None)
    answers = [
        await log_in(anyone, "alice", "wrong password here"),
        await log_in(anyone, "nobody", "wrong password here"),
        await log_in(anyone, "bob"),
        await log_in(anyone, "program"),
        await log_in(anyone, "no such name!"),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.json()["detail"] for answer in answers}) == 1


async def test_refused_logins_are_limited_by_address(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    answers = await asyncio.gather(*(log_in(anyone, f"user{n}", "x") for n in range(15)))
    assert [answer.status_code for answer in answers].count(401) == 10
    refused = await log_in(anyone, "alice")
    assert (refused.status_code, refused.json()["code"]) == (429, "too-busy")
    assert int(refused.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "Alice", "roles": ["viewer"]}, "name"),
        ({"name": "../admin", "roles": ["viewer"]}, "name"),
        ({"name": "alice\n", "roles": ["viewer"]}, "name"),
        ({"name": "system", "roles": ["viewer"]}, "name"),
        ({"name": "a" * 65, "roles": ["viewer"]}, "name"),
        ({"name": "a", "roles": []}, "roles"),
        ({"name": "a", "roles": ["root"]}, "roles.0"),
        ({"name": "a", "roles": ["viewer"], "password": "short"}, "password"),
        ({"name": "a", "roles": ["viewer"], "password": "x" * 129}, "password"),
        ({"name": "abcdefabcdef", "roles": ["viewer"], "password": "ABCDEFabcdef"}, "password"),
        ({"name": "a", "roles": ["viewer"], "tenant": "No Such"}, "tenant"),
        ({"name": "a", "roles": ["viewer"], "display_name": "x\x00"}, "display_name"),
        ({"name": "a", "roles": ["viewer"], "more": 1}, "more"),
        ({"roles": ["viewer"]}, "name"),
    ],
)
async def test_wrong_user_is_refused_by_field(
    api: httpx.AsyncClient, body: dict[str, object], field: str
) -> None:
    answer = await api.post("/api/v1/users", json=body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert str(body.get("password", "no password")) not in answer.text
    assert (await api.get("/api/v1/users")).json()["total"] == 0


async def test_refresh_gives_new_tokens_and_the_old_one_used_again_ends_the_session(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    async def refresh(token: str) -> httpx.Response:
        return await anyone.post("/api/v1/login/refresh", json={"refresh_token": token})

    await make(api, "alice")
    first = (await log_in(anyone, "alice")).json()
    second = (await refresh(first["refresh_token"])).json()
    assert second["refresh_token"] != first["refresh_token"]
    assert (await who(anyone, second["access_token"]))[0] == 200
    for wrong in (second["access_token"], "rubbish", f"{second['refresh_token']}x"):
        assert (await refresh(wrong)).status_code == 401
    assert (await who(anyone, second["access_token"]))[0] == 200
    assert (await refresh(first["refresh_token"])).status_code == 401
    for token in (first["access_token"], second["access_token"]):
        assert (await who(anyone, token))[0] == 401
    assert (await refresh(second["refresh_token"])).status_code == 401


async def test_logout_of_a_bearer_login_is_for_good(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    tokens = (await log_in(anyone, "alice")).json()
    other = await token_of(anyone, "alice")
    answer = await anyone.delete("/api/v1/login", headers=bearer(tokens["access_token"]))
    assert answer.status_code == 204
    assert (await who(anyone, tokens["access_token"]))[0] == 401
    again = {"refresh_token": tokens["refresh_token"]}
    assert (await anyone.post("/api/v1/login/refresh", json=again)).status_code == 401
    assert (await who(anyone, other))[0] == 200


async def test_browser_logs_in_with_name_and_password(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    body = {"username": "alice", "password": PASSWORD}
    answer = await anyone.post("/api/v1/session", json=body)
    assert answer.status_code == 200
    assert answer.json()["name"] == "alice"
    assert (
        "Max-Age=43199" in answer.headers["set-cookie"] or "=43200" in answer.headers["set-cookie"]
    )
    assert (await anyone.get("/api/v1/regions")).status_code == 200


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"username": "alice"},
        {"password": PASSWORD},
        {"username": "alice", "password": PASSWORD, "token": "x"},
        {"username": "alice", "token": "x"},
        {"token": None},
    ],
)
async def test_login_by_neither_or_both_is_refused(
    anyone: httpx.AsyncClient, body: dict[str, object]
) -> None:
    assert (await anyone.post("/api/v1/session", json=body)).status_code == 422


async def test_change_of_roles_counts_at_the_next_request(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    await make(api, "root", roles=["admin"])
    token = await token_of(anyone, "alice")
    assert (await anyone.get("/api/v1/users", headers=bearer(token))).status_code == 403
    await api.patch("/api/v1/users/alice", json={"roles": ["admin"]})
    assert (await anyone.get("/api/v1/users", headers=bearer(token))).status_code == 200
    await api.patch("/api/v1/users/alice", json={"tenant": "acme"})
    assert (await who(anyone, token))[1]["tenant"] == "acme"
    await api.patch("/api/v1/users/alice", json={"disabled": True})
    assert (await who(anyone, token))[0] == 401
    await api.patch("/api/v1/users/alice", json={"disabled": False})
    assert (await who(anyone, token))[0] == 401  # what ended does not come back
    assert (await log_in(anyone, "alice")).status_code == 200


async def test_deleted_user_is_out_and_a_new_one_of_its_name_is_another(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    session = await token_of(anyone, "alice")
    made = await anyone.post("/api/v1/tokens", json={"name": "ci"}, headers=bearer(session))
    personal = made.json()["token"]
    assert (await api.delete("/api/v1/users/alice")).status_code == 204
    for token in (session, personal):
        assert (await who(anyone, token))[0] == 401
    await make(api, "alice", roles=["admin"])
    for token in (session, personal):
        assert (await who(anyone, token))[0] == 401
    assert (await api.get("/api/v1/tokens?user=alice")).json()["tokens"] == []


async def test_conditional_change_of_a_user_that_changed_is_refused(
    api: httpx.AsyncClient,
) -> None:
    etag = (await make(api, "alice")).headers["etag"]
    changed = await api.patch(
        "/api/v1/users/alice", json={"display_name": "A"}, headers={"If-Match": etag}
    )
    assert changed.status_code == 200
    assert changed.headers["etag"] != etag
    for call in (
        api.patch("/api/v1/users/alice", json={"disabled": True}, headers={"If-Match": etag}),
        api.delete("/api/v1/users/alice", headers={"If-Match": etag}),
    ):
        assert (await call).status_code == 412
    shown = await api.get("/api/v1/users/alice")
    assert (shown.headers["etag"], shown.json()["disabled"]) == (changed.headers["etag"], False)


async def test_last_enabled_administrator_stays(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await make(api, "root", roles=["admin"])
    await make(api, "asleep", roles=["admin"], disabled=True)
    await make(api, "tenants", roles=["admin"], tenant="acme")
    for change in ({"disabled": True}, {"roles": ["viewer"]}, {"tenant": "acme"}):
        answer = await api.patch("/api/v1/users/root", json=change)
        assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert (await api.delete("/api/v1/users/root")).status_code == 409
    assert (await api.patch("/api/v1/users/root", json={"display_name": "R"})).status_code == 200
    await api.patch("/api/v1/users/asleep", json={"disabled": False})
    assert (await api.delete("/api/v1/users/root")).status_code == 204


async def test_of_two_administrators_deleted_at_once_one_stays(api: httpx.AsyncClient) -> None:
    names = ["one", "two", "three"]
    for name in names:
        await make(api, name, roles=["admin"])
    answers = await asyncio.gather(*(api.delete(f"/api/v1/users/{name}") for name in names))
    assert sorted(answer.status_code for answer in answers) == [204, 204, 409]
    assert (await api.get("/api/v1/users")).json()["total"] == 1


async def test_own_password_needs_the_old_one_and_ends_all_other_sessions(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    mine, other = await token_of(anyone, "alice"), await token_of(anyone, "alice")
    path, headers = "/api/v1/users/alice/password", bearer(mine)
    for wrong in ({}, {"old_password": "not the old one"}):
        body = {"password": OTHER} | wrong
        answer = await anyone.put(path, json=body, headers=headers)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["field"] == "old_password"
    body = {"password": OTHER, "old_password": PASSWORD}
    assert (await anyone.put(path, json=body, headers=headers)).status_code == 204
    assert (await who(anyone, mine))[0] == 200
    assert (await who(anyone, other))[0] == 401
    assert (await log_in(anyone, "alice")).status_code == 401
    assert (await log_in(anyone, "alice", OTHER)).status_code == 200


async def test_administrator_sets_anothers_password_and_nobody_else_does(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await make(api, "alice")
    await make(api, "mallory", roles=["operator"])
    old = await token_of(anyone, "alice")
    mallory = bearer(await token_of(anyone, "mallory"))
    body = {"password": OTHER, "old_password": PASSWORD}
    path = "/api/v1/users/alice/password"
    assert (await anyone.put(path, json=body, headers=mallory)).status_code == 403
    assert (await api.put(path, json={"password": OTHER})).status_code == 204
    assert (await who(anyone, old))[0] == 401
    assert (await log_in(anyone, "alice", OTHER)).status_code == 200


async def test_sessions_are_listed_and_ended_one_and_all(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    first, second, third = [await token_of(anyone, "alice") for _ in range(3)]
    path = "/api/v1/users/alice/sessions"
    sessions = (await anyone.get(path, headers=bearer(first))).json()["sessions"]
    assert [session["current"] for session in sessions] == [True, False, False]
    assert {(s["kind"], s["address"]) for s in sessions} == {("program", "127.0.0.1")}
    assert sessions[0]["user_agent"].startswith("python-httpx")
    ended = await anyone.delete(f"{path}/{sessions[1]['id']}", headers=bearer(first))
    assert ended.status_code == 204
    assert [(await who(anyone, token))[0] for token in (first, second, third)] == [200, 401, 200]
    assert (await api.delete(f"{path}/{sessions[1]['id']}")).status_code == 404
    assert (await api.delete(path)).status_code == 204
    assert [(await who(anyone, token))[0] for token in (first, third)] == [401, 401]
    assert (await api.get(path)).json()["sessions"] == []


async def test_browser_session_by_an_api_token_ends_with_all_sessions(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    headers = bearer(await token_of(anyone, "alice"))
    made = (await anyone.post("/api/v1/tokens", json={"name": "ci"}, headers=headers)).json()
    assert (await anyone.post("/api/v1/session", json={"token": made["token"]})).status_code == 200
    assert (await anyone.get("/api/v1/session")).json()["name"] == "alice"
    await api.delete("/api/v1/users/alice/sessions")
    assert (await anyone.get("/api/v1/session")).status_code == 401


async def test_audit_tells_of_logins_logouts_users_and_tokens(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await make(api, "alice")
    await log_in(anyone, "alice", "wrong password here")
    await log_in(anyone, "secret typed in the wrong field", "x")
    tokens = (await log_in(anyone, "alice")).json()
    headers = bearer(tokens["access_token"])
    made = (await anyone.post("/api/v1/tokens", json={"name": "ci"}, headers=headers)).json()
    await anyone.delete(f"/api/v1/tokens/{made['id']}", headers=headers)
    await anyone.post("/api/v1/login/refresh", json={"refresh_token": tokens["refresh_token"]})
    await anyone.delete("/api/v1/login", headers=headers)
    await api.patch("/api/v1/users/alice", json={"roles": ["admin"]})
    events = await _told(control_plane, 9)
    done = [(e["action"], e["actor"]["name"]) for e in events if "outcome" not in e]
    assert done == [
        ("key-token.used", "admin"),
        ("user.created", "admin"),
        ("session.opened", "alice"),
        ("token.created", "alice"),
        ("token.revoked", "alice"),
        ("session.ended", "alice"),
        ("user.changed", "admin"),
    ]
    assert {e["actor"]["address"] for e in events} == {"127.0.0.1"}
    refused = [e for e in events if "outcome" in e]
    assert {e["actor"]["name"] for e in refused} == {"alice", "unknown"}
    (changed,) = [e for e in events if e["action"] == "user.changed"]
    assert changed["before"] == {"roles": ["viewer"]}
    assert changed["after"] == {"roles": ["admin"]}
    text = str(events)
    for secret in (PASSWORD, made["token"], tokens["refresh_token"], "wrong field", "argon2"):
        assert secret not in text


async def _told(control_plane: RunningControlPlane, count: int) -> list[dict[str, Any]]:
    """The events in the audit log, once there are so many, in the order of their ids."""
    events: list[dict[str, Any]] = []

    async def enough() -> bool:
        page = await control_plane.store.range(f"{keys.AUDIT}entries/")
        events[:] = [msgspec.json.decode(kv.value)["event"] for kv in page.kvs]
        return len(events) >= count

    await until(enough)
    return sorted(events, key=lambda event: str(event["event_id"]))


async def test_session_that_is_over_is_refused(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.as_user([VIEWER], name="alice")
    (session,) = control_plane.services.identity.sessions.of("alice")
    past = utc_now() - timedelta(seconds=1)
    expired = control_plane.signer.of_session(Use.ACCESS, session.name, "alice", past)
    answer = await anyone.get("/api/v1/regions", headers=bearer(expired))
    assert answer.status_code == 401
    assert "expired" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/users/%00",
        "/api/v1/users/%ff%fe",
        "/api/v1/users/..%2f..%2ftasks",
        "/api/v1/users/" + "x" * 5000,
        "/api/v1/users/a/sessions/%00",
        "/api/v1/tokens/%0d%0aSet-Cookie:x",
        "/api/v1/tokens/x?user=%00",
        "/api/v1/tokens?user=../../admin",
        "/api/v1/key-tokens/%f0%9f%94%91",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_rubbish_as_a_name_is_not_found_and_never_a_fault(
    api: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await api.request(method, path)
    assert answer.status_code in (400, 404, 405)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/v1/login", b'{"username": "\\ud800", "password": "\\ud800"}'),
        ("/api/v1/login", b'{"username": "a", "password": "' + b"x" * 200 + b'"}'),
        ("/api/v1/login", b'{"username": null, "password": {"$ne": null}}'),
        ("/api/v1/login", b'{"username": "a", "password": "b", "roles": ["admin"]}'),
        ("/api/v1/login", b"[" * 5000),
        ("/api/v1/login/refresh", b'{"refresh_token": ""}'),
        ("/api/v1/session", b'{"token": "' + b"x" * 5000 + b'"}'),
        ("/api/v1/session", b'"token"'),
    ],
)
async def test_rubbish_as_a_login_is_refused_and_never_a_fault(
    anyone: httpx.AsyncClient, path: str, body: bytes
) -> None:
    answer = await anyone.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 401, 422)
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("body", [{"roles": None}, {"disabled": None}, {"name": "bob"}, {"x": 1}])
async def test_wrong_change_of_a_user_is_refused(
    api: httpx.AsyncClient, body: dict[str, object]
) -> None:
    await make(api, "alice")
    assert (await api.patch("/api/v1/users/alice", json=body)).status_code == 422
