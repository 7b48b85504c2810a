"""Personal tokens, and those that a key signs, over HTTP: made, used, listed and revoked."""

from datetime import timedelta

import httpx

from lpmos.control.auth import Use
from tests.support.control_plane import RunningControlPlane
from tests.support.signing_in import OTHER, bearer, make, token_of, who


async def test_personal_token_has_its_roles_and_ends_when_revoked(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await make(api, "alice", roles=["operator", "approver"])
    headers = bearer(await token_of(anyone, "alice"))
    new = {"name": "nightly", "roles": ["operator"], "lifetime_days": 7}
    made = await anyone.post("/api/v1/tokens", json=new, headers=headers)
    assert made.status_code == 201
    token = made.json()["token"]
    assert token.startswith("lpmos_")
    status, session = await who(anyone, token)
    assert (status, session["name"], session["roles"]) == (200, "alice", ["operator"])
    listed = (await anyone.get("/api/v1/tokens", headers=headers)).json()["tokens"]
    assert [(each["name"], each["id"] == made.json()["id"]) for each in listed] == [
        ("nightly", True)
    ]
    assert token not in str(listed) and listed[0]["last_used_at"] is not None
    await api.patch("/api/v1/users/alice", json={"roles": ["approver"]})
    assert (await who(anyone, token))[0] == 403  # it has no role left
    path = f"/api/v1/tokens/{made.json()['id']}"
    assert (await anyone.delete(path, headers=headers)).status_code == 204
    assert (await who(anyone, token))[0] == 401
    assert (await anyone.delete(path, headers=headers)).status_code == 404


async def test_personal_token_beyond_the_user_or_made_by_a_token_is_forbidden(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice", roles=["operator"])
    headers = bearer(await token_of(anyone, "alice"))
    new = {"name": "more", "roles": ["admin"]}
    assert (await anyone.post("/api/v1/tokens", json=new, headers=headers)).status_code == 403
    made = await anyone.post("/api/v1/tokens", json={"name": "ci"}, headers=headers)
    by_token = bearer(made.json()["token"])
    again = await anyone.post("/api/v1/tokens", json={"name": "next"}, headers=by_token)
    assert again.status_code == 403
    logout = await anyone.delete("/api/v1/login", headers=by_token)
    assert (logout.status_code, logout.json()["code"]) == (409, "conflict")


async def test_tokens_of_others_are_the_administrators_business(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice", roles=["operator"])
    await make(api, "mallory")
    mallory = bearer(await token_of(anyone, "mallory"))
    new = {"name": "ci"}
    made = await api.post("/api/v1/tokens?user=alice", json=new)
    assert (made.status_code, made.json()["roles"]) == (201, ["operator"])
    path = f"/api/v1/tokens/{made.json()['id']}"
    for method, url in (
        ("GET", "/api/v1/tokens?user=alice"),
        ("DELETE", f"{path}?user=alice"),
    ):
        assert (await anyone.request(method, url, headers=mallory)).status_code == 403
    assert (await anyone.delete(path, headers=mallory)).status_code == 404
    assert (await who(anyone, made.json()["token"]))[0] == 200
    assert (await api.delete(f"{path}?user=alice")).status_code == 204
    assert (await who(anyone, made.json()["token"]))[0] == 401


async def test_wrong_personal_tokens_are_limited(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient
) -> None:
    await make(api, "alice")
    headers = bearer(await token_of(anyone, "alice"))
    made = (await anyone.post("/api/v1/tokens", json={"name": "ci"}, headers=headers)).json()
    wrong = f"lpmos_{'0' * 32}_{'x' * 43}"
    statuses = [(await who(anyone, wrong))[0] for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert (await who(anyone, made["token"]))[0] == 200  # what is known is not held up
    assert (await who(anyone, f"{made['token']}x"))[0] == 401


async def test_key_token_is_seen_after_its_first_use_and_revoked_by_its_id(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    token = control_plane.signer.issue("ops", "admin", timedelta(hours=1))
    assert (await who(anyone, token))[0] == 200
    listed = (await api.get("/api/v1/key-tokens")).json()["key_tokens"]
    (shown,) = [each for each in listed if each["subject"] == "ops"]
    assert (shown["address"], shown["revoked"]) == ("127.0.0.1", False)
    assert (await anyone.post("/api/v1/session", json={"token": token})).status_code == 200
    assert (await api.delete(f"/api/v1/key-tokens/{shown['id']}")).status_code == 204
    assert (await who(anyone, token))[0] == 401
    assert (await anyone.get("/api/v1/session")).status_code == 401  # the browser's ends with it


async def test_key_token_revoked_before_its_first_use_is_never_valid(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    token = control_plane.signer.issue("ops", "admin", timedelta(hours=1))
    token_id = control_plane.signer.verify(token, Use.KEY).token_id
    assert (await api.delete(f"/api/v1/key-tokens/{token_id}")).status_code == 204
    assert (await who(anyone, token))[0] == 401
    assert (await api.delete("/api/v1/key-tokens/..%2Fusers")).status_code == 404


async def test_key_token_with_a_users_name_is_not_that_user(
    api: httpx.AsyncClient, anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await make(api, "alice")
    viewer = bearer(control_plane.signer.issue("alice", "viewer", timedelta(hours=1)))
    for path in ("/api/v1/tokens", "/api/v1/users/alice", "/api/v1/users/alice/sessions"):
        assert (await anyone.get(path, headers=viewer)).status_code == 403
    admin = bearer(control_plane.signer.issue("alice", "admin", timedelta(hours=1)))
    body = {"password": OTHER}
    answer = await anyone.put("/api/v1/users/alice/password", json=body, headers=admin)
    assert answer.status_code == 204  # break-glass: a forgotten password
