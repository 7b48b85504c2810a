"""Debian's Chromium on the real pages; a page that breaks our own rules fails its test.

One browser, and with it one event loop, serves all tests of a module; each has pages of its own.
"""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio
from playwright.async_api import Browser, ConsoleMessage, Page, Request, async_playwright, expect

from lpmos.control.access import COOKIE
from lpmos.model.access import Role
from lpmos.model.user import NewUser
from tests.support.builders import actor, make_principal
from tests.support.control_plane import RunningControlPlane, running_with_debian

PASSWORD = "correct horse battery"
"""Of every user that a test makes."""
TIMEOUT_MS = 30_000
ARGUMENTS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking")

AXE = Path(__file__).parents[2] / "web/node_modules/axe-core/axe.min.js"

expect.set_options(timeout=TIMEOUT_MS)


@pytest_asyncio.fixture(loop_scope="module")
async def control_plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    """A control plane that knows region dc1, which offers Debian 12."""
    async with running_with_debian(tmp_path) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """Chromium, as the package `chromium` installs it."""
    program = shutil.which("chromium")
    assert program, "these tests need Chromium: apt-get install chromium"
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A page that may ask only its own origin, break no policy and throw nothing."""
    context = await browser.new_context()
    page = await context.new_page()
    page.set_default_timeout(TIMEOUT_MS)
    wrong: list[str] = []
    hosts: set[str] = set()

    def hear(message: ConsoleMessage) -> None:
        if "Content Security Policy" in message.text or "Refused to" in message.text:
            wrong.append(message.text)

    def note(request: Request) -> None:
        hosts.add(request.url.split("/")[2])

    page.on("console", hear)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", note)
    yield page
    await context.close()
    assert not wrong
    assert len(hosts) <= 1


@pytest_asyncio.fixture(loop_scope="module")
async def dashboard(page: Page, control_plane: RunningControlPlane) -> Page:
    """The page of tasks, logged in and live."""
    await log_in(page, control_plane)
    return page


async def log_in(
    page: Page, control_plane: RunningControlPlane, token: str | None = None, address: str = "/"
) -> None:
    """Log in with the admin's token, or this one, as a person would; then go to `address`."""
    await page.goto(control_plane.url)
    await page.get_by_role("button", name="Use a token instead").click()
    await page.get_by_label("Token").fill(token or control_plane.token)
    await page.get_by_role("button", name="Log in").click()
    await expect(page.locator("#connection")).to_have_text("live")
    if address != "/":
        await page.goto(control_plane.url + address)
        await expect(page.locator("#connection")).to_have_text("live")


async def make_user(
    control_plane: RunningControlPlane, name: str, *roles: Role, called: str = ""
) -> None:
    """Make a user with the usual password."""
    new = NewUser(name=name, roles=roles, password=PASSWORD, display_name=called)
    users = control_plane.services.identity.users
    await users.create(new, caller=make_principal(), by=actor())


async def signed_in(
    page: Page, control_plane: RunningControlPlane, place: str | None = None, user: str = ""
) -> None:
    """Be signed in as the admin, or as a user with the usual password; then open a page."""
    login = {"username": user, "password": PASSWORD} if user else {"token": control_plane.token}
    answer = await page.request.post(f"{control_plane.url}/api/v1/session", data=login)
    assert answer.ok, await answer.text()
    assert [cookie["name"] for cookie in await page.context.cookies()] == [COOKIE]
    if place is not None:
        await page.goto(f"{control_plane.url}{place}")


async def inaccessible(page: Page) -> list[str]:
    """What axe finds on the page that is serious or worse, with the elements."""
    await page.evaluate(AXE.read_text())
    found = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {rule['help']}: {[node['target'] for node in rule['nodes'][:5]]}"
        for rule in found["violations"]
        if rule["impact"] in {"serious", "critical"}
    ]
