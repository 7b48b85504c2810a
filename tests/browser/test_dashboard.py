"""What a person does on the pages, in a real browser."""

from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from lpmos.core.taskstore import moved
from lpmos.model.access import Role
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, Task, TaskError
from lpmos.model.user import NewUser
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import NOW, actor, make_inventory, make_principal, make_task
from tests.support.control_plane import RunningControlPlane, open_store, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "correct horse battery"
PLANTED = '<img src=x onerror="window.planted=1"><script>window.planted=1</script>'


def _waiting(**fields: object) -> Task:
    inventory = make_inventory()
    plan = plan_disk(inventory, "auto", RootDiskHints(), GIB)
    known = {"status": Status.PENDING_APPROVAL, "hardware": inventory, "plan": plan}
    return make_task(**(known | fields))


async def test_login_with_a_wrong_password_says_so_and_with_the_right_one_opens(
    page: Page, control_plane: RunningControlPlane
) -> None:
    new = NewUser(name="alice", roles=(Role.VIEWER,), password=PASSWORD)
    users = control_plane.services.identity.users
    await users.create(new, caller=make_principal(), by=actor())
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


async def test_table_follows_an_installation_without_a_reload(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.evaluate("window.loadedOnce = true")
    task = make_task(hostname="web-1")
    await control_plane.put_task(task)
    row = dashboard.get_by_role("row").filter(has_text="web-1")
    await expect(row).to_contain_text("Pending")
    await control_plane.change(task.task_id, lambda task: moved(task, Event.PREPARED, NOW))
    await expect(row).to_contain_text("Ready")
    for percent in (30, 55):
        progress = Progress(
            step="downloading", percent=percent, timestamp=NOW, bytes_per_second=50e6
        )
        installing = make_task(hostname="web-1", status=Status.INSTALLING, progress=(progress,))
        await control_plane.put_task(installing)
        await expect(row).to_contain_text(f"downloading · {percent} % · 48 MiB/s")
        await expect(row.get_by_role("progressbar")).to_have_attribute("value", str(percent))
    await expect(dashboard.locator(".count", has_text="Installing")).to_contain_text("1")
    await control_plane.put_task(make_task(hostname="web-1", status=Status.COMPLETED))
    await expect(row).to_contain_text("Completed")
    assert await dashboard.evaluate("window.loadedOnce")


async def test_approve_shows_the_disk_and_takes_notes(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(_waiting(hostname="web-1"))
    row = dashboard.get_by_role("row").filter(has_text="web-1")
    await row.get_by_role("button", name="Approve").click()
    dialog = dashboard.get_by_role("dialog")
    await expect(dialog).to_contain_text("Install debian 12 on web-1?")
    await expect(dialog).to_contain_text("/dev/vda · 8.0 GiB · serial DISK01")
    await dialog.get_by_label("Notes").fill("rack a3")
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog).to_be_hidden()
    await expect(row).to_contain_text("Approved")
    (task,) = control_plane.fleet.current_tasks()
    assert task.approval is not None
    assert (task.approval.approved_by, task.approval.notes) == ("admin", "rack a3")


async def test_approve_of_hardware_that_changed_meanwhile_shows_it_and_keeps_the_notes(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(_waiting(hostname="web-1"))
    row = dashboard.get_by_role("row").filter(has_text="web-1")
    await row.get_by_role("button", name="Approve").click()
    dialog = dashboard.get_by_role("dialog")
    await expect(dialog).to_contain_text("serial DISK01")
    other = Disk(device="/dev/vda", size_bytes=8 * GIB, kind="ssd", serial="OTHER")
    changed = make_inventory(disks=(other,))
    plan = plan_disk(changed, "auto", RootDiskHints(), GIB)
    await control_plane.put_task(_waiting(hostname="web-1", hardware=changed, plan=plan))
    await dialog.get_by_label("Notes").fill("rack a3")
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("look again")
    await expect(dialog).to_contain_text("serial OTHER")
    await expect(dialog.get_by_label("Notes")).to_have_value("rack a3")
    (task,) = control_plane.fleet.current_tasks()
    assert task.status is Status.PENDING_APPROVAL
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog).to_be_hidden()
    await expect(row).to_contain_text("Approved")
    (task,) = control_plane.fleet.current_tasks()
    assert task.approval is not None and task.approval.notes == "rack a3"


async def test_reject_needs_a_reason(dashboard: Page, control_plane: RunningControlPlane) -> None:
    await control_plane.put_task(_waiting(hostname="web-1"))
    row = dashboard.get_by_role("row").filter(has_text="web-1")
    await row.get_by_role("button", name="Reject").click()
    dialog = dashboard.get_by_role("dialog")
    await dialog.get_by_role("button", name="Reject").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("reason")
    await dialog.get_by_label("Reason").fill("wrong rack")
    await dialog.get_by_role("button", name="Reject").click()
    await expect(row).to_contain_text("Rejected")
    await expect(row.get_by_role("button")).to_have_count(0)


async def test_decision_that_someone_else_made_first_is_told(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = _waiting(hostname="web-1")
    await control_plane.put_task(task)
    row = dashboard.get_by_role("row").filter(has_text="web-1")
    await row.get_by_role("button", name="Approve").click()
    dialog = dashboard.get_by_role("dialog")
    await expect(dialog).to_contain_text("DISK01")
    await control_plane.change(task.task_id, lambda task: moved(task, Event.CANCEL, NOW))
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("cancelled")


async def test_details_show_hardware_error_log_and_follow(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = _waiting(hostname="web-1", logs=("2026-01-02T03:04:05.000Z [INFO] first line",))
    await control_plane.put_task(task)
    await dashboard.get_by_role("link", name="web-1").click()
    panel = dashboard.locator("#details")
    await expect(panel).to_contain_text("netbooted")
    await expect(panel).to_contain_text("first line")
    error = TaskError(
        reason="digest differs", command="zstd -d", output="got 12ab", hint="build it again"
    )
    await control_plane.put_task(_waiting(hostname="web-1", status=Status.FAILED, error=error))
    for text in ("digest differs", "$ zstd -d", "got 12ab", "build it again"):
        await expect(panel).to_contain_text(text)
    await dashboard.keyboard.press("Escape")
    await expect(panel).to_be_hidden()


async def test_planted_markup_is_shown_as_text_and_never_runs(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    inventory = make_inventory()
    disk = type(inventory.disks[0])(
        device=PLANTED, size_bytes=8 * GIB, kind="ssd", model=PLANTED, serial=PLANTED
    )
    task = make_task(
        hostname=PLANTED,
        sn=f"sn-{PLANTED}".replace("/", "|"),
        os_type=PLANTED,
        status=Status.PENDING_APPROVAL,
        hardware=make_inventory(disks=(disk,)),
        plan=plan_disk(make_inventory(disks=(disk,)), "auto", RootDiskHints(), GIB),
        logs=(PLANTED,),
        tags={PLANTED: PLANTED},
        progress=(Progress(step=PLANTED, percent=1, timestamp=NOW, message=PLANTED),),
        created_by=PLANTED,
    )
    await control_plane.put_task(task)
    await expect(dashboard.get_by_role("link", name=PLANTED)).to_be_visible()
    await dashboard.get_by_role("link", name=PLANTED).click()
    await expect(dashboard.locator("#details pre")).to_contain_text(PLANTED)
    row = dashboard.locator("#tasks tr")
    await dashboard.keyboard.press("Escape")
    await row.get_by_role("button", name="Approve").click()
    await expect(dashboard.locator("#target")).to_contain_text(PLANTED)
    await dashboard.get_by_role("button", name="Back").click()
    failed = make_task(
        hostname=PLANTED,
        sn=task.sn,
        status=Status.FAILED,
        error=TaskError(reason=PLANTED, command=PLANTED, output=PLANTED, hint=PLANTED),
    )
    await control_plane.put_task(failed)
    await expect(row).to_contain_text("Failed")
    await expect(row.locator("td.progress")).to_contain_text(PLANTED)
    assert await dashboard.evaluate("window.planted") is None
    assert await dashboard.locator("main script, main img").count() == 0


async def test_page_reconnects_after_a_restart_and_reads_the_list_again(
    page: Page, tmp_path: Path
) -> None:
    async with open_store(tmp_path) as store:
        port = await _first_life(page, store)
        await expect(page.locator("#connection")).to_have_text("reconnecting…")
        async with running(store, port=port) as second:
            await second.put_task(make_task(task_id="b", sn="SN-2", hostname="meanwhile"))
            await expect(page.locator("#connection")).to_have_text("live")
            await expect(page.get_by_role("link", name="meanwhile")).to_be_visible()
            await expect(page.get_by_role("link", name="before")).to_be_visible()


async def _first_life(page: Page, store: SqliteStore) -> int:
    async with running(store) as first:
        await first.put_task(make_task(task_id="a", hostname="before"))
        await page.goto(first.url)
        await page.get_by_role("button", name="Use a token instead").click()
        await page.get_by_label("Token").fill(first.token)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.get_by_role("link", name="before")).to_be_visible()
        await expect(page.locator("#connection")).to_have_text("live")
        return first.port


async def test_create_form_names_the_wrong_field_and_makes_the_task(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.get_by_role("navigation").get_by_role("link", name="New task").click()
    await expect(dashboard.get_by_label("System")).to_have_value('["debian","12"]')
    await dashboard.get_by_label("MAC address").fill("52:54")
    await dashboard.get_by_role("button", name="Create task").click()
    field = dashboard.locator(".field", has_text="MAC address")
    await expect(field).to_contain_text("is not a MAC address")
    await dashboard.get_by_label("MAC address").fill("52-54-00-12-34-56")
    await dashboard.get_by_label("Host name").fill("web-9")
    await dashboard.get_by_role("button", name="Create task").click()
    await expect(dashboard.locator("#details")).to_contain_text("web-9")
    (task,) = control_plane.fleet.current_tasks()
    assert (task.mac, task.hostname) == ("52:54:00:12:34:56", "web-9")


async def test_counts_filter_the_table(dashboard: Page, control_plane: RunningControlPlane) -> None:
    await control_plane.put_task(make_task(task_id="a", hostname="one"))
    failed = make_task(task_id="b", sn="SN-2", hostname="two", status=Status.FAILED)
    await control_plane.put_task(failed)
    await expect(dashboard.locator("#tasks tr")).to_have_count(2)
    await dashboard.get_by_role("button", name="Failed").click()
    await expect(dashboard.locator("#tasks tr")).to_have_count(1)
    await expect(dashboard.get_by_role("link", name="two")).to_be_visible()


async def test_keyboard_alone_opens_a_task_and_approves_it(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(_waiting(hostname="web-1"))
    await dashboard.get_by_role("link", name="web-1").focus()
    await dashboard.keyboard.press("Enter")
    panel = dashboard.locator("#details")
    await expect(panel).to_be_focused()
    await expect(panel.get_by_role("button", name="Approve")).to_be_visible()
    await dashboard.keyboard.press("Tab")
    await dashboard.keyboard.press("Enter")
    await expect(dashboard.get_by_role("dialog")).to_contain_text("DISK01")
    await dashboard.keyboard.press("Tab")
    await dashboard.keyboard.press("Tab")
    await dashboard.keyboard.press("Enter")
    row = dashboard.locator("#tasks tr")
    await expect(row).to_contain_text("Approved")


async def test_phone_has_no_sideways_scrolling(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.set_viewport_size({"width": 360, "height": 740})
    await control_plane.put_task(_waiting(hostname="a-rather-long-name-of-a-machine-in-rack-17"))
    await expect(dashboard.locator("#tasks tr")).to_have_count(1)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await dashboard.evaluate(wide)
    await expect(dashboard.get_by_role("button", name="Approve", exact=True)).to_be_in_viewport()


async def test_description_of_the_api_is_shown(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.get_by_role("link", name="API").click()
    await expect(dashboard.get_by_role("heading", name="LPMOS API")).to_be_visible()
    operation = dashboard.locator("#create_task")
    await operation.locator("summary").first.click()
    await expect(operation.get_by_role("link", name="NewTask").first).to_be_visible()
