"""Login at a real OpenID provider (glewlwyd), from the first redirect to the end of the session."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from lpmos.control.access import COOKIE
from lpmos.control.config import ControlConfig, OidcConfig
from lpmos.model.access import Role
from lpmos.model.user import NewUser
from tests.support import oidc_browser
from tests.support.builders import actor, make_principal
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import free_port
from tests.support.oidc_glewlwyd import CLIENT_ID, CLIENT_SECRET, Glewlwyd, glewlwyd
from tests.support.polling import ANSWER_TIMEOUT_S

BACK = "/login/oidc/callback"
PASSWORD = "correct horse battery"


class World:
    """A control plane and the provider that it trusts, and a browser."""

    def __init__(
        self, control_plane: RunningControlPlane, provider: Glewlwyd, browser: httpx.AsyncClient
    ) -> None:
        self.control_plane = control_plane
        self.provider = provider
        self.browser = browser

    async def sign_in(self, name: str = "alice", following: str = "") -> httpx.Response:
        """All that a person does; the last answer."""
        url = self.control_plane.url
        begun_at = await oidc_browser.begin(self.browser, url, following)
        back = await self.provider.sign_in(self.browser, name, begun_at)
        assert str(back).startswith(url + BACK)
        assert (await self.browser.get(back)).headers["content-type"].startswith("text/html")
        return await oidc_browser.finish(self.browser, url, back.params)

    async def put_local(self, name: str, *roles: Role) -> None:
        """Make a user with a password here."""
        new = NewUser(name=name, roles=roles, password=PASSWORD)
        users = self.control_plane.services.identity.users
        await users.create(new, caller=make_principal(), by=actor())

    async def who(self) -> httpx.Response:
        """Who is signed in."""
        return await oidc_browser.session(self.browser, self.control_plane.url)


def config(provider: Glewlwyd, public_url: str, **fields: object) -> ControlConfig:
    oidc = OidcConfig(
        issuer=provider.issuer,
        client_id=CLIENT_ID,
        client_secret=CLIENT_SECRET,
        ca=provider.ca,
        roles=(("lpmos-admins", Role.ADMIN), ("noc", Role.OPERATOR), ("noc", Role.APPROVER)),
    )
    return ControlConfig(public_url=public_url, oidc=msgspec.structs.replace(oidc, **fields))


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        glewlwyd(tmp_path / "provider", url + BACK) as provider,
        open_store(tmp_path) as store,
        running(store, port=port, config=config(provider, url)) as control_plane,
        oidc_browser.browser(provider.tls) as browser,
    ):
        world = World(control_plane, provider, browser)
        await world.put_local("root", Role.ADMIN)
        yield world


async def test_login_at_the_provider_opens_a_session_with_the_mapped_roles(world: World) -> None:
    await world.provider.put_user("alice", ["noc", "staff"])
    answer = await world.sign_in(following="/tasks/create")
    assert (answer.status_code, answer.json()) == (200, {"next": "/tasks/create"})
    cookies = answer.headers.get_list("set-cookie")
    (opened,) = [each for each in cookies if each.startswith(COOKIE)]
    assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(opened.split("; "))
    session = (await world.who()).json()
    assert (session["name"], session["display_name"]) == ("alice", "Alice")
    assert (session["roles"], session["tenant"]) == (["operator", "approver"], None)
    user = world.control_plane.services.identity.users.documents.get("alice")
    assert user is not None
    assert (user.document.source, user.document.password_hash) == ("oidc", None)
    opened_event = await world.control_plane.audited(action="session.opened")
    assert (opened_event.actor.name, opened_event.actor.address) == ("alice", "127.0.0.1")
    made = await world.control_plane.audited(action="user.created")
    assert (made.actor.credential, made.actor.address) == ("oidc", "127.0.0.1")


async def test_group_taken_away_takes_its_role_at_the_next_login(world: World) -> None:
    await world.provider.put_user("alice", ["lpmos-admins", "noc"])
    await world.sign_in()
    assert (await world.who()).json()["roles"] == ["operator", "approver", "admin"]
    await world.provider.put_user("alice", ["noc"])
    await world.sign_in()
    assert (await world.who()).json()["roles"] == ["operator", "approver"]


async def test_account_without_a_mapped_group_is_refused_and_leaves_no_user(world: World) -> None:
    await world.provider.put_user("bob", ["staff"])
    answer = await world.sign_in("bob")
    assert answer.status_code == 403
    assert "bob has no access here" in answer.json()["detail"]
    assert "groups: staff" in answer.json()["detail"]
    assert (await world.who()).status_code == 401
    assert world.control_plane.services.identity.users.documents.get("bob") is None
    event = await world.control_plane.audited(outcome="refused")
    assert (event.action, event.reason) == ("session.opened", "forbidden")
    assert event.after is not None and "bob" in event.after["detail"]


async def test_last_group_taken_away_ends_what_older_sessions_and_tokens_may_do(
    world: World,
) -> None:
    await world.provider.put_user("alice", ["noc"])
    await world.sign_in()
    url = f"{world.control_plane.url}/api/v1/tokens"
    new = await world.browser.post(url, json={"name": "ci"}, headers=oidc_browser.SAME_ORIGIN)
    assert new.status_code == 201
    await world.provider.put_user("alice", ["staff"])
    assert (await world.sign_in()).status_code == 403
    headers = {"Authorization": f"Bearer {new.json()['token']}"}
    tasks = f"{world.control_plane.url}/api/v1/tasks"
    assert (await world.browser.get(tasks, headers=headers)).status_code == 403
    assert (await world.browser.get(tasks)).status_code == 403
    await world.provider.put_user("alice", ["noc"])
    assert (await world.sign_in()).status_code == 200
    assert (await world.browser.get(tasks)).status_code == 200


async def test_local_user_of_the_same_name_is_never_taken_over(world: World) -> None:
    users = world.control_plane.services.identity.users
    await world.put_local("alice", Role.ADMIN)
    await world.provider.put_user("alice", ["noc"])
    answer = await world.sign_in()
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert "the name alice is taken by another user" in answer.json()["detail"]
    assert (await world.who()).status_code == 401
    held = users.documents.get("alice")
    assert held is not None
    assert (held.document.source, held.document.roles) == ("local", (Role.ADMIN,))
    login = {"username": "alice", "password": PASSWORD}
    local = await world.browser.post(f"{world.control_plane.url}/api/v1/login", json=login)
    assert local.status_code == 200


async def test_disabled_user_is_refused(world: World) -> None:
    await world.provider.put_user("alice", ["noc"])
    await world.sign_in()
    headers = {"Authorization": f"Bearer {world.control_plane.token}"}
    path = f"{world.control_plane.url}/api/v1/users/alice"
    done = await world.browser.patch(path, json={"disabled": True}, headers=headers)
    assert done.status_code == 200
    answer = await world.sign_in()
    assert (answer.status_code, "disabled" in answer.json()["detail"]) == (401, True)


async def test_code_that_was_used_is_refused_and_gives_no_second_session(world: World) -> None:
    await world.provider.put_user("alice", ["noc"])
    url = world.control_plane.url
    begun_at = await oidc_browser.begin(world.browser, url)
    cookies = dict(world.browser.cookies)
    back = await world.provider.sign_in(world.browser, "alice", begun_at)
    assert (await oidc_browser.finish(world.browser, url, back.params)).status_code == 200
    async with oidc_browser.browser() as thief:
        answer = await oidc_browser.finish(thief, url, back.params)
        assert (answer.status_code, "not begun" in answer.json()["detail"]) == (401, True)
        thief.cookies.update(cookies)  # with the attempt's cookie as well
        answer = await oidc_browser.finish(thief, url, back.params)
        assert (answer.status_code, "any more" in answer.json()["detail"]) == (401, True)
        assert (await oidc_browser.session(thief, url)).status_code == 401


async def test_answer_to_another_login_is_refused(world: World) -> None:
    await world.provider.put_user("alice", ["noc"])
    url = world.control_plane.url
    begun_at = await oidc_browser.begin(world.browser, url)
    back = await world.provider.sign_in(world.browser, "alice", begun_at)
    async with oidc_browser.browser() as victim:
        await oidc_browser.begin(victim, url)  # it has a login of its own under way
        answer = await oidc_browser.finish(victim, url, back.params)
        assert answer.status_code == 401
        assert (await oidc_browser.session(victim, url)).status_code == 401


async def test_keys_are_read_again_when_the_provider_rotates_them(world: World) -> None:
    await world.provider.put_user("alice", ["noc"])
    assert (await world.sign_in()).status_code == 200
    await world.provider.rotate_key()
    assert (await world.sign_in()).status_code == 200


async def test_provider_that_is_down_is_said_and_others_log_in(world: World) -> None:
    await world.put_local("carol", Role.VIEWER)
    await world.provider.stop()
    url = world.control_plane.url
    page = await world.browser.get(f"{url}/login/oidc")
    assert (page.status_code, page.headers["retry-after"]) == (503, "5")
    assert "identity provider cannot be reached" in page.text
    login = {"username": "carol", "password": PASSWORD}
    answer = await world.browser.post(
        f"{url}/api/v1/session", json=login, headers=oidc_browser.SAME_ORIGIN
    )
    assert (answer.status_code, (await world.who()).json()["name"]) == (200, "carol")


async def test_provider_that_goes_down_in_a_login_is_said(world: World) -> None:
    await world.provider.put_user("alice", ["noc"])
    url = world.control_plane.url
    begun_at = await oidc_browser.begin(world.browser, url)
    back = await world.provider.sign_in(world.browser, "alice", begun_at)
    await world.provider.stop()
    answer = await oidc_browser.finish(world.browser, url, back.params)
    assert (answer.status_code, answer.json()["code"]) == (503, "identity-provider-away")
    assert answer.headers["retry-after"] == "5"
    await world.provider.start()
    assert (await world.sign_in()).status_code == 200


async def test_logout_ends_the_session_and_the_next_login_opens_another(world: World) -> None:
    await world.provider.put_user("alice", ["noc"])
    await world.sign_in()
    cookie = world.browser.cookies[COOKIE]
    url = f"{world.control_plane.url}/api/v1/session"
    ended = await world.browser.delete(url, headers=oidc_browser.SAME_ORIGIN)
    assert ended.status_code == 204
    async with httpx.AsyncClient(cookies={COOKIE: cookie}, timeout=ANSWER_TIMEOUT_S) as copied:
        assert (await copied.get(url)).status_code == 401
    assert (await world.sign_in()).status_code == 200


async def test_login_begun_at_one_control_plane_ends_at_another(
    world: World, tmp_path: Path
) -> None:
    await world.provider.put_user("alice", ["noc"])
    first = world.control_plane
    settings = config(world.provider, first.url)
    async with running(first.store, config=settings) as second:
        begun_at = await oidc_browser.begin(world.browser, first.url)
        back = await world.provider.sign_in(world.browser, "alice", begun_at)
        answer = await oidc_browser.finish(world.browser, second.url, back.params)
        assert answer.status_code == 200
        for each in (first, second):
            session = await oidc_browser.session(world.browser, each.url)
            assert session.json()["name"] == "alice"


@pytest.mark.parametrize(
    ("tenant", "status", "seen"),
    [("acme", 200, "acme"), ("*", 200, None), (None, 403, None), ("Acme Inc.", 403, None)],
)
async def test_tenant_claim_bounds_the_user_and_is_never_guessed(
    world: World, tenant: str | None, status: int, seen: str | None
) -> None:
    await world.provider.put_user("alice", ["noc"], **({"tenant": tenant} if tenant else {}))
    first = world.control_plane
    settings = config(world.provider, first.url, tenant_claim="tenant")
    async with running(first.store, config=settings) as bounded:
        begun_at = await oidc_browser.begin(world.browser, bounded.url)
        back = await world.provider.sign_in(world.browser, "alice", begun_at)
        answer = await oidc_browser.finish(world.browser, bounded.url, back.params)
        assert answer.status_code == status
        if status == 200:
            session = await oidc_browser.session(world.browser, bounded.url)
            assert session.json()["tenant"] == seen
        else:
            assert "tenant" in answer.json()["detail"]


async def test_wrong_client_secret_is_the_operators_business(world: World) -> None:
    await world.provider.put_user("alice", ["noc"])
    first = world.control_plane
    settings = config(world.provider, first.url, client_secret="another")
    async with running(first.store, config=settings) as wrong:
        begun_at = await oidc_browser.begin(world.browser, wrong.url)
        back = await world.provider.sign_in(world.browser, "alice", begun_at)
        answer = await oidc_browser.finish(world.browser, wrong.url, back.params)
        assert answer.status_code == 503
        assert "another" not in answer.text
