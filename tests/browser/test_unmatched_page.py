"""Machines without a task: found, matched in two clicks, used for a task, or dismissed."""

from datetime import datetime, timedelta

import pytest
from playwright.async_api import Page, expect

from lpmos.model.access import Role
from lpmos.model.inventory import Product
from lpmos.model.machine import UnmatchedReport
from lpmos.model.task import Task
from lpmos.store import keys, records
from tests.browser.conftest import inaccessible, log_in
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED = '<img src=x onerror="window.planted=1">'


def _mac(number: int) -> str:
    return f"52:54:00:00:01:{number:02x}"


async def _report(
    control_plane: RunningControlPlane,
    number: int,
    sn: str | None = None,
    *,
    at: datetime = NOW,
    product: Product | None = None,
    error: str = "no task for this machine",
) -> str:
    """A report of machine SN-<number>; its id."""
    report = UnmatchedReport(
        mac_address=_mac(number),
        region="dc1",
        sn=sn or f"SN-{number}",
        hardware=make_inventory(product=product or Product(vendor="Example", name="Server 1U")),
        received_at=at,
        error=error,
    )
    key = keys.unmatched("dc1", at, report.mac_address)
    revision = await control_plane.store.put(key, records.encode(report))
    await control_plane.fleet.wait_for_revision(revision)
    return f"dc1-{key.rpartition('/')[2]}"


def _waiting(number: int, **fields: object) -> Task:
    return make_task(
        **{
            "task_id": f"0b0b6f5e-0000-4000-8000-0000000000{number:02d}",
            "sn": f"SN-{number}",
            "mac": f"52:54:00:00:02:{number:02x}",
            "hostname": f"web-{number}",
            **fields,
        }
    )


