"""The fleet's page: filters, live rows, many tasks at once, long lists, lost connections."""

import re
from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Locator, Page, expect

from lpmos.core.taskstore import moved
from lpmos.model.access import Role
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, Task, TaskError
from lpmos.store import keys, records
from lpmos.store.api import Put
from lpmos.store.sqlite import SqliteStore
from tests.browser.conftest import inaccessible, log_in
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.tcp_proxy import TcpProxy

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED = '<img src=x onerror="window.planted=1"><script>window.planted=1</script>'
AT_ONCE = 50
RECONNECT_MS = 60_000
"""The page tries again ever more seldom, at the end every 15 s."""


def _task(number: int, **fields: object) -> Task:
    """The task of another machine; the higher the number, the newer it is."""
    known: dict[str, object] = {
        "task_id": f"0b0b6f5e-0000-4000-8000-{number:012d}",
        "sn": f"SN-{number:05d}",
        "mac": f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}",
        "hostname": f"web-{number}",
        "created_at": NOW + timedelta(seconds=number),
    }
    return make_task(**(known | fields))


def _waiting(number: int, **fields: object) -> Task:
    disk = Disk(device="/dev/vda", size_bytes=8 * GIB, kind="ssd", serial=f"D{number}")
    inventory = make_inventory(disks=(disk,))
    plan = plan_disk(inventory, "auto", RootDiskHints(), GIB)
    known = {"status": Status.PENDING_APPROVAL, "hardware": inventory, "plan": plan}
    return _task(number, **(known | fields))


async def _fill(control_plane: RunningControlPlane, tasks: list[Task]) -> None:
    """Put many tasks, and wait until they are seen."""
    revision = 0
    for first in range(0, len(tasks), AT_ONCE):
        operations = [
            Put(keys.task(task.idc, task.sn), records.encode(task))
            for task in tasks[first : first + AT_ONCE]
        ]
        revision = (await control_plane.store.txn([], operations)).revision
    await control_plane.fleet.wait_for_revision(revision)


def _row(page: Page, name: str) -> Locator:
    return page.get_by_role("row").filter(
        has=page.get_by_role("link", name=re.compile(f"^{re.escape(name)}$"))
    )


def _rows(page: Page) -> Locator:
    """The rows of the table that show a task."""
    return (
        page.get_by_role("table", name="Tasks")
        .get_by_role("row")
        .filter(has=page.get_by_role("link"))
    )


def _count(page: Page, name: str) -> Locator:
    return page.get_by_role("group", name="Filter by state").get_by_role(
        "button", name=re.compile(f"[0-9] {name}$")
    )


