"""The API's description in a browser: every call is there, opens, and can be found."""

import pytest
from playwright.async_api import Page, expect

from tests.browser.conftest import signed_in
from tests.support.control_plane import RunningControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_schema_page_shows_what_a_call_takes_and_answers(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await signed_in(page, control_plane, "/schema#create_task")
    call = page.locator("#create_task")
    await expect(call.get_by_text("Needs task:create")).to_be_visible()
    await expect(call.locator(".fields").first).to_contain_text("Idempotency-Key")
    await call.get_by_text("Example: smallest").click()
    await expect(call.locator("pre").first).to_contain_text('"os_type": "debian"')
    await call.get_by_text("A field is wrong").click()
    await expect(call).to_contain_text("/problems/invalid-input")
    await call.get_by_role("link", name="RootDiskHints").click()
    await expect(page.locator("#type-RootDiskHints")).to_contain_text("min_size_bytes")


async def test_schema_page_finds_calls_by_words(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await signed_in(page, control_plane, "/schema")
    await page.get_by_label("Find").fill("webhook secret")
    await expect(page.locator(".tag .call:visible")).to_have_count(2)
    await page.get_by_label("Find").fill("no such call")
    await expect(page.get_by_text("No call has that")).to_be_visible()


async def test_schema_page_needs_no_scrolling_sideways_on_a_phone(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await page.set_viewport_size({"width": 390, "height": 844})
    await signed_in(page, control_plane, "/schema#create_rule")
    await expect(page.locator("#create_rule")).to_contain_text("condition")
    assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
