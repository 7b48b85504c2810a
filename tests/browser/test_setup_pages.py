"""Templates and rules in a browser, and what happens when a session ends in the middle."""

import re
from collections import Counter

import pytest
from playwright.async_api import Page, expect

from lpmos.model.access import Role
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from tests.browser.conftest import PASSWORD, make_user, signed_in
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.populated import populate

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED = "<script>window.planted=1</script>"


async def waiting_task(control_plane: RunningControlPlane) -> Task:
    """A task whose machine has reported."""
    inventory = make_inventory()
    plan = plan_disk(inventory, "auto", RootDiskHints(), GIB)
    task = make_task(
        status=Status.PENDING_APPROVAL, hardware=inventory, plan=plan, hostname="web-17"
    )
    await control_plane.put_task(task)
    await control_plane.seen(task)
    return task


async def type_into_editor(page: Page, text: str) -> None:
    """Replace what stands in the editor."""
    await page.get_by_role("textbox", name="Content of the template").click()
    await page.keyboard.press("Control+a")
    await page.keyboard.insert_text(text)


async def test_template_is_checked_as_typed_previewed_saved_and_compared(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await waiting_task(control_plane)
    await signed_in(page, control_plane, "/templates")
    await page.get_by_role("link", name="New template").click()
    await page.get_by_label("Name").fill("base.ks")
    await type_into_editor(page, "{{ task.hostname ")
    await expect(page.locator(".mistake")).not_to_have_count(0)
    await type_into_editor(page, f"host {{{{ task.hostname }}}}\n{PLANTED}\n")
    await expect(page.locator(".mistake")).to_have_count(0)
    await page.get_by_role("button", name="Save a new version").click()
    await expect(page).to_have_url(re.compile("/templates/base.ks$"))
    await page.get_by_role("button", name="Preview").click()
    await expect(page.locator("pre")).to_contain_text("host web-17")
    await type_into_editor(page, f"name {{{{ task.hostname }}}}\n{PLANTED}\n")
    await expect(page.locator("pre")).to_contain_text("name web-17")
    await page.get_by_role("button", name="Save a new version").click()
    await expect(page.get_by_text("saved as version 2")).to_be_visible()
    versions = page.get_by_role("region", name="Versions")
    await versions.get_by_role("button", name="Compare").last.click()
    await expect(versions.locator(".removed")).to_contain_text("host {{")
    await expect(versions.locator(".added")).to_contain_text("name {{")
    assert await page.evaluate("window.planted") is None


async def test_template_that_somebody_else_saved_meanwhile_is_not_overwritten(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await signed_in(page, control_plane, "/templates")
    url = f"{control_plane.url}/api/v1/templates/shared"
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    assert (await page.request.put(url, data={"content": "first"}, headers=headers)).ok
    await page.goto(f"{control_plane.url}/templates/shared")
    await expect(page.get_by_role("textbox", name="Content")).to_have_value(re.compile("first"))
    await type_into_editor(page, "mine")
    assert (await page.request.put(url, data={"content": "theirs"}, headers=headers)).ok
    await page.get_by_role("button", name="Save a new version").click()
    await expect(page.get_by_role("alert")).to_contain_text("Show what is there now")
    await expect(page.get_by_role("textbox", name="Content")).to_have_value(re.compile("mine"))
    await page.get_by_role("button", name="Show what is there now").click()
    await expect(page.get_by_role("textbox", name="Content")).to_have_value(re.compile("theirs"))


async def test_rule_is_tried_before_it_is_made_and_a_wrong_condition_is_named(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await populate(control_plane)
    await signed_in(page, control_plane, "/rules/new")
    await page.get_by_label("Name").fill("big")
    await page.get_by_label("Condition").fill("machine.cpu.cores >=")
    await page.get_by_role("button", name="Create").click()
    await expect(page.get_by_label("Condition")).to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Condition").fill("machine.cpu.cores >= 100000")
    await page.get_by_label("Description").fill(PLANTED)
    await page.get_by_role("button", name="Try it").click()
    await expect(
        page.get_by_role("heading", name=re.compile("It would match 0 of [1-9]"))
    ).to_be_visible()
    await page.get_by_role("button", name="Create").click()
    await expect(page).to_have_url(re.compile("/rules/big$"))
    await page.get_by_role("link", name="Rules", exact=True).first.click()
    await expect(page.get_by_role("row").filter(has_text="big")).to_contain_text(PLANTED)
    counts = Counter(row.status for row in control_plane.fleet.current_rows())
    assert counts[Status.PENDING_APPROVAL] > 0
    assert await page.evaluate("window.planted") is None


async def test_rule_shows_its_versions_and_what_each_changed(
    page: Page, control_plane: RunningControlPlane
) -> None:
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    rule = {"name": "big", "kind": "approve", "condition": "machine.cpu.cores >= 8"}
    made = await page.request.post(f"{control_plane.url}/api/v1/rules", data=rule, headers=headers)
    assert made.status == 201
    await signed_in(page, control_plane, "/rules/big")
    await expect(page.locator(".token.number").first).to_have_text("8")
    await page.get_by_label("Condition").fill("machine.cpu.cores >= 16")
    await page.get_by_role("button", name="Save").click()
    versions = page.get_by_role("region", name="Versions")
    await versions.get_by_text("changed").click()
    shown = versions.locator("details[open]")
    await expect(shown.locator(".added")).to_contain_text("machine.cpu.cores >= 16")
    await expect(shown.locator(".removed")).to_contain_text("machine.cpu.cores >= 8")


async def test_session_that_ends_in_the_middle_loses_nothing_that_was_typed(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "anna", Role.ADMIN)
    await signed_in(page, control_plane, "/rules/new", "anna")
    await page.get_by_label("Name").fill("kept")
    await page.get_by_label("Condition").fill("machine.cpu.cores >= 8")
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    ended = await page.request.delete(
        f"{control_plane.url}/api/v1/users/anna/sessions", headers=headers
    )
    assert ended.ok
    dialog = page.get_by_role("dialog", name="Your session has ended")
    await expect(dialog).to_be_visible()  # the live connection is told
    await dialog.get_by_label("Password").fill("guess")
    await dialog.get_by_role("button", name="Log in").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("wrong")
    await dialog.get_by_label("Password").fill(PASSWORD)
    await dialog.get_by_role("button", name="Log in").click()
    await expect(dialog).to_have_count(0)
    await expect(page.get_by_label("Name")).to_have_value("kept")
    await expect(page.get_by_label("Condition")).to_have_value("machine.cpu.cores >= 8")
    await page.get_by_role("button", name="Create").click()
    await expect(page).to_have_url(re.compile("/rules/kept$"))
    await expect(page.locator("#connection")).to_have_text("live")


async def test_planted_markup_is_text_in_templates_and_rules(
    page: Page, control_plane: RunningControlPlane
) -> None:
    task = make_task(status=Status.PENDING_APPROVAL, hardware=make_inventory(), hostname=PLANTED)
    await control_plane.put_task(task)
    await signed_in(page, control_plane, "/templates")
    api = f"{control_plane.url}/api/v1"
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    template = {"content": PLANTED, "description": PLANTED}
    rule = {"name": "planted", "kind": "approve", "condition": "true", "description": PLANTED}
    for answer in (
        await page.request.put(f"{api}/templates/planted", data=template, headers=headers),
        await page.request.post(f"{api}/rules", data=rule, headers=headers),
    ):
        assert answer.ok, await answer.text()
    for place in ("/templates", "/templates/planted", "/rules", "/rules/planted"):
        await page.goto(f"{control_plane.url}{place}")
        await expect(page.locator("main")).to_contain_text("planted")
        if place == "/templates/planted":
            await page.get_by_role("button", name="Preview").first.click()
        if place == "/rules/planted":
            await page.get_by_role("button", name=re.compile("^Try")).click()
            await expect(page.get_by_role("heading", name="It would match")).to_be_visible()
        assert await page.evaluate("window.planted") is None
        assert await page.locator("main img, main script").count() == 0