async def test_machine_is_matched_in_two_clicks(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    for number in (1, 2, 3):
        await control_plane.put_task(_waiting(number))
    await _report(control_plane, 2)
    await dashboard.goto(f"{control_plane.url}/unmatched")
    await dashboard.get_by_role("button", name="Match SN-2").click()
    first = dashboard.get_by_role("dialog").get_by_role("listitem").first
    await expect(first).to_contain_text("web-2")
    await expect(first).to_contain_text("same serial number")
    await first.get_by_role("button", name="Match to web-2").click()
    await expect(dashboard.get_by_role("dialog")).to_have_count(0)
    await expect(dashboard.get_by_text("Every machine that reported")).to_be_visible()
    (task,) = [each for each in control_plane.fleet.current_tasks() if each.sn == "SN-2"]
    assert task.mac == _mac(2)


async def test_contradiction_is_shown_and_needs_a_plain_second_decision(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(_waiting(1))
    identity = await _report(control_plane, 9)
    await dashboard.goto(f"{control_plane.url}/unmatched/{identity}")
    await dashboard.get_by_role("button", name="Match to web-1").click()
    warning = dashboard.get_by_role("alert").filter(has_text="does not look like")
    await expect(warning).to_contain_text("serial number is SN-9, the task's SN-1")
    await expect(warning).to_contain_text("be sure")
    (task,) = control_plane.fleet.current_tasks()
    assert task.mac != _mac(9)
    await warning.get_by_role("button", name="Back to the tasks").click()
    await dashboard.get_by_role("button", name="Match to web-1").click()
    await warning.get_by_role("button", name="Match anyway").click()
    await dashboard.wait_for_url(f"**/tasks/{task.task_id}")
    (task,) = control_plane.fleet.current_tasks()
    assert task.mac == _mac(9)


async def test_list_is_searched_newest_first_and_follows_without_a_reload(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _report(control_plane, 1)
    await dashboard.goto(f"{control_plane.url}/unmatched")
    await expect(dashboard.locator("tbody tr")).to_have_count(1)
    await _report(control_plane, 2, at=NOW + timedelta(minutes=1))
    await expect(dashboard.locator("tbody tr")).to_have_count(2)
    await expect(dashboard.locator("tbody tr").first).to_contain_text("SN-2")
    await dashboard.get_by_placeholder("Serial number, MAC").fill("sn-1")
    await expect(dashboard.locator("tbody tr")).to_have_count(1)
    await expect(dashboard).to_have_url(f"{control_plane.url}/unmatched?text=sn-1")
    await dashboard.get_by_placeholder("Serial number, MAC").fill("nobody")
    await dashboard.get_by_role("button", name="Show all").click()
    await expect(dashboard.locator("tbody tr")).to_have_count(2)
    await dashboard.get_by_label("Region", exact=True).select_option("dc1")
    await expect(dashboard).to_have_url(f"{control_plane.url}/unmatched?idc=dc1")


async def test_too_many_are_an_alert(dashboard: Page, control_plane: RunningControlPlane) -> None:
    for number in range(11):
        await _report(control_plane, number)
    await dashboard.goto(f"{control_plane.url}/unmatched")
    await expect(dashboard.get_by_role("alert")).to_contain_text("11 in dc1 (more than 10)")


async def test_dismissed_report_is_gone(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _report(control_plane, 1)
    await dashboard.goto(f"{control_plane.url}/unmatched")
    await dashboard.get_by_role("button", name="Dismiss SN-1").click()
    await dashboard.keyboard.press("Escape")
    await expect(dashboard.get_by_role("dialog")).to_have_count(0)
    await dashboard.get_by_role("button", name="Dismiss SN-1").click()
    await dashboard.get_by_role("dialog").get_by_role("button", name="Dismiss").click()
    await expect(dashboard.get_by_text("Every machine that reported")).to_be_visible()
    assert control_plane.fleet.count_unmatched("dc1") == 0


async def test_report_that_another_used_meanwhile_is_told(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(_waiting(1))
    identity = await _report(control_plane, 1)
    await dashboard.goto(f"{control_plane.url}/unmatched/{identity}")
    await expect(dashboard.get_by_role("button", name="Match to web-1")).to_be_visible()
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    place = f"{control_plane.url}/api/v1/unmatched-reports/{identity}"
    assert (await dashboard.request.delete(place, headers=headers)).ok
    await expect(dashboard.get_by_text("no such report any more")).to_be_visible()


async def test_report_shows_hardware_and_what_the_rules_say(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    rule = {
        "name": "only-big",
        "kind": "create",
        "condition": "size(machine.disks) > 9",
        "task": {"os_type": "debian", "os_version": "12"},
    }
    answer = await dashboard.request.post(
        f"{control_plane.url}/api/v1/rules", headers=headers, data=rule
    )
    assert answer.ok, await answer.text()
    identity = await _report(control_plane, 1)
    await dashboard.goto(f"{control_plane.url}/unmatched/{identity}")
    rules = dashboard.get_by_role("region", name="What the rules say")
    await expect(rules).to_contain_text("only-big")
    await expect(rules).to_contain_text("does not match")
    await expect(dashboard.get_by_role("region", name="Hardware")).to_contain_text("DISK01")


async def test_planted_markup_is_text(dashboard: Page, control_plane: RunningControlPlane) -> None:
    product = Product(vendor=PLANTED, name=PLANTED, serial=PLANTED)
    identity = await _report(control_plane, 1, product=product, error=PLANTED)
    await control_plane.put_task(_waiting(1, hostname=PLANTED))
    for place in ("/unmatched", f"/unmatched/{identity}"):
        await dashboard.goto(control_plane.url + place)
        await expect(dashboard.get_by_text(PLANTED).first).to_be_visible()
        assert await dashboard.evaluate("window.planted") is None
        assert await dashboard.locator("main script, main img").count() == 0
    await expect(dashboard.get_by_role("button", name=f"Match to {PLANTED}")).to_be_visible()


async def test_viewer_sees_no_button(page: Page, control_plane: RunningControlPlane) -> None:
    identity = await _report(control_plane, 1)
    token = await control_plane.as_user([Role.VIEWER])
    await log_in(page, control_plane, token, "/unmatched")
    await expect(page.get_by_role("link", name="SN-1")).to_be_visible()
    await expect(page.locator("main").get_by_role("button")).to_have_count(0)
    await page.goto(f"{control_plane.url}/unmatched/{identity}")
    await expect(page.get_by_role("region", name="Hardware")).to_be_visible()
    await expect(page.locator("main").get_by_role("button")).to_have_count(0)


async def test_phone_has_no_sideways_scrolling_and_axe_finds_nothing(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    identity = await _report(control_plane, 1, sn="S" * 60)
    await control_plane.put_task(_waiting(1, hostname="a-rather-long-name-of-a-machine-in-rack-17"))
    await dashboard.set_viewport_size({"width": 390, "height": 800})
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    for place in ("/unmatched", f"/unmatched/{identity}"):
        await dashboard.goto(control_plane.url + place)
        await expect(dashboard.get_by_text("S" * 60).first).to_be_visible()
        assert not await dashboard.evaluate(wide)
        assert await inaccessible(dashboard) == []
