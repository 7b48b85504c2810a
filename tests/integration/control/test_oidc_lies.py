"""What is refused of an identity provider, and of a browser that claims to come from one."""

import base64
import hashlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec

from lpmos.control.config import ControlConfig, OidcConfig
from lpmos.control.oidc.provider import CALL_TIMEOUT_S
from lpmos.control.oidc.routes import COOKIE
from lpmos.model.access import Role
from lpmos.model.user import NewUser
from tests.support import oidc_browser, oidc_liar
from tests.support.builders import actor, make_principal
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.oidc_liar import CLIENT_ID, CLIENT_SECRET, Forge, Liar, lying
from tests.support.receiver import answering_raw

PUBLIC_URL = "https://lpmos.example.com"
PASSWORD = "correct horse battery"
NOW = int(time.time())


class World:
    """A control plane, the provider that it trusts, and a browser."""

    def __init__(
        self, control_plane: RunningControlPlane, liar: Liar, browser: httpx.AsyncClient
    ) -> None:
        self.control_plane = control_plane
        self.liar = liar
        self.browser = browser

    async def begin(self, following: str = "") -> dict[str, str]:
        """Go to the provider; what the browser brought there."""
        url = await oidc_browser.begin(self.browser, self.control_plane.url, following)
        return self.liar.begun(url)

    async def finish(self, **came: str) -> httpx.Response:
        """Come back with this."""
        return await oidc_browser.finish(self.browser, self.control_plane.url, came)

    async def sign_in(self, following: str = "") -> httpx.Response:
        """Go there and come back."""
        brought = await self.begin(following)
        return await self.finish(state=brought["state"], code="code")

    async def expect_refused(self, answer: httpx.Response, status: int, text: str) -> None:
        """It is a problem of this status and text, and nobody is signed in or made."""
        assert (answer.status_code, text in answer.json()["detail"]) == (status, True), answer.text
        assert "set-cookie" not in answer.headers
        who = await oidc_browser.session(self.browser, self.control_plane.url)
        assert who.status_code == 401
        assert len(self.control_plane.services.identity.users.documents) == 0


def config(liar: Liar, **fields: object) -> ControlConfig:
    oidc = OidcConfig(
        issuer=liar.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        roles=(("lpmos-admins", Role.ADMIN), ("noc", Role.OPERATOR)),
    )
    return ControlConfig(public_url=PUBLIC_URL, oidc=msgspec.structs.replace(oidc, **fields))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with (
        lying() as liar,
        open_store(tmp_path) as store,
        running(store, config=config(liar)) as control_plane,
        oidc_browser.browser() as browser,
    ):
        yield World(control_plane, liar, browser)


