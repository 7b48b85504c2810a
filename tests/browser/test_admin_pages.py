"""Users, tokens, webhooks and the audit log in a browser, as administrators and others use them."""

import re

import pytest
from playwright.async_api import Page, expect

from lpmos.model.access import Role
from lpmos.model.lifecycle import Status
from tests.browser.conftest import PASSWORD, make_user, signed_in
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.receiver import receiving

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED = '<img src=x onerror="window.planted=1">'


async def test_users_page_makes_changes_and_deletes_a_user(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await signed_in(page, control_plane, "/users")
    await page.get_by_role("button", name="New user").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("User name").fill("olga")
    await dialog.get_by_label("Full name").fill(PLANTED)
    await dialog.get_by_label("Password").fill("short")
    await dialog.get_by_role("button", name="Create").click()
    await expect(dialog.get_by_label("Password")).to_have_attribute("aria-invalid", "true")
    await expect(dialog.get_by_label("Full name")).to_have_value(PLANTED)
    await dialog.get_by_label("Password").fill(PASSWORD)
    await dialog.get_by_role("button", name="Create").click()
    line = page.get_by_role("group").filter(has_text="olga")
    await expect(line).to_contain_text(PLANTED)
    await line.locator("summary").click()
    await line.get_by_role("button", name="Change", exact=True).click()
    await dialog.get_by_label("operator").check()
    await dialog.get_by_role("button", name="Save").click()
    await expect(line).to_contain_text("viewer, operator")
    await line.get_by_role("button", name="Delete").click()
    await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    await expect(page.get_by_text("olga is deleted")).to_be_visible()
    assert await page.evaluate("window.planted") is None
    event = await control_plane.audited(action="user.deleted")
    assert event.target == "user/olga"


async def test_account_page_makes_a_token_that_works_and_revokes_it(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "otto", Role.OPERATOR)
    await signed_in(page, control_plane, "/account", user="otto")
    await page.get_by_text("New token", exact=True).click()
    await page.get_by_label("Name", exact=True).fill("ci")
    await page.get_by_role("button", name="Make the token").click()
    token = await page.locator(".shown code").inner_text()
    bearer = {"Authorization": f"Bearer {token}"}
    anybody = await page.context.browser.new_context()  # type: ignore[union-attr]
    url = f"{control_plane.url}/api/v1/tasks"
    assert (await anybody.request.get(url, headers=bearer)).status == 200
    await page.get_by_role("button", name="I have it").click()
    await expect(page.get_by_text(token)).to_have_count(0)
    await page.get_by_role("button", name="Revoke").click()
    await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
    await expect(page.get_by_text("No API tokens.")).to_be_visible()
    assert (await anybody.request.get(url, headers=bearer)).status == 401
    await anybody.close()


async def test_account_page_changes_the_password_only_with_the_old_one(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "vera", Role.VIEWER)
    await signed_in(page, control_plane, "/account", user="vera")
    await page.get_by_label("Old password").fill("a wrong old password")
    await page.get_by_label("New password").fill("another correct horse")
    await page.get_by_label("The same again").fill("another correct horse!")
    await expect(page.get_by_text("This is not the same.")).to_be_visible()
    await page.get_by_label("The same again").fill("another correct horse")
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_role("alert").or_(page.locator("em"))).not_to_have_count(0)
    await page.get_by_label("Old password").fill(PASSWORD)
    await page.get_by_role("button", name="Change the password").click()
    await expect(page.get_by_text("all other sessions have ended")).to_be_visible()


async def test_navigation_shows_only_what_the_reader_may_see(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "sam", Role.VIEWER)
    await signed_in(page, control_plane, "/rules", user="sam")
    navigation = page.get_by_role("navigation", name="Pages")
    await expect(navigation.get_by_role("link", name="Rules")).to_be_visible()
    await expect(navigation.get_by_role("link", name="Audit")).to_have_count(0)
    await expect(navigation.get_by_role("link", name="Users")).to_have_count(0)
    await expect(page.get_by_text("New rule")).to_have_count(0)
    await page.goto(f"{control_plane.url}/audit")
    await expect(page.get_by_text("do not include")).to_contain_text("audit:read")


async def test_webhooks_page_sends_a_test_and_shows_the_delivery(
    page: Page, control_plane: RunningControlPlane
) -> None:
    async with receiving() as receiver:
        await signed_in(page, control_plane, "/webhooks")
        await page.get_by_role("button", name="New webhook").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Name").fill("chat")
        await dialog.get_by_label("Address").fill("no address")
        await dialog.get_by_role("button", name="Create").click()
        await expect(dialog.get_by_label("Address")).to_have_attribute("aria-invalid", "true")
        await dialog.get_by_label("Address").fill(receiver.url)
        await dialog.get_by_role("button", name="Create").click()
        await expect(page.locator(".shown code")).to_have_text(re.compile("^whsec_"))
        line = page.get_by_role("group").filter(has_text="chat")
        await line.locator("summary").click()
        await line.get_by_role("button", name="Send a test").click()
        await expect(page.get_by_text("chat took it in")).to_be_visible()


async def test_audit_page_finds_what_was_done_and_shows_before_and_after(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "rita", Role.VIEWER, called=PLANTED)
    await control_plane.audited(action="user.created", target="user/rita")
    await signed_in(page, control_plane, "/audit")
    await page.get_by_label("Action").fill("user.")
    await page.get_by_label("Action").press("Enter")
    await expect(page).to_have_url(re.compile("action=user"))
    entry = page.get_by_role("group").filter(has_text="user/rita")
    await entry.locator("summary").click()
    await expect(entry).to_contain_text(PLANTED)
    await expect(entry.get_by_role("row").filter(has_text="roles")).to_contain_text("viewer")
    assert await page.evaluate("window.planted") is None
    await page.reload()
    await expect(page.get_by_label("Action")).to_have_value("user.")


async def test_planted_markup_is_text_in_names_reasons_and_user_agents(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "rita", Role.ADMIN)
    await page.set_extra_http_headers({"User-Agent": PLANTED})
    await signed_in(page, control_plane, "/account", user="rita")
    api = f"{control_plane.url}/api/v1"
    headers = {"Authorization": f"Bearer {control_plane.token}", "User-Agent": PLANTED}
    token = {"name": PLANTED, "roles": ["admin"]}
    webhook = {"name": PLANTED, "url": "http://127.0.0.1:9/<img>", "events": ["user.*"]}
    task = make_task(status=Status.PENDING_APPROVAL, hardware=make_inventory())
    await control_plane.put_task(task)
    rejected = f"{api}/tasks/{task.task_id}/reject"
    for answer in (
        await page.request.post(f"{api}/tokens?user=rita", data=token, headers=headers),
        await page.request.post(f"{api}/webhooks", data=webhook, headers=headers),
        await page.request.put(rejected, data={"reason": PLANTED}, headers=headers),
    ):
        assert answer.ok, await answer.text()
    await control_plane.audited(action="task.rejected")
    for place in ("/users?user=rita", "/webhooks", "/audit?action=task.rejected"):
        await page.goto(f"{control_plane.url}{place}")
        if "audit" in place:
            await page.get_by_role("group").first.locator("summary").click()
        await expect(page.get_by_text(PLANTED).first).to_be_visible()
        assert await page.evaluate("window.planted") is None
        assert await page.locator("main img, main script").count() == 0
