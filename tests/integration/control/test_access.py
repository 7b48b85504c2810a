"""Nothing is open without a token, and a cookie is good only for our own pages."""

import base64
import json
import time
from datetime import datetime, timedelta

import httpx
import jwt
import pytest

from lpmos.control.access import COOKIE
from lpmos.control.auth import TokenSigner, Use
from lpmos.core.clock import utc_now
from lpmos.model.access import Role
from lpmos.model.lifecycle import Status
from lpmos.store import keys
from tests.support.builders import make_task
from tests.support.control_plane import KEY, RunningControlPlane

CLOSED = [
    ("GET", "/api/v1/tasks"),
    ("POST", "/api/v1/tasks"),
    ("GET", "/api/v1/tasks/x"),
    ("DELETE", "/api/v1/tasks/x"),
    ("PUT", "/api/v1/tasks/x/approve"),
    ("PUT", "/api/v1/tasks/x/reject"),
    ("GET", "/api/v1/regions"),
    ("GET", "/api/v1/session"),
    ("GET", "/metrics"),
    ("GET", "/schema/openapi.json"),
]
OPEN = ["/health", "/health/live", "/health/ready", "/login", "/static/lpmos.css"]


@pytest.mark.parametrize(("method", "path"), CLOSED)
async def test_call_without_a_token_is_unauthenticated(
    anyone: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await anyone.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("path", OPEN)
async def test_what_needs_no_token_tells_nothing_of_the_fleet(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane, path: str
) -> None:
    await control_plane.put_task(make_task(idc="oslo"))
    answer = await anyone.get(path)
    assert answer.status_code == 200
    assert "SN-1" not in answer.text
    assert "oslo" not in answer.text


def _token_of_no_algorithm() -> str:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none'})}.{part(_claims())}."


def _claims(**changes: object) -> dict[str, object]:
    now = int(time.time())
    claims: dict[str, object] = {"iss": "lpmos", "aud": "key", "sub": "x", "roles": ["admin"]}
    return claims | {"iat": now, "exp": now + 60, "jti": "1"} | changes


def _tokens() -> dict[str, str]:
    hour = timedelta(hours=1)
    ours = TokenSigner(KEY, utc_now)
    later = utc_now() + hour
    return {
        "garbage": "garbage",
        "not ASCII": "\u00e9\u00ff",
        "another key": TokenSigner(b"x" * 32, utc_now).issue("x", "admin", hour),
        "expired": TokenSigner(KEY, lambda: utc_now() - 2 * hour).issue("x", "admin", hour),
        "no algorithm": _token_of_no_algorithm(),
        "no role": jwt.encode(_claims(roles=[]), KEY, "HS256"),
        "another issuer": jwt.encode(_claims(iss="other"), KEY, "HS256"),
        "another algorithm": jwt.encode(_claims(), KEY * 2, "HS512"),
        "lasts a year": jwt.encode(_claims(exp=int(time.time()) + 31_536_000), KEY, "HS256"),
        "huge": "x" * 15_000,
        "huge and signed": jwt.encode(_claims(more="x" * 8_000), KEY, "HS256"),
        "session that never was": ours.of_session(Use.ACCESS, "0" * 32, "admin", later),
        "refresh token as bearer": ours.of_session(Use.REFRESH, "0" * 32, "admin", later),
        "API token that never was": f"lpmos_{'0' * 32}_{'x' * 43}",
        "API token without a secret": f"lpmos_{'0' * 32}",
        "API token with path tricks": "lpmos_../../users/admin_x",
    }


@pytest.mark.parametrize("kind", list(_tokens()))
async def test_wrong_token_is_unauthenticated(anyone: httpx.AsyncClient, kind: str) -> None:
    headers = {b"Authorization": f"Bearer {_tokens()[kind]}".encode("latin-1")}
    answer = await anyone.get("/api/v1/tasks", headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_wrong_token_changes_nothing_and_its_answer_tells_nothing(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.as_user([Role.ADMIN], name="alice")
    before = await control_plane.store.range(keys.control("users"))
    for token in _tokens().values():
        headers = {b"Authorization": f"Bearer {token}".encode("latin-1")}
        answer = await anyone.delete("/api/v1/users/alice", headers=headers)
        assert answer.status_code in (401, 429)
        assert "alice" not in answer.text and "Traceback" not in answer.text
    assert (await control_plane.store.range(keys.control("users"))).kvs == before.kvs


async def test_session_of_another_user_is_unauthenticated(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.as_user([Role.VIEWER], name="alice")
    (session,) = control_plane.services.identity.sessions.of("alice")
    later = utc_now() + timedelta(hours=1)
    token = control_plane.signer.of_session(Use.ACCESS, session.name, "admin", later)
    answer = await anyone.get("/api/v1/tasks", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


async def test_cookie_as_bearer_and_bearer_as_cookie_are_unauthenticated(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    token = await control_plane.as_user([Role.ADMIN])
    await _log_in(anyone, token)
    cookie = anyone.cookies[COOKIE]
    anyone.cookies.clear()
    for headers in (
        {"Authorization": f"Bearer {cookie}"},
        {"Cookie": f"{COOKIE}={token}"},
        {"Cookie": f"{COOKIE}={control_plane.token}"},
    ):
        assert (await anyone.get("/api/v1/tasks", headers=headers)).status_code == 401


async def test_basic_authorization_is_not_a_token(anyone: httpx.AsyncClient) -> None:
    answer = await anyone.get("/api/v1/tasks", auth=("admin", "admin"))
    assert answer.status_code == 401


async def _log_in(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.post("/api/v1/session", json={"token": token})


async def test_login_sets_a_cookie_that_no_script_and_no_other_site_gets(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    answer = await _log_in(anyone, control_plane.token)
    assert answer.status_code == 200
    assert answer.json()["name"] == "admin"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    assert control_plane.token not in cookie
    assert (await anyone.get("/api/v1/session")).json()["roles"] == ["admin"]


async def test_logout_forgets_the_cookie_and_ends_its_session(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _log_in(anyone, control_plane.token)
    cookie = anyone.cookies[COOKIE]
    assert (await anyone.delete("/api/v1/session")).status_code == 204
    assert COOKIE not in anyone.cookies
    assert (await anyone.get("/api/v1/tasks")).status_code == 401
    kept = {"Cookie": f"{COOKIE}={cookie}"}
    assert (await anyone.get("/api/v1/tasks", headers=kept)).status_code == 401


async def test_logout_without_a_session_is_no_error(anyone: httpx.AsyncClient) -> None:
    for headers in ({}, {"Cookie": f"{COOKIE}=rubbish"}):
        assert (await anyone.delete("/api/v1/session", headers=headers)).status_code == 204


async def test_session_never_outlives_its_token(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    token = control_plane.signer.issue("admin", "admin", timedelta(minutes=5))
    answer = await _log_in(anyone, token)
    assert "Max-Age=29" in answer.headers["set-cookie"]  # of 300 s
    until = datetime.fromisoformat(answer.json()["expires_at"])
    assert until <= control_plane.signer.verify(token, Use.KEY).expires_at


async def test_failed_logins_are_limited(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    for _ in range(10):
        assert (await _log_in(anyone, "guess")).status_code == 401
    answer = await _log_in(anyone, control_plane.token)
    assert (answer.status_code, answer.json()["code"]) == (429, "too-busy")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[broken"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "{own}"},
    ],
)
async def test_change_by_cookie_from_elsewhere_is_forbidden(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane, headers: dict[str, str]
) -> None:
    await control_plane.put_task(make_task(task_id="t", status=Status.PENDING_APPROVAL))
    await _log_in(anyone, control_plane.token)
    sent = {name: value.replace("{own}", control_plane.url) for name, value in headers.items()}
    approval = {"approved": True}
    answer = await anyone.put("/api/v1/tasks/t/approve", json=approval, headers=sent)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert (await anyone.get("/api/v1/tasks/t")).json()["status"] == "pending_approval"


@pytest.mark.parametrize("headers", [{"Origin": "{own}"}, {"Sec-Fetch-Site": "same-origin"}])
async def test_change_by_cookie_from_our_page_is_made(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane, headers: dict[str, str]
) -> None:
    await control_plane.put_task(make_task(task_id="t", status=Status.PENDING_APPROVAL))
    await _log_in(anyone, control_plane.token)
    sent = {name: value.replace("{own}", control_plane.url) for name, value in headers.items()}
    approval = {"approved": True}
    answer = await anyone.put("/api/v1/tasks/t/approve", json=approval, headers=sent)
    assert answer.status_code == 200


async def test_login_from_another_sites_page_is_forbidden(
    anyone: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    answer = await anyone.post(
        "/api/v1/session",
        json={"token": control_plane.token},
        headers={"Origin": "https://evil.example"},
    )
    assert answer.status_code == 403
    assert "set-cookie" not in answer.headers
