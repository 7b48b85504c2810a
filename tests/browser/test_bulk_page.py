"""Many tasks from a file: seen, mended and checked before any of them is made."""

from pathlib import Path

import pytest
from playwright.async_api import FilePayload, Page, Route, expect

from lpmos.model.access import Role
from tests.browser.conftest import PASSWORD, inaccessible, log_in, make_user, signed_in
from tests.support.builders import make_task
from tests.support.control_plane import RunningControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

BULK = "/tasks/bulk"
HEADER = "idc,mac,sn,os_type,os_version,hostname"
PLANTED = '<img src=x onerror="window.planted=1"><script>window.planted=1</script>'


def _row(number: int, **cells: str) -> str:
    values = {
        "idc": "dc1",
        "mac": f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}",
        "sn": f"SN-{number}",
        "os_type": "debian",
        "os_version": "12",
        "hostname": f"web-{number}",
    }
    return ",".join((values | cells).values())


def _csv(*rows: str, header: str = HEADER) -> str:
    return "\r\n".join([header, *rows]) + "\r\n"


async def _load(page: Page, content: str | bytes, name: str = "rack.csv") -> None:
    data = content.encode() if isinstance(content, str) else content
    file = FilePayload(name=name, mimeType="text/csv", buffer=data)
    await page.get_by_label("Choose a file").set_input_files(file)


async def _open(page: Page, control_plane: RunningControlPlane) -> None:
    await page.goto(f"{control_plane.url}{BULK}")
    await expect(page.get_by_role("heading", name="Many tasks")).to_be_visible()


async def test_errors_stand_at_their_cells_are_mended_there_and_the_tasks_made(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    rows = [_row(1), _row(2, mac="52:54"), _row(3, os_version="99", hostname="-x")]
    await _load(dashboard, _csv(*rows))
    await dashboard.get_by_role("button", name="Check", exact=True).click()
    await expect(dashboard.get_by_text("2 with errors")).to_be_visible()
    wrong = dashboard.get_by_label("mac of row 2")
    await expect(wrong).to_have_attribute("aria-invalid", "true")
    await expect(dashboard.get_by_role("row").nth(2)).to_contain_text("is not a MAC address")
    await expect(dashboard.get_by_role("row").nth(3)).to_contain_text("is not a host name")
    assert list(control_plane.fleet.current_tasks()) == []
    await dashboard.get_by_label("Show").select_option("wrong")
    await expect(dashboard.locator("tbody tr")).to_have_count(2)
    await dashboard.get_by_label("Show").select_option("all")
    await wrong.fill("52:54:00:00:00:02")
    await dashboard.get_by_label("os_version of row 3").fill("12")
    await dashboard.get_by_label("hostname of row 3").fill("web-3")
    await dashboard.get_by_label("hostname of row 3").press("Tab")
    await dashboard.get_by_role("button", name="Create 3 tasks").click()
    await expect(dashboard.get_by_text("3 created")).to_be_visible()
    names = {task.hostname for task in control_plane.fleet.current_tasks()}
    assert names == {"web-1", "web-2", "web-3"}
    await expect(dashboard.get_by_role("link", name="created")).to_have_count(3)
    await expect(dashboard.get_by_role("button", name="Create 0 tasks")).to_be_disabled()


async def test_failed_rows_are_downloaded_and_loaded_again(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    await control_plane.put_task(make_task(sn="SN-2", mac="52:54:00:00:00:02"))
    await _open(dashboard, control_plane)
    await _load(dashboard, _csv(_row(1), _row(2), _row(3)))
    await dashboard.get_by_role("button", name="Create 3 tasks").click()
    await expect(dashboard.get_by_text("2 created")).to_be_visible()
    await expect(dashboard.get_by_role("row").nth(2)).to_contain_text("has task")
    async with dashboard.expect_download() as found:
        await dashboard.get_by_role("button", name="Download the 1 without a task").click()
    download = await found.value
    place = tmp_path / "failed.csv"
    await download.save_as(place)
    assert place.read_bytes().decode() == _csv(_row(2))
    await _load(dashboard, place.read_bytes(), "failed.csv")
    await expect(dashboard.get_by_text("1 rows", exact=True)).to_be_visible()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (_csv("dc1,x", header="idc,colour"), "“colour” is no column"),
        (_csv("dc1,x", header="idc,colour"), "“mac” is missing"),
        (_csv(_row(1)).encode("utf-16"), "UTF-16"),
        (_csv(_row(1, hostname="wäb")).encode("latin-1"), "not UTF-8"),
        (_csv('"dc1'), "opens a quote that never ends"),
        (_csv(), "no row below the header"),
        ("[{]", "not JSON"),
        ("{}", "must be an array"),
    ],
)
async def test_file_that_is_no_table_is_refused_with_what_to_do(
    dashboard: Page, control_plane: RunningControlPlane, content: str | bytes, said: str
) -> None:
    await _open(dashboard, control_plane)
    await _load(dashboard, content)
    await expect(dashboard.get_by_role("alert")).to_contain_text(said)
    await expect(dashboard.get_by_role("button", name="Create")).to_have_count(0)


