"""The page of one task in a real browser: from creation to its end, and all that it shows."""

from datetime import timedelta
from pathlib import Path

import pytest
from playwright.async_api import Page, expect

from lpmos.core import firstboot
from lpmos.core.clock import utc_now
from lpmos.core.taskstore import logged, moved
from lpmos.model.diskplan import GIB, PartitionWish, RootDiskHints, StorageLayout, plan_disk
from lpmos.model.inventory import Bios, Dimm, Disk, Memory
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Approval, Progress, StatusChange, TaskError
from lpmos.store import keys, records
from tests.browser.conftest import inaccessible
from tests.support.builders import MAC, NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.task_page import (
    FULL,
    ask_for,
    open_task,
    present_task,
    status_chip,
    waiting_task,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")
PLANTED = '<img src=x onerror="window.planted=1"><script>window.planted=1</script>'
SOON_MS = 5_000
"""Sooner than a log is read anew without anybody's saying so."""
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


async def test_task_from_creation_to_completion_is_followed_without_a_reload(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    started = utc_now() - timedelta(minutes=5)
    history = (StatusChange(status=Status.PENDING, timestamp=started, by="admin"),)
    task = make_task(hostname="web-1", status_history=history, created_at=started)
    await open_task(dashboard, control_plane, task)
    await dashboard.evaluate("window.loadedOnce = true")
    await expect(dashboard.locator(".meaning")).to_contain_text("prepares the boot files")

    async def step(event: Event, after_s: float, **fields: object) -> None:
        at = started + timedelta(seconds=after_s)
        await control_plane.change(task.task_id, lambda now: moved(now, event, at, **fields))

    await step(Event.PREPARED, 2)
    await expect(dashboard.locator(".meaning")).to_contain_text("power it on")
    await step(Event.BOOT_REQUESTED, 62)
    await expect(status_chip(dashboard)).to_have_text("Booting")
    inventory = make_inventory(disks=(FULL,))
    plan = plan_disk(inventory, "auto", RootDiskHints(overwrite=True), GIB)
    await step(Event.HARDWARE_REPORTED, 92, hardware=inventory, plan=plan)
    await expect(status_chip(dashboard)).to_have_text("Needs approval")
    await expect(dashboard.locator(".plan")).to_contain_text("serial DISK01")

    dialog = await ask_for(dashboard, "Approve")
    await expect(dialog).to_contain_text("Install debian 12 on web-1?")
    await expect(dialog).to_contain_text("/dev/vda · 8.0 GiB · Example 9 · serial DISK01")
    await expect(dialog).to_contain_text("All that is on it is destroyed: it held gpt, ext4")
    await dialog.get_by_label("Notes").fill("rack a3")
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog).to_be_hidden()
    await expect(status_chip(dashboard)).to_have_text("Approved")
    approval = present_task(control_plane).approval
    assert approval is not None
    assert (approval.approved_by, approval.notes) == ("admin", "rack a3")

    await step(Event.INSTALL_STARTED, 100)
    for percent, done in ((30, 250_000_000), (55, 500_000_000)):
        progress = Progress(
            step="downloading",
            percent=percent,
            timestamp=started + timedelta(seconds=100 + percent),
            bytes_done=done,
            bytes_total=1_000_000_000,
            bytes_per_second=50e6,
        )
        await step(Event.INSTALL_PROGRESSED, 100 + percent, progress=(progress,))
        await expect(dashboard.locator(".whole")).to_contain_text(f"{percent} %")
    stage = dashboard.locator(".now").first
    for text in ("downloading", "477 MiB of 954 MiB", "48 MiB/s", "10 s left"):
        await expect(stage).to_contain_text(text)

    await step(Event.INSTALL_FINISHED, 230)
    await expect(status_chip(dashboard)).to_have_text("Completed")
    timeline = dashboard.get_by_role("region", name="Timeline")
    for text in ("Created", "1 min 0 s", "30 s", "Completed", "In all", "3 min 50 s"):
        await expect(timeline).to_contain_text(text)
    await expect(dashboard.locator(".head").get_by_role("button")).to_have_count(0)
    assert await dashboard.evaluate("window.loadedOnce")


async def test_task_whose_system_starts_says_so_until_that_came_up(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    begun = utc_now() - timedelta(seconds=90)
    task = waiting_task(
        status=Status.INSTALLING,
        status_history=(
            StatusChange(status=Status.PENDING, timestamp=begun),
            StatusChange(status=Status.INSTALLING, timestamp=begun + timedelta(seconds=10)),
        ),
    )
    digest = "ab" * 32
    starting = firstboot.handed_over(task, digest, begun + timedelta(seconds=40))
    await open_task(dashboard, control_plane, starting)
    await expect(dashboard.locator(".meaning")).to_contain_text("starts the installed system")
    await expect(dashboard.locator(".now").first).to_contain_text("restarting")
    await expect(dashboard.locator(".whole")).to_contain_text("99 %")

    up_at = begun + timedelta(seconds=85)
    await control_plane.change(task.task_id, lambda now: firstboot.came_up(now, digest, up_at))
    await expect(status_chip(dashboard)).to_have_text("Completed")
    timeline = dashboard.get_by_role("region", name="Timeline")
    for text in ("restarting", "Came up", "45 s after the restart began", "Completed"):
        await expect(timeline).to_contain_text(text)
    await expect(dashboard.locator(".whole")).to_contain_text("100 %")


async def test_boot_of_a_finished_task_is_in_its_timeline_and_its_picture(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    begun = utc_now() - timedelta(seconds=90)
    history = ((Status.PENDING, 0), (Status.BOOTING, 20), (Status.COMPLETED, 80))
    seen = {"boot.dhcp": 10, "boot.address": 13, "boot.loader": 14, "boot.agent": 50}
    task = make_task(
        status=Status.COMPLETED,
        status_history=tuple(
            StatusChange(status=status, timestamp=begun + timedelta(seconds=s))
            for status, s in history
        ),
        boot={name: begun + timedelta(seconds=s) for name, s in seen.items()},
    )
    await open_task(dashboard, control_plane, task)
    timeline = dashboard.get_by_role("region", name="Timeline").get_by_role("listitem")
    for text in ("DHCP", "Address", "Boot loader", "Agent"):
        await expect(timeline.filter(has_text=text).first).to_be_visible()
    picture = dashboard.get_by_role("region", name="How long it took")
    await expect(picture.get_by_role("row", name="address")).to_contain_text("3.0 s")
    await expect(picture).to_contain_text("From the first packet to the agent it was 40 s.")


async def test_log_is_followed_searched_and_downloaded(
    dashboard: Page, control_plane: RunningControlPlane, tmp_path: Path
) -> None:
    task = waiting_task(logs=tuple(f"[INFO] line {number}" for number in range(60)), log_count=60)
    await open_task(dashboard, control_plane, task)
    log = dashboard.get_by_role("log")
    await expect(log).to_contain_text("line 59")
    await expect(log).to_have_attribute("data-live", "true")
    await control_plane.change(task.task_id, lambda now: logged(now, NOW, "[WARN] fresh line"))
    fresh = log.locator(".line", has_text="fresh line")
    await expect(fresh).to_be_attached(timeout=SOON_MS)
    await log.scroll_into_view_if_needed()
    await expect(fresh).to_be_in_viewport()
    await expect(log.locator(".line")).to_have_count(61)

    said = "[INFO] [installer] syslog: a step"
    await control_plane.change(task.task_id, lambda now: logged(now, NOW, said))
    await expect(log.locator(".line")).to_have_count(62)
    await dashboard.get_by_label("Whose lines").select_option("installer")
    await expect(log.locator(".line")).to_have_count(1)
    await dashboard.get_by_label("Whose lines").select_option("All lines")

    await dashboard.get_by_label("Search the log").fill("LINE 1")
    found = dashboard.locator(".found")
    await expect(found).to_have_text("1 of 11")
    await expect(log.locator("[data-here] mark")).to_be_in_viewport()
    await dashboard.keyboard.press("Enter")
    await expect(found).to_have_text("2 of 11")
    await expect(log.locator("[data-here]")).to_contain_text("line 10")
    await dashboard.get_by_role("button", name="Previous match").click()
    await dashboard.get_by_role("button", name="Previous match").click()
    await expect(found).to_have_text("11 of 11")
    await expect(dashboard.get_by_label("Follow")).not_to_be_checked()

    async with dashboard.expect_download() as waiting:
        await dashboard.get_by_role("link", name="Download").click()
    download = await waiting.value
    await download.save_as(tmp_path / "task.log")
    assert "fresh line" in (tmp_path / "task.log").read_text()


async def test_hardware_that_is_not_as_at_the_last_report_is_marked(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    dimms = (Dimm(slot="A1", size_bytes=GIB), Dimm(slot="A2", size_bytes=GIB))
    before = make_inventory(
        disks=(FULL,), memory=Memory(total_bytes=2 * GIB, dimms=dimms), bios=Bios(version="1.0")
    )
    after = make_inventory(
        disks=(FULL,), memory=Memory(total_bytes=GIB, dimms=dimms[:1]), bios=Bios(version="2.0")
    )
    earlier = waiting_task(
        before,
        task_id="0b0b6f5e-0000-4000-8000-000000000009",
        status=Status.CANCELLED,
        created_at=NOW - timedelta(days=1),
    )
    place = keys.history(earlier.idc, earlier.sn, earlier.task_id)
    await control_plane.store.put(place, records.encode(earlier))
    task = waiting_task(after)
    await open_task(dashboard, control_plane, task)
    sheet = dashboard.get_by_role("region", name="Hardware")
    changes = sheet.locator(".changes")
    for text in ("firmware version", "1.0", "2.0", "A2", "Gone"):
        await expect(changes).to_contain_text(text)
    await expect(sheet.locator("dd.changed", has_text="2.0")).to_be_visible()
    await expect(sheet.get_by_role("link", name="report of")).to_have_attribute(
        "href", f"/tasks/{earlier.task_id}"
    )


async def test_plan_over_several_disks_shows_each_and_what_stands_on_them(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    disks = tuple(
        Disk(
            device=f"/dev/sd{name}",
            size_bytes=64 * GIB,
            kind="ssd",
            serial=f"DISK-{name}",
            contents=("LVM2_member",) if name == "b" else (),
        )
        for name in "abc"
    )
    layout = StorageLayout(
        raid="raid1",
        members=(RootDiskHints(serial="DISK-a"), RootDiskHints(serial="DISK-b")),
        lvm=True,
        encrypt=True,
        partitions=(PartitionWish(mount="/var", size_bytes=8 * GIB, filesystem="xfs"),),
        erase="discard",
    )
    inventory = make_inventory(disks=disks)
    plan = plan_disk(inventory, layout, RootDiskHints(), GIB)
    task = waiting_task(inventory, plan=plan, disk_layout=layout)
    await open_task(dashboard, control_plane, task)
    dialog = await ask_for(dashboard, "Approve")
    shown = dialog.locator(".plan")
    for text in (
        "/dev/sda · 64 GiB · serial DISK-a",
        "/dev/sdb · 64 GiB · serial DISK-b",
        "All that is on /dev/sdb is destroyed: there was LVM2_member",
        "every block is discarded",
    ):
        await expect(shown).to_contain_text(text)
    tree = shown.get_by_role("list", name="What stands on the disks")
    await expect(tree).to_contain_text("md-boot RAID 1 over 2 disks ext4 /boot")
    await expect(tree).to_contain_text("crypt-root LUKS2 encrypted")
    await expect(tree).to_contain_text("var volume 8.0 GiB xfs /var")
    await expect(dialog).to_contain_text("The other disk stays as it is")
    assert await inaccessible(dashboard) == []
    await dialog.get_by_role("button", name="Back").click()
    await expect(dashboard.get_by_text("will be written", exact=True)).to_have_count(2)
    await dashboard.set_viewport_size({"width": 390, "height": 800})
    assert not await dashboard.evaluate(WIDER)


async def test_planted_markup_is_shown_as_text_and_never_runs(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    disk = Disk(
        device=PLANTED,
        size_bytes=8 * GIB,
        kind="ssd",
        model=PLANTED,
        serial=PLANTED,
        contents=(PLANTED,),
    )
    dimm = Dimm(slot=PLANTED, size_bytes=GIB, manufacturer=PLANTED, part_number=PLANTED)
    inventory = make_inventory(
        disks=(disk,),
        memory=Memory(total_bytes=GIB, dimms=(dimm,)),
        bios=Bios(vendor=PLANTED, version=PLANTED),
        bmc_address=PLANTED,
        agent_version=PLANTED,
    )
    task = waiting_task(
        inventory,
        hostname=PLANTED,
        os_type=PLANTED,
        logs=(PLANTED,),
        log_count=1,
        tags={PLANTED: PLANTED},
        progress=(Progress(step=PLANTED, percent=1, timestamp=NOW, message=PLANTED),),
        created_by=PLANTED,
    )
    await open_task(dashboard, control_plane, task)
    await expect(dashboard.get_by_role("log")).to_contain_text(PLANTED)
    await expect(dashboard.locator(".plan")).to_contain_text(PLANTED)
    dialog = await ask_for(dashboard, "Approve")
    await expect(dialog.locator(".plan")).to_contain_text(PLANTED)
    await dialog.get_by_role("button", name="Back").click()
    error = TaskError(reason=PLANTED, command=PLANTED, output=PLANTED, hint=PLANTED)
    approval = Approval(approved=True, status="approved", approved_by=PLANTED, notes=PLANTED)
    await control_plane.put_task(
        waiting_task(
            inventory, hostname=PLANTED, status=Status.FAILED, error=error, approval=approval
        )
    )
    await expect(dashboard.locator(".failure")).to_contain_text(PLANTED)
    assert await dashboard.evaluate("window.planted") is None
    assert await dashboard.locator("main script, main img").count() == 0


async def test_phone_has_no_sideways_scrolling(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.set_viewport_size({"width": 390, "height": 780})
    task = waiting_task(
        hostname="a-rather-long-name-of-a-machine-in-rack-17-of-the-second-room",
        mac=MAC,
        tags={"a-rather-long-name-of-a-tag": "with-an-even-longer-value-that-has-no-space-in-it"},
        logs=("x" * 190,),
        log_count=1,
    )
    await open_task(dashboard, control_plane, task)
    await expect(dashboard.get_by_role("log")).to_contain_text("xxx")
    assert not await dashboard.evaluate(WIDER)
    await expect(dashboard.get_by_role("button", name="Approve", exact=True)).to_be_in_viewport()
    await ask_for(dashboard, "Approve")
    assert not await dashboard.evaluate(WIDER)


async def test_task_that_is_not_there_says_so(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.goto(f"{control_plane.url}/tasks/0b0b6f5e-0000-4000-8000-00000000ffff")
    await expect(dashboard.get_by_role("alert")).to_contain_text("there is no task")


async def test_page_has_nothing_serious_for_who_uses_a_screen_reader(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = waiting_task(logs=("a line",), log_count=1)
    await open_task(dashboard, control_plane, task)
    await expect(dashboard.get_by_role("log")).to_contain_text("a line")
    assert await inaccessible(dashboard) == []
    await ask_for(dashboard, "Approve")
    assert await inaccessible(dashboard) == []
