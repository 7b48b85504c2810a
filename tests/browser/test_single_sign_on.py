"""Login at another site's identity provider, in a real browser with real cookie rules."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, expect

from lpmos.control.access import COOKIE
from lpmos.control.config import ControlConfig, OidcConfig
from lpmos.model.access import Role
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import free_port
from tests.support.oidc_glewlwyd import CLIENT_ID, CLIENT_SECRET, PASSWORD, Glewlwyd, glewlwyd

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIMEOUT_MS = 15_000


class World:
    """A control plane at 127.0.0.1 and a provider at localhost: to a browser two sites."""

    def __init__(self, control_plane: RunningControlPlane, provider: Glewlwyd, page: Page) -> None:
        self.control_plane = control_plane
        self.provider = provider
        self.page = page
        self.wrong: list[str] = []
        page.on("pageerror", lambda error: self.wrong.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            self.wrong.append(message.text)

    async def sign_in(self, name: str) -> None:
        """What a person types and clicks, from our page to the provider's last."""
        page = self.page
        await page.goto(self.control_plane.url)
        await page.get_by_role("link", name="Single sign-on").click()
        await page.wait_for_url(f"{self.provider.url}/**")
        await page.locator("#username").fill(name)
        await page.locator("#password").fill(PASSWORD)
        await page.keyboard.press("Enter")
        await page.get_by_role("button", name="Continue").click()


@pytest_asyncio.fixture(loop_scope="module")
async def world(browser: Browser, tmp_path: Path) -> AsyncIterator[World]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        glewlwyd(tmp_path / "provider", f"{url}/login/oidc/callback") as provider,
        open_store(tmp_path) as store,
    ):
        oidc = OidcConfig(
            issuer=provider.issuer,
            client_id=CLIENT_ID,
            client_secret=CLIENT_SECRET,
            ca=provider.ca,
            roles=(("noc", Role.OPERATOR),),
        )
        config = ControlConfig(public_url=url, oidc=oidc)
        async with running(store, port=port, config=config) as control_plane:
            context = await browser.new_context(ignore_https_errors=True)
            page = await context.new_page()
            page.set_default_timeout(TIMEOUT_MS)
            yield World(control_plane, provider, page)
            await context.close()


async def test_login_elsewhere_lands_on_the_dashboard_and_stays(world: World) -> None:
    await world.provider.put_user("alice", ["noc"])
    await world.sign_in("alice")
    page = world.page
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    await expect(page.locator("#connection")).to_have_text("live")
    assert page.url == f"{world.control_plane.url}/"
    cookies = {each["name"]: each for each in await page.context.cookies(world.control_plane.url)}
    assert list(cookies) == [COOKIE]
    assert (cookies[COOKIE]["sameSite"], cookies[COOKIE]["httpOnly"]) == ("Strict", True)
    await page.get_by_role("button", name="Log out").click()
    await expect(page.get_by_label("User name")).to_be_visible()
    assert world.wrong == []


async def test_login_elsewhere_without_a_role_says_what_is_missing(world: World) -> None:
    await world.provider.put_user("bob", ["staff"])
    await world.sign_in("bob")
    page = world.page
    await expect(page.get_by_role("alert")).to_contain_text("bob has no access here")
    await expect(page.get_by_role("alert")).to_contain_text("groups: staff")
    assert page.url == f"{world.control_plane.url}/login/oidc/callback"  # without the code
    await page.get_by_role("link", name="Back to the login page").click()
    await expect(page.get_by_label("User name")).to_be_visible()


async def test_provider_that_is_down_leaves_the_login_here(world: World) -> None:
    await world.provider.stop()
    page = world.page
    await page.goto(f"{world.control_plane.url}/login")
    await page.get_by_role("link", name="Single sign-on").click()
    await expect(page.get_by_role("alert")).to_contain_text("cannot be reached now")
    await page.get_by_role("link", name="Log in here instead").click()
    await expect(page.get_by_label("User name")).to_be_visible()


async def test_login_page_offers_no_provider_where_there_is_none(
    page: Page, control_plane: RunningControlPlane
) -> None:
    async with page.expect_response("**/api/v1/login/oidc"):
        await page.goto(f"{control_plane.url}/login")
    await expect(page.get_by_role("link", name="Single sign-on")).to_be_hidden()