async def test_duplicate_rows_are_told_of_each_other(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await _load(dashboard, _csv(_row(1), _row(2, sn="SN-1"), _row(3)))
    await dashboard.get_by_role("button", name="Check", exact=True).click()
    await expect(dashboard.get_by_role("row").nth(1)).to_contain_text("is in row 2 too")
    await expect(dashboard.get_by_role("row").nth(2)).to_contain_text("is in row 1 too")
    await expect(dashboard.get_by_role("row").nth(3)).to_contain_text("can be made")
    await dashboard.get_by_role("button", name="Leave row 2 out").click()
    await dashboard.get_by_role("button", name="Check", exact=True).click()
    await expect(dashboard.get_by_text("all can be made")).to_be_visible()


async def test_all_or_none_makes_none_while_a_row_is_wrong(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await _load(dashboard, _csv(_row(1), _row(2, mac="x")))
    await dashboard.get_by_label("All or none").check()
    await dashboard.get_by_role("button", name="Create 2 tasks").click()
    await expect(dashboard.get_by_role("alert")).to_contain_text("nothing was made")
    assert list(control_plane.fleet.current_tasks()) == []
    await dashboard.get_by_label("mac of row 2").fill("52:54:00:00:00:02")
    await dashboard.get_by_label("mac of row 2").press("Tab")
    await dashboard.get_by_role("button", name="Create 2 tasks").click()
    await expect(dashboard.get_by_text("2 created")).to_be_visible()


async def test_spreadsheet_rows_and_json_are_pasted(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await dashboard.get_by_text("Paste rows", exact=True).click()
    place = dashboard.get_by_label("Rows, with their header")
    await place.fill(_csv(_row(1)).replace(",", "\t"))
    await dashboard.get_by_role("button", name="Read the rows").click()
    await expect(dashboard.get_by_text("separated by tabs")).to_be_visible()
    await expect(dashboard.get_by_label("sn of row 1", exact=True)).to_have_value("SN-1")
    await place.fill(
        '[{"idc":"dc1","mac":"52:54:00:00:00:05","os_type":"debian","os_version":"12",'
        '"network_config":{"address":"192.0.2.5/24"},"tags":{"rack":"r7"}}]'
    )
    await dashboard.get_by_role("button", name="Read the rows").click()
    await expect(dashboard.get_by_label("tags.rack of row 1")).to_have_value("r7")
    await dashboard.get_by_role("button", name="Create 1 task").click()
    await expect(dashboard.get_by_text("1 created")).to_be_visible()
    (task,) = control_plane.fleet.current_tasks()
    assert task.tags == {"rack": "r7"}


async def test_file_to_begin_with_is_one_that_is_accepted(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    await _open(dashboard, control_plane)
    async with dashboard.expect_download() as found:
        await dashboard.get_by_role("button", name="Download a file to begin with").click()
    place = tmp_path / "begin.csv"
    await (await found.value).save_as(place)
    await _load(dashboard, place.read_bytes())
    await dashboard.get_by_role("button", name="Check", exact=True).click()
    await expect(dashboard.get_by_text("all can be made")).to_be_visible()


async def test_ten_thousand_rows_stay_usable(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    rows = [_row(number) for number in range(1, 10_001)]
    rows[9_000] = _row(9_001, mac="wrong")
    await _load(dashboard, _csv(*rows))
    await expect(dashboard.get_by_text("10000 rows", exact=True)).to_be_visible()
    await dashboard.get_by_role("button", name="Check", exact=True).click()
    await expect(dashboard.get_by_text("1 with errors")).to_be_visible(timeout=60_000)
    await dashboard.get_by_label("Show").select_option("wrong")
    cell = dashboard.get_by_label("mac of row 9001")
    await cell.fill("52:54:00:01:00:01")
    took = "performance.now() - window.began"
    await dashboard.evaluate("window.began = performance.now()")
    await cell.press("Tab")
    await expect(dashboard.get_by_text("1 with errors")).to_have_count(0)
    assert await dashboard.evaluate(took) < 2_000
    assert await dashboard.locator("tbody tr").count() <= 50


async def test_lost_answer_makes_no_row_twice(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    lost: list[str] = []

    async def lose(route: Route) -> None:
        if "dry_run" not in route.request.url and not lost:
            lost.append(route.request.url)
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await _open(dashboard, control_plane)
    await dashboard.route("**/api/v1/tasks/bulk*", lose)
    await _load(dashboard, _csv(_row(1), _row(2)))
    await dashboard.get_by_role("button", name="Create 2 tasks").click()
    await expect(dashboard.get_by_text("does not answer")).to_be_visible()
    await expect(dashboard.get_by_text("2 created")).to_be_visible()
    assert len(list(control_plane.fleet.current_tasks())) == 2


async def test_session_that_ends_in_the_middle_goes_on_after_sign_in(
    page: Page, control_plane: RunningControlPlane
) -> None:
    await make_user(control_plane, "olga", Role.OPERATOR)
    await signed_in(page, control_plane, user="olga")
    await _open(page, control_plane)
    await _load(page, _csv(_row(1), _row(2)))
    await page.context.clear_cookies()
    await page.get_by_role("button", name="Create 2 tasks").click()
    dialog = page.get_by_role("dialog")
    await dialog.get_by_label("Password").fill(PASSWORD)
    await dialog.get_by_role("button", name="Log in").click()
    await expect(page.get_by_text("2 created")).to_be_visible()


async def test_reload_keeps_what_was_mended(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    await _load(dashboard, _csv(_row(1)))
    await dashboard.get_by_label("hostname of row 1").fill("mended")
    await dashboard.get_by_label("hostname of row 1").press("Tab")
    await dashboard.reload()
    await expect(dashboard.get_by_label("hostname of row 1")).to_have_value("mended")
    await dashboard.get_by_role("button", name="Begin anew").click()
    await expect(dashboard.get_by_label("hostname of row 1")).to_have_count(0)


async def test_planted_markup_is_text_in_header_and_cells(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _open(dashboard, control_plane)
    planted = '"' + PLANTED.replace('"', '""') + '"'
    await _load(dashboard, _csv(_row(1, idc=planted, mac=planted, sn=planted, hostname=planted)))
    await dashboard.get_by_role("button", name="Check", exact=True).click()
    await expect(dashboard.get_by_text("1 with errors")).to_be_visible()
    await _load(dashboard, _csv("x", header=planted))
    await expect(dashboard.get_by_role("alert")).to_contain_text("<img")
    assert await dashboard.evaluate("window.planted") is None
    assert await dashboard.locator("main script, main img").count() == 0


async def test_phone_scrolls_the_table_and_not_the_page(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.set_viewport_size({"width": 390, "height": 800})
    await _open(dashboard, control_plane)
    await _load(dashboard, _csv(_row(1), _row(2)))
    await expect(dashboard.get_by_label("mac of row 2")).to_be_visible()
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await dashboard.evaluate(wide)
    assert await inaccessible(dashboard) == []


async def test_approver_may_not_make_tasks(page: Page, control_plane: RunningControlPlane) -> None:
    token = await control_plane.as_user([Role.APPROVER])
    await log_in(page, control_plane, token, BULK)
    await expect(page.get_by_text("do not include")).to_contain_text("task:create")