async def test_honest_answer_opens_a_session_and_the_request_was_by_the_book(world: World) -> None:
    brought = await world.begin()
    assert brought["redirect_uri"] == f"{PUBLIC_URL}/login/oidc/callback"
    assert (brought["response_type"], brought["scope"]) == ("code", "openid profile")
    answer = await world.finish(state=brought["state"], code="code")
    assert (answer.status_code, answer.json()) == (200, {"next": "/"})
    (request,) = world.liar.token_requests
    digest = hashlib.sha256(request["code_verifier"].encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    assert (brought["code_challenge_method"], brought["code_challenge"]) == ("S256", challenge)
    assert (request["grant_type"], request["code"]) == ("authorization_code", "code")
    assert request["redirect_uri"] == brought["redirect_uri"]
    basic = base64.b64encode(f"{CLIENT_ID}:{CLIENT_SECRET}".encode()).decode()
    assert world.liar.authorization == [f"Basic {basic}"]
    assert CLIENT_SECRET not in str(brought)


async def test_key_of_another_kind_is_understood(world: World) -> None:
    world.liar.algorithm, world.liar.key = "ES256", ec.generate_private_key(ec.SECP256R1())
    assert (await world.sign_in()).status_code == 200


@pytest.mark.parametrize(
    "said",
    [
        {"nonce": "another"},
        {"iss": "https://evil.example.com"},
        {"aud": "another-client"},
        {"exp": NOW - 120},
    ],
    ids=lambda said: next(iter(said)),
)
async def test_token_that_says_something_wrong_is_not_believed(
    world: World, said: dict[str, object]
) -> None:
    world.liar.said = said
    await world.expect_refused(await world.sign_in(), 401, "cannot be trusted")


async def test_token_without_a_nonce_is_not_believed(world: World) -> None:
    world.liar.unsaid = ("nonce",)
    await world.expect_refused(await world.sign_in(), 401, "cannot be trusted")


@pytest.mark.parametrize(
    "forge",
    [
        oidc_liar.unsigned,
        oidc_liar.by_public_key,
        oidc_liar.by_another_key,
        oidc_liar.by_unknown_key,
    ],
)
async def test_token_that_is_not_signed_by_the_provider_is_not_believed(
    world: World, forge: Forge
) -> None:
    world.liar.forge = forge
    await world.expect_refused(await world.sign_in(), 401, "cannot be trusted")


async def test_shared_key_among_the_published_ones_verifies_nothing(world: World) -> None:
    secret = base64.urlsafe_b64encode(CLIENT_SECRET.encode()).decode().rstrip("=")
    public = oidc_liar.public_jwk(world.liar.key, "other")
    world.liar.jwks = {"keys": [{"kty": "oct", "k": secret, "kid": oidc_liar.KID}, public]}
    world.liar.forge = oidc_liar.by_client_secret
    await world.expect_refused(await world.sign_in(), 401, "cannot be trusted")


async def test_wrong_state_is_refused_before_the_provider_is_asked(world: World) -> None:
    await world.begin()
    for came in ({"state": "another", "code": "code"}, {"code": "code"}):
        await world.expect_refused(await world.finish(**came), 401, "not begun in this browser")
    assert world.liar.token_requests == []
    event = await world.control_plane.audited(outcome="refused")
    assert (event.actor.name, event.action) == ("unknown", "session.opened")
    assert event.actor.address == "127.0.0.1"


async def test_changed_or_missing_cookie_is_refused(world: World) -> None:
    brought = await world.begin()
    sealed = world.browser.cookies[COOKIE]
    for cookie in ("", "rubbish", sealed[:-2] + "AA", sealed[:40], "A" * 5000):
        async with oidc_browser.browser() as other:
            other.cookies.set(COOKIE, cookie)
            came = {"state": brought["state"], "code": "code"}
            answer = await oidc_browser.finish(other, world.control_plane.url, came)
            await world.expect_refused(answer, 401, "not begun in this browser")


async def test_answer_in_the_name_of_another_provider_is_refused(world: World) -> None:
    brought = await world.begin()
    answer = await world.finish(state=brought["state"], code="code", iss="https://evil.example.com")
    await world.expect_refused(answer, 401, "cannot be trusted")
    assert world.liar.token_requests == []
    answer = await world.finish(state=brought["state"], code="code", iss=world.liar.issuer)
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("error", "text"),
    [("access_denied", "access_denied"), ("<b>call the helpdesk</b>", "no code came back")],
)
async def test_login_that_the_provider_ended_is_said(world: World, error: str, text: str) -> None:
    brought = await world.begin()
    answer = await world.finish(state=brought["state"], error=error)
    await world.expect_refused(answer, 401, text)
    assert "helpdesk" not in answer.text


async def test_call_from_another_sites_page_is_refused(world: World) -> None:
    brought = await world.begin()
    answer = await world.browser.post(
        f"{world.control_plane.url}/api/v1/login/oidc",
        json={"state": brought["state"], "code": "code"},
        headers={"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example.com"},
    )
    await world.expect_refused(answer, 403, "another site")


@pytest.mark.parametrize(
    "following",
    [
        "https://evil.example.com",
        "//evil.example.com",
        "/\\evil.example.com",
        "/\t/evil",
        "x",
        "/é",
    ],
)
async def test_browser_goes_on_to_own_paths_only(world: World, following: str) -> None:
    assert (await world.sign_in(following)).json() == {"next": "/"}


async def test_many_refused_answers_are_limited_and_the_login_here_is_not(world: World) -> None:
    world.liar.forge = oidc_liar.unsigned
    statuses = [(await world.sign_in()).status_code for _ in range(12)]
    assert statuses == [401] * 10 + [429] * 2
    assert len(world.liar.token_requests) == 10
    new = NewUser(name="carol", roles=(Role.VIEWER,), password=PASSWORD)
    users = world.control_plane.services.identity.users
    await users.create(new, caller=make_principal(), by=actor())
    login = {"username": "carol", "password": PASSWORD}
    answer = await world.browser.post(f"{world.control_plane.url}/api/v1/login", json=login)
    assert answer.status_code == 200