async def test_table_follows_an_installation_without_a_reload(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await expect(dashboard.locator("#empty")).to_contain_text("No tasks yet")
    await dashboard.evaluate("window.loadedOnce = true")
    task = _task(1)
    await control_plane.put_task(task)
    row = _row(dashboard, "web-1")
    await expect(row).to_contain_text("Pending")
    await control_plane.change(task.task_id, lambda task: moved(task, Event.PREPARED, NOW))
    await expect(row).to_contain_text("Ready")
    for percent in (30, 55):
        progress = Progress(
            step="downloading",
            percent=percent,
            timestamp=NOW,
            bytes_done=percent * GIB // 100,
            bytes_total=GIB,
            bytes_per_second=50e6,
        )
        await control_plane.put_task(_task(1, status=Status.INSTALLING, progress=(progress,)))
        await expect(row).to_contain_text(f"downloading · {percent} %")
        await expect(row).to_contain_text("of 1.0 GiB · 48 MiB/s")
        await expect(row).to_contain_text("s left")
        await expect(row.get_by_role("progressbar")).to_have_attribute("value", str(percent))
    await expect(_count(dashboard, "Installing")).to_contain_text("1")
    error = TaskError(reason="digest differs", command="zstd -d", output="x", hint="build again")
    await control_plane.put_task(_task(1, status=Status.FAILED, error=error))
    await expect(row).to_contain_text("digest differs")
    await control_plane.put_task(_task(1, status=Status.COMPLETED))
    await expect(row).to_contain_text("Completed")
    assert await dashboard.evaluate("window.loadedOnce")


async def test_filters_are_in_the_address_and_go_back_and_forward(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.offer_debian("ams2")
    await _fill(
        control_plane,
        [
            _task(1, hostname="one", tags={"rack": "a1"}),
            _task(2, hostname="two", status=Status.FAILED, tags={"rack": "b2"}),
            _task(3, hostname="three", status=Status.CANCELLED, idc="ams2", os_type="rocky"),
            _task(4, hostname="four", tenant="acme"),
        ],
    )
    await expect(_rows(dashboard)).to_have_count(4)
    await _count(dashboard, "Failed").click()
    await expect(_rows(dashboard)).to_have_count(1)
    await _count(dashboard, "Cancelled").click()
    await expect(_rows(dashboard)).to_have_count(2)
    assert dashboard.url.endswith("/?status=failed%2Ccancelled")
    await dashboard.get_by_label("Region", exact=True).select_option("ams2")
    await expect(_rows(dashboard)).to_have_count(1)
    await dashboard.go_back()
    await expect(_rows(dashboard)).to_have_count(2)
    await dashboard.go_back()
    await expect(_rows(dashboard)).to_have_count(1)
    await expect(_row(dashboard, "two")).to_be_visible()
    await dashboard.go_forward()
    await expect(_rows(dashboard)).to_have_count(2)
    await dashboard.get_by_role("button", name="Clear filters").click()
    await expect(_rows(dashboard)).to_have_count(4)
    for label, typed, name in (
        ("Search", "SN-00002", "two"),
        ("Operating system", "rocky", "three"),
        ("Tag", "rack=a1", "one"),
        ("Tenant", "acme", "four"),
    ):
        await dashboard.get_by_label(label, exact=True).fill(typed)
        await expect(_rows(dashboard)).to_have_count(1)
        await expect(_row(dashboard, name)).to_be_visible()
        await dashboard.reload()
        await expect(dashboard.get_by_label(label, exact=True)).to_have_value(typed)
        await expect(_row(dashboard, name)).to_be_visible()
        await dashboard.get_by_role("button", name="Clear filters").first.click()
        await expect(_rows(dashboard)).to_have_count(4)
    await dashboard.get_by_role("columnheader").get_by_role("button", name="Machine").click()
    await expect(_rows(dashboard).first).to_contain_text("one")
    assert dashboard.url.endswith("/?sort=sn")
    await dashboard.goto(f"{control_plane.url}/?status=nonsense,failed&sort=nonsense")
    await expect(_rows(dashboard)).to_have_count(1)
    await dashboard.get_by_label("Search").fill("nobody has this name")
    await expect(dashboard.locator("#empty")).to_contain_text("No task matches")


async def test_figures_show_regions_and_the_last_hours_and_filter(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.offer_debian("ams2")
    await _fill(control_plane, [_task(1), _task(2, idc="ams2", status=Status.COMPLETED)])
    await dashboard.reload()
    regions = dashboard.get_by_role("region", name="Regions")
    await expect(regions.get_by_role("button", name="dc1")).to_contain_text("1 under way of 1")
    await regions.get_by_role("button", name="ams2").click()
    await expect(_rows(dashboard)).to_have_count(1)
    assert dashboard.url.endswith("/?idc=ams2")
    plot = dashboard.get_by_role("region", name="Last 6 hours")
    await expect(plot.get_by_role("img", name="completed")).to_be_visible()
    await plot.get_by_text("As a table").click()
    await expect(plot.get_by_role("row")).to_have_count(7)


async def test_long_list_is_shown_to_its_last_row(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _fill(control_plane, [_task(number) for number in range(1, 5001)])
    await dashboard.reload()
    table = dashboard.get_by_role("table", name="Tasks")
    await expect(table).to_have_attribute("aria-rowcount", "5001")
    await expect(_row(dashboard, "web-5000")).to_have_attribute("aria-rowindex", "2")
    assert await table.get_by_role("row").count() < 60
    await dashboard.keyboard.press("G")
    last = _row(dashboard, "web-1")
    await expect(last).to_be_in_viewport()
    await expect(last).to_have_attribute("aria-rowindex", "5001")
    await dashboard.evaluate("scrollTo(0, document.documentElement.scrollHeight / 2)")
    await expect(_row(dashboard, "web-2500")).to_be_visible()
    assert await table.get_by_role("row").count() < 60
    assert await inaccessible(dashboard) == []


async def test_new_tasks_do_not_move_the_rows_that_one_reads(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _fill(control_plane, [_task(number) for number in range(1, 301)])
    await dashboard.reload()
    await expect(_row(dashboard, "web-300")).to_be_visible()
    await dashboard.mouse.move(5, 5)
    await dashboard.evaluate("scrollTo(0, 3000)")
    await expect(_row(dashboard, "web-250")).to_be_in_viewport()
    before = await _row(dashboard, "web-250").bounding_box()
    await _fill(control_plane, [_task(number) for number in range(301, 313)])
    bar = dashboard.get_by_role("button", name="12 new tasks – show")
    await expect(bar).to_be_visible()
    after = await _row(dashboard, "web-250").bounding_box()
    assert before and after and abs(before["y"] - after["y"]) < 2
    await bar.click()
    await expect(_row(dashboard, "web-312")).to_be_in_viewport()
    await expect(bar).to_be_hidden()


async def test_many_are_approved_at_once_and_a_refusal_is_told_and_rolled_back(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _fill(control_plane, [_waiting(number) for number in range(1, 9)])
    for number in range(1, 9):
        await expect(_row(dashboard, f"web-{number}")).to_be_visible()
    await _row(dashboard, "web-8").get_by_role("checkbox").click()
    await _row(dashboard, "web-3").get_by_role("checkbox").click(modifiers=["Shift"])
    bar = dashboard.get_by_role("region", name="Selected tasks")
    await expect(bar).to_contain_text("6 selected")
    await bar.get_by_role("button", name="Select all 8").click()
    await expect(bar).to_contain_text("8 selected")
    await _row(dashboard, "web-1").get_by_role("checkbox").click()
    await bar.get_by_role("button", name="Approve 7").click()
    dialog = dashboard.get_by_role("dialog")
    await expect(dialog).to_contain_text("7 disks will be overwritten")
    await expect(dialog).to_contain_text("7 × /dev/vda · 8.0 GiB")
    await dialog.get_by_label("Notes").fill("rack a3")
    other = make_inventory(
        disks=(Disk(device="/dev/vdb", size_bytes=9 * GIB, kind="ssd", serial="OTHER"),)
    )
    plan = plan_disk(other, "auto", RootDiskHints(), GIB)
    await control_plane.put_task(_waiting(5, hardware=other, plan=plan))
    await dialog.get_by_role("button", name="Approve 7").click()
    await expect(dialog).to_contain_text("6 tasks done, 1 refused")
    refused = dialog.get_by_role("list", name="Refused")
    await expect(refused).to_contain_text("web-5")
    await expect(refused).to_contain_text("the disk plan is another now")
    await dialog.get_by_role("button", name="Close").click()
    await expect(bar).to_contain_text("1 selected")
    await expect(_row(dashboard, "web-5")).to_contain_text("Needs approval")
    for number in (2, 3, 4, 6, 7, 8):
        await expect(_row(dashboard, f"web-{number}")).to_contain_text("Approved")
    found = {task.hostname: task for task in control_plane.fleet.current_tasks()}
    assert found["web-5"].status is Status.PENDING_APPROVAL
    approval = found["web-2"].approval
    assert approval is not None and approval.notes == "rack a3"


async def test_many_are_rejected_cancelled_and_tried_again(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _fill(control_plane, [_waiting(1), _waiting(2), _task(3), _task(4)])
    bar = dashboard.get_by_role("region", name="Selected tasks")
    dialog = dashboard.get_by_role("dialog")

    async def act(button: str) -> None:
        await _rows(dashboard).first.get_by_role("checkbox").click()
        await bar.get_by_role("button", name="Select all 4").click()
        await bar.get_by_role("button", name=button).click()

    await expect(_rows(dashboard)).to_have_count(4)
    await act("Reject 2")
    await dialog.get_by_role("button", name="Reject 2").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("reason")
    await dialog.get_by_label("Reason").fill("wrong rack")
    await dialog.get_by_role("button", name="Reject 2").click()
    await expect(dialog).to_contain_text("2 tasks done")
    await dialog.get_by_role("button", name="Close").click()
    await expect(_row(dashboard, "web-1")).to_contain_text("Rejected")
    await expect(bar).to_contain_text("2 selected")
    await bar.get_by_role("button", name="Cancel task 2").click()
    await dialog.get_by_role("button", name="Cancel task 2").click()
    await expect(dialog).to_contain_text("2 tasks done")
    await dialog.get_by_role("button", name="Close").click()
    await expect(_row(dashboard, "web-4")).to_contain_text("Cancelled")
    await expect(bar).to_be_hidden()
    await act("Try again 4")
    await dialog.get_by_role("button", name="Try again 4").click()
    await expect(dialog).to_contain_text("4 tasks done")
    await dialog.get_by_role("button", name="Close").click()
    await expect(_count(dashboard, "All")).to_contain_text("8")


async def test_row_is_approved_through_the_dialog(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(_waiting(1))
    await _row(dashboard, "web-1").get_by_role("button", name="Approve").click()
    dialog = dashboard.get_by_role("dialog")
    await expect(dialog).to_contain_text("D1")
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog).to_be_hidden()
    await expect(_row(dashboard, "web-1")).to_contain_text("Approved")


async def test_keys_move_select_search_and_open(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _fill(control_plane, [_task(number) for number in range(1, 101)])
    await expect(_row(dashboard, "web-100")).to_be_visible()
    for _ in range(3):
        await dashboard.keyboard.press("j")
    await expect(_row(dashboard, "web-98").get_by_role("link")).to_be_focused()
    await dashboard.keyboard.press("ArrowUp")
    await expect(_row(dashboard, "web-99").get_by_role("link")).to_be_focused()
    await dashboard.keyboard.press("x")
    await expect(_row(dashboard, "web-99").get_by_role("checkbox")).to_be_checked()
    for _ in range(30):
        await dashboard.keyboard.press("j")
    await expect(_row(dashboard, "web-69").get_by_role("link")).to_be_focused()
    await expect(_row(dashboard, "web-69")).to_be_in_viewport()
    await dashboard.keyboard.press("Shift+X")
    bar = dashboard.get_by_role("region", name="Selected tasks")
    await expect(bar).to_contain_text("31 selected")
    await dashboard.keyboard.press("Escape")
    await expect(bar).to_be_hidden()
    await dashboard.keyboard.press("?")
    await expect(dashboard.get_by_role("dialog", name="Keys")).to_be_visible()
    await dashboard.keyboard.press("Escape")
    await expect(dashboard.get_by_role("dialog")).to_have_count(0)
    await dashboard.keyboard.press("/")
    await expect(dashboard.get_by_label("Search")).to_be_focused()
    await dashboard.keyboard.type("web-42")
    await expect(_rows(dashboard)).to_have_count(1)
    await dashboard.keyboard.press("Escape")
    await dashboard.keyboard.press("j")
    await dashboard.keyboard.press("Enter")
    await expect(dashboard).to_have_url(re.compile(r"/tasks/[0-9a-f-]{36}$"))
    await dashboard.go_back()
    await expect(_rows(dashboard)).to_have_count(1)


async def test_viewer_sees_no_action(page: Page, control_plane: RunningControlPlane) -> None:
    await _fill(control_plane, [_waiting(1), _task(2, status=Status.FAILED)])
    await log_in(page, control_plane, await control_plane.as_user([Role.VIEWER]))
    await expect(_rows(page)).to_have_count(2)
    table = page.get_by_role("table", name="Tasks")
    await expect(table.locator("[role=rowgroup]").nth(1).get_by_role("button")).to_have_count(0)
    await expect(table.get_by_role("checkbox")).to_have_count(0)
    await expect(page.get_by_role("link", name="New task")).to_have_count(0)


async def test_tenants_user_sees_its_own_tasks_and_no_filter_by_tenant(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await _fill(control_plane, [_task(1), _task(2, tenant="acme")])
    await log_in(page, control_plane, await control_plane.as_user([Role.OPERATOR], "acme"))
    await expect(_rows(page)).to_have_count(1)
    await expect(_row(page, "web-2")).to_be_visible()
    await expect(page.get_by_label("Tenant", exact=True)).to_have_count(0)


async def test_planted_markup_is_shown_as_text_and_never_runs(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    def planted(number: int, **fields: object) -> Task:
        known: dict[str, object] = {
            "hostname": PLANTED,
            "sn": f"sn-{PLANTED}{number}".replace("/", "|"),
            "os_type": PLANTED,
            "os_version": PLANTED,
            "tags": {PLANTED: PLANTED},
            "tenant": PLANTED,
            "created_by": PLANTED,
        }
        return _task(number, **(known | fields))

    disk = Disk(
        device=PLANTED, size_bytes=8 * GIB, kind="ssd", model=PLANTED, serial=PLANTED, contents=()
    )
    inventory = make_inventory(disks=(disk,))
    plan = plan_disk(inventory, "auto", RootDiskHints(), GIB)
    progress = Progress(step=PLANTED, percent=1, timestamp=NOW, message=PLANTED)
    error = TaskError(reason=PLANTED, command=PLANTED, output=PLANTED, hint=PLANTED)
    await _fill(
        control_plane,
        [
            planted(1, status=Status.INSTALLING, progress=(progress,)),
            planted(2, status=Status.FAILED, error=error),
            planted(3, status=Status.PENDING_APPROVAL, hardware=inventory, plan=plan),
        ],
    )
    await dashboard.reload()
    await expect(_rows(dashboard)).to_have_count(3)
    await expect(_rows(dashboard).nth(1)).to_contain_text(PLANTED)
    await _rows(dashboard).first.get_by_role("checkbox").click()
    await dashboard.get_by_role("button", name="Approve 1").click()
    await expect(dashboard.get_by_role("dialog")).to_contain_text(PLANTED)
    await dashboard.get_by_role("button", name="Back").click()
    await dashboard.get_by_label("Search").fill(PLANTED)
    await expect(dashboard.locator("main")).to_contain_text(PLANTED)
    assert await dashboard.evaluate("window.planted") is None
    assert await dashboard.locator("main script, main img").count() == 0


async def test_phone_has_no_sideways_scrolling(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.set_viewport_size({"width": 390, "height": 844})
    await _fill(control_plane, [_waiting(1, hostname="a-rather-long-name-of-a-machine-in-rack-17")])
    await expect(_rows(dashboard)).to_have_count(1)
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await dashboard.evaluate(wide)
    button = _rows(dashboard).get_by_role("button", name="Approve")
    await button.scroll_into_view_if_needed()
    await expect(button).to_be_in_viewport(ratio=1)
    assert await inaccessible(dashboard) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_page_with_everything_on_it_is_accessible(
    page: Page, control_plane: RunningControlPlane, scheme: str
) -> None:
    await page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    progress = Progress(step="downloading", percent=30, timestamp=NOW)
    error = TaskError(reason="digest differs", command="x", output="x", hint="x")
    states = [_task(n, status=status) for n, status in enumerate(Status, 10)]
    installing = _task(2, status=Status.INSTALLING, progress=(progress,))
    failed = _task(3, status=Status.FAILED, error=error)
    await _fill(control_plane, [*states, _waiting(1), installing, failed])
    await log_in(page, control_plane)
    await expect(_rows(page)).to_have_count(len(states) + 3)
    await _rows(page).first.get_by_role("checkbox").click()
    assert await inaccessible(page) == []
    await page.get_by_role("button", name="Select all").click()
    await page.get_by_role("button", name=re.compile(r"^Approve \d")).click()
    await expect(page.get_by_role("dialog")).to_contain_text("will be overwritten")
    assert await inaccessible(page) == []


async def test_dropped_connection_is_resumed_and_nothing_is_missed(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await _fill(control_plane, [_task(1), _task(2)])
    async with TcpProxy(control_plane.port) as proxy:
        await page.goto(f"http://127.0.0.1:{proxy.port}")
        await page.get_by_role("button", name="Use a token instead").click()
        await page.get_by_label("Token").fill(control_plane.token)
        await page.get_by_role("button", name="Log in").click()
        await expect(page.locator("#connection")).to_have_text("live")
        await expect(_row(page, "web-1")).to_contain_text("Pending")
        await proxy.cut()
        await expect(page.locator("#connection")).to_contain_text("reconnecting…")
        changed = _task(1)
        await control_plane.change(changed.task_id, lambda task: moved(task, Event.PREPARED, NOW))
        await control_plane.put_task(_task(3, hostname="meanwhile"))
        await proxy.heal()
        await expect(page.locator("#connection")).to_have_text("live", timeout=RECONNECT_MS)
        await expect(_row(page, "web-1")).to_contain_text("Ready")
        await expect(_row(page, "meanwhile")).to_be_visible()


async def test_page_goes_on_after_a_restart_of_the_control_plane(
    page: Page, tmp_path: Path
) -> None:
    async with open_store(tmp_path) as store:
        port = await _first_life(page, store)
        await expect(page.locator("#connection")).to_contain_text("reconnecting…")
        async with running(store, port=port) as second:
            await second.put_task(_task(2, hostname="meanwhile"))
            await expect(page.locator("#connection")).to_have_text("live", timeout=RECONNECT_MS)
            await expect(_row(page, "meanwhile")).to_be_visible()
            await expect(_row(page, "before")).to_be_visible()


async def _first_life(page: Page, store: SqliteStore) -> int:
    async with running(store) as first:
        await first.put_task(_task(1, hostname="before"))
        await log_in(page, first)
        await expect(_row(page, "before")).to_be_visible()
        return first.port
