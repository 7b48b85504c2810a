"""Where a task stands, on its page: what was seen of each layer, what is probably wrong."""

from datetime import timedelta

import pytest
from playwright.async_api import Page, expect

from lpmos.core.clock import utc_now
from lpmos.model.boot import DHCP, KERNEL, KERNEL_ASKED, Boot
from lpmos.model.evidence import Evidence, Sign
from lpmos.model.lifecycle import Status
from lpmos.model.region import Heartbeat
from lpmos.store import keys, records
from tests.support.builders import MAC, make_task
from tests.support.control_plane import RunningControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED = '<img src=x onerror="window.planted=1">'


async def test_task_page_says_where_a_machine_stands_and_what_to_do(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    at = utc_now() - timedelta(minutes=5)
    task = make_task(status=Status.READY, created_at=at - timedelta(minutes=1))
    beat = Heartbeat(idc=task.idc, identity="r", at=utc_now(), services={})
    await control_plane.store.put(keys.heartbeat(task.idc), records.encode(beat))
    seen = Evidence(mac=MAC, asked=Sign(at, f"on {PLANTED}"), given=Sign(at, "192.0.2.9"))
    place = keys.evidence(task.idc, task.sn)
    await control_plane.store.put(place, records.encode(seen))
    await control_plane.put_task(task)
    await dashboard.goto(f"{control_plane.url}/tasks/{task.task_id}")
    cause = dashboard.get_by_label("What is probably wrong").get_by_role("listitem")
    await expect(cause).to_contain_text("fetched no boot loader")
    await expect(cause).to_contain_text("Let UDP 69")
    layers = dashboard.get_by_label("What was seen last").get_by_role("listitem")
    await expect(layers).to_have_count(3)
    await expect(layers.nth(0)).to_contain_text(PLANTED)
    await expect(layers.nth(1)).to_contain_text("was given 192.0.2.9")
    await expect(layers.nth(2)).to_contain_text("not seen")
    assert await dashboard.evaluate("window.planted") is None


async def test_task_page_shows_a_boot_as_it_happens(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    at = utc_now() - timedelta(seconds=30)
    task = make_task(status=Status.BOOTING, created_at=at - timedelta(minutes=1))
    await control_plane.put_task(task)
    await dashboard.goto(f"{control_plane.url}/tasks/{task.task_id}")
    moments = dashboard.get_by_role("region", name="Timeline").locator("[data-event=moment] b")
    await expect(dashboard.get_by_role("heading", name="Timeline")).to_be_visible()
    await expect(moments).to_have_count(0)
    place = keys.evidence(task.idc, task.sn)
    boot = Boot().after(DHCP, at)
    seen = Evidence(mac=MAC, asked=Sign(at), boot=boot)
    await control_plane.store.put(place, records.encode(seen))
    await expect(moments).to_have_text(["DHCP"])
    boot = boot.after(KERNEL_ASKED, at + timedelta(seconds=4))
    boot = boot.after(KERNEL, at + timedelta(seconds=7))
    seen = Evidence(mac=MAC, asked=Sign(at), boot=boot)
    await control_plane.store.put(place, records.encode(seen))
    await expect(moments).to_have_text(["DHCP", "Kernel asked for", "Kernel sent"])
    parts = dashboard.get_by_role("region", name="How long it took").get_by_role("row")
    await expect(parts.nth(1)).to_contain_text("kernel")
    await expect(parts.nth(1)).to_contain_text("3")


async def test_task_page_of_a_finished_task_without_signs_says_nothing_of_them(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = make_task(status=Status.CANCELLED)
    await control_plane.put_task(task)
    await dashboard.goto(f"{control_plane.url}/tasks/{task.task_id}")
    await expect(dashboard.get_by_role("heading", level=1)).to_have_text(task.hostname)
    await expect(dashboard.get_by_role("heading", name="Timeline")).to_be_visible()
    await expect(dashboard.get_by_role("heading", name="What was seen")).to_have_count(0)