async def test_claims_that_only_user_info_has_are_asked_for(world: World) -> None:
    world.liar.unsaid = ("groups", "preferred_username")
    world.liar.user_info = {"sub": "subject-1", "groups": "noc", "preferred_username": "Bob"}
    assert (await world.sign_in()).status_code == 200
    who = await oidc_browser.session(world.browser, world.control_plane.url)
    assert (who.json()["name"], who.json()["roles"]) == ("bob", ["operator"])


async def test_user_info_about_somebody_else_is_not_believed(world: World) -> None:
    world.liar.unsaid = ("groups",)
    world.liar.user_info = {"sub": "subject-2", "groups": ["lpmos-admins"]}
    await world.expect_refused(await world.sign_in(), 401, "cannot be trusted")


async def test_account_that_is_renamed_there_is_the_same_user_here(world: World) -> None:
    assert (await world.sign_in()).status_code == 200
    world.liar.said = {"preferred_username": "alice-miller"}
    assert (await world.sign_in()).status_code == 200
    who = await oidc_browser.session(world.browser, world.control_plane.url)
    assert who.json()["name"] == "alice"
    assert len(world.control_plane.services.identity.users.documents) == 1


async def test_another_account_of_the_same_name_is_refused(world: World) -> None:
    assert (await world.sign_in()).status_code == 200
    world.liar.said = {"sub": "subject-2", "groups": ["lpmos-admins"]}
    answer = await world.sign_in()
    assert (answer.status_code, "taken by another user" in answer.text) == (409, True)


@pytest.mark.parametrize("name", [None, 7, "", "system", "a b", "x" * 65])
async def test_account_without_a_usable_name_is_refused(world: World, name: object) -> None:
    world.liar.said = {"preferred_username": name}
    world.liar.user_info = {"sub": "subject-1"}
    await world.expect_refused(await world.sign_in(), 403, "has no access here")


@pytest.mark.parametrize(
    ("place", "answer"),
    [
        ("configuration", web.Response(status=500)),
        ("configuration", web.Response(text="<html>")),
        ("configuration", web.json_response({"issuer": "x"})),
        ("configuration", web.Response(body=b'"' + b"x" * 2_000_000 + b'"')),
        ("configuration", web.HTTPFound("https://evil.example.com")),
        ("jwks", web.json_response({"keys": []})),
        ("jwks", web.json_response({"keys": [{"kty": "RSA", "kid": "x"}]})),
        ("jwks", web.json_response({"keys": 1})),
        ("jwks", web.Response(body=b"[" * 100_000)),
    ],
)
async def test_provider_that_publishes_rubbish_counts_as_down(
    world: World, place: str, answer: web.Response
) -> None:
    world.liar.answers[place] = answer
    page = await world.browser.get(f"{world.control_plane.url}/login/oidc")
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert "set-cookie" not in page.headers


@pytest.mark.parametrize(
    "metadata",
    [
        {"issuer": "https://evil.example.com"},
        {"token_endpoint": "ftp://127.0.0.1/"},
        {"id_token_signing_alg_values_supported": ["none", "HS256"]},
    ],
)
async def test_provider_that_is_another_or_unsafe_counts_as_down(
    world: World, metadata: dict[str, object]
) -> None:
    world.liar.metadata = metadata
    page = await world.browser.get(f"{world.control_plane.url}/login/oidc")
    assert page.status_code == 503


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=500),
        web.Response(text="rubbish"),
        web.json_response({"access_token": "a"}),
        web.json_response({"error": "invalid_client"}, status=401),
    ],
)
async def test_token_endpoint_that_gives_no_tokens_counts_as_down(
    world: World, answer: web.Response
) -> None:
    world.liar.answers["token"] = answer
    await world.expect_refused(await world.sign_in(), 503, "cannot be used now")


async def test_provider_that_never_answers_counts_as_down_in_time(
    world: World, tmp_path: Path
) -> None:
    async with answering_raw(b"HTTP/1.1 200 OK\r\n", hold=True) as silent:
        settings = config(world.liar, issuer=silent.rstrip("/"))
        async with running(world.control_plane.store, config=settings) as other:
            began = time.monotonic()
            page = await world.browser.get(f"{other.url}/login/oidc")
            assert page.status_code == 503
            assert time.monotonic() - began < CALL_TIMEOUT_S + 20


async def test_control_plane_without_a_provider_says_so(
    control_plane: RunningControlPlane, anyone: httpx.AsyncClient
) -> None:
    assert (await anyone.get("/api/v1/login/oidc")).json() == {"configured": False}
    assert (await anyone.get("/login/oidc")).status_code == 404
    answer = await anyone.post("/api/v1/login/oidc", json={"state": "s", "code": "c"})
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
