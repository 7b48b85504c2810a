"""Signing in and out, in a real browser."""

import pytest
from playwright.async_api import Page, expect

from lpmos.model.access import Role
from tests.browser.conftest import PASSWORD, make_user
from tests.support.control_plane import RunningControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_login_with_a_wrong_password_says_so_and_with_the_right_one_opens(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "alice", Role.VIEWER)
    await page.goto(control_plane.url)
    await page.get_by_label("User name").fill("alice")
    await page.get_by_label("Password").fill("guess")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("is wrong")
    await expect(page.get_by_label("User name")).to_have_value("alice")
    await expect(page.get_by_label("Password")).to_have_value("")
    await page.keyboard.type(PASSWORD)  # the field has the focus
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()
    await expect(page.locator("#empty")).to_contain_text("No tasks yet")
    assert await page.evaluate("document.cookie") == ""
    assert await page.evaluate("localStorage.length + sessionStorage.length") == 0


async def test_login_with_a_wrong_token_says_so_and_with_the_right_one_opens(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await page.goto(control_plane.url)
    await page.get_by_role("button", name="Use a token instead").click()
    await page.get_by_label("Token").fill("guess")
    await page.get_by_role("button", name="Log in").click()
    await expect(page.get_by_role("alert")).to_contain_text("not valid")
    await page.get_by_label("Token").fill(control_plane.token)
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Tasks")).to_be_visible()


async def test_logout_closes_the_pages_and_ends_the_session(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    (cookie,) = await dashboard.context.cookies()
    await dashboard.get_by_role("button", name="Log out").click()
    await expect(dashboard.get_by_label("User name")).to_be_visible()
    await dashboard.goto(control_plane.url)
    await expect(dashboard.get_by_label("User name")).to_be_visible()
    name, value = str(cookie["name"]), str(cookie["value"])
    await dashboard.context.add_cookies([{"name": name, "value": value, "url": control_plane.url}])
    await dashboard.goto(control_plane.url)
    await expect(dashboard.get_by_label("User name")).to_be_visible()
