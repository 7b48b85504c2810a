"""What people decide on the page of a task in a real browser, each by their rights."""

from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, Route, expect

from lpmos.control.config import ControlConfig
from lpmos.core.taskstore import moved
from lpmos.model.access import Role
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Disk
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Progress, StatusChange, Task, TaskError
from tests.browser.conftest import make_user, signed_in
from tests.support.builders import NOW, make_inventory
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.task_page import ask_for, open_task, present_task, status_chip, waiting_task

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def approve_by_api(
    control_plane: RunningControlPlane, task: Task, token: str, **said: str | None
) -> int:
    """Approve a task without the page; the status of the answer."""
    async with httpx.AsyncClient(timeout=30.0) as http:
        answer = await http.put(
            f"{control_plane.url}/api/v1/tasks/{task.task_id}/approve",
            json={"approved": True, **said},
            headers={"Authorization": f"Bearer {token}"},
        )
    return answer.status_code


async def test_approval_of_a_plan_that_changed_meanwhile_is_refused_and_keeps_the_notes(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = waiting_task()
    await open_task(dashboard, control_plane, task)
    dialog = await ask_for(dashboard, "Approve")
    await dialog.get_by_label("Notes").fill("rack a3")
    other = Disk(device="/dev/vda", size_bytes=8 * GIB, kind="ssd", serial="OTHER")
    await control_plane.put_task(waiting_task(make_inventory(disks=(other,))))
    seen = task.plan.digest if task.plan else None
    refused = await approve_by_api(control_plane, task, control_plane.token, plan_digest=seen)
    assert refused == httpx.codes.CONFLICT
    await expect(dialog.get_by_role("alert")).to_contain_text("Look again")
    await expect(dialog).to_contain_text("serial OTHER")
    await expect(dialog.get_by_label("Notes")).to_have_value("rack a3")
    approve = dialog.get_by_role("button", name="Approve")
    await expect(approve).to_be_disabled()
    assert present_task(control_plane).status is Status.PENDING_APPROVAL
    await dialog.get_by_role("button", name="I have looked again").click()
    await approve.click()
    await expect(dialog).to_be_hidden()
    await expect(status_chip(dashboard)).to_have_text("Approved")
    approval = present_task(control_plane).approval
    assert approval is not None and approval.notes == "rack a3"


async def test_two_people_who_approve_are_told_of_each_other(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = waiting_task()
    await open_task(dashboard, control_plane, task)
    dialog = await ask_for(dashboard, "Reject")
    await dialog.get_by_label("Reason").fill("wrong rack")
    token = await control_plane.as_user([Role.APPROVER], name="bob")
    assert await approve_by_api(control_plane, task, token, notes="mine") == httpx.codes.OK
    await expect(dialog.get_by_role("alert")).to_contain_text("approved meanwhile by bob: “mine”")
    await expect(dialog).to_contain_text("nothing to reject any more")
    await expect(dialog.get_by_role("button", name="Reject")).to_have_count(0)
    await dialog.get_by_role("button", name="Back").click()
    await expect(status_chip(dashboard)).to_have_text("Approved")


async def test_decision_that_lost_the_race_is_rolled_back_and_told(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = waiting_task()
    await open_task(dashboard, control_plane, task)
    dialog = await ask_for(dashboard, "Approve")
    await dialog.get_by_label("Notes").fill("rack a3")

    async def overtake(route: Route) -> None:
        await control_plane.change(task.task_id, lambda now: moved(now, Event.CANCEL, NOW))
        await route.continue_()

    await dashboard.route("**/approve", overtake)
    await dialog.get_by_role("button", name="Approve").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("It is cancelled meanwhile")
    await expect(status_chip(dashboard)).to_have_text("Cancelled")


async def test_viewer_sees_no_buttons(page: Page, control_plane: RunningControlPlane) -> None:
    task = waiting_task()
    await make_user(control_plane, "vera", Role.VIEWER)
    await signed_in(page, control_plane, user="vera")
    await open_task(page, control_plane, task)
    await expect(page.locator(".plan")).to_contain_text("DISK01")
    await expect(page.locator(".head").get_by_role("button")).to_have_count(0)


async def test_who_asked_for_it_cannot_approve_where_another_person_must(
    page: Page, tmp_path: Path
) -> None:
    config = ControlConfig(images_dir=tmp_path / "images", second_person=True)
    async with open_store(tmp_path) as store, running(store, config=config) as control_plane:
        await make_user(control_plane, "anna", Role.APPROVER)
        await signed_in(page, control_plane, user="anna")
        await open_task(page, control_plane, waiting_task(created_by="anna"))
        await expect(page.locator(".meaning")).to_contain_text("You asked for it")
        await expect(page.locator(".head").get_by_role("button")).to_have_text(["Reject"])


async def test_operator_may_cancel_and_not_approve(
    page: Page, control_plane: RunningControlPlane
) -> None:
    task = waiting_task()
    await make_user(control_plane, "olga", Role.OPERATOR)
    await signed_in(page, control_plane, user="olga")
    await open_task(page, control_plane, task)
    await expect(page.locator(".head").get_by_role("button")).to_have_text(["Cancel task"])


async def test_rejection_needs_a_reason_and_shows_it(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = waiting_task()
    await open_task(dashboard, control_plane, task)
    dialog = await ask_for(dashboard, "Reject")
    await dialog.get_by_role("button", name="Reject").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("reason")
    await dialog.get_by_label("Reason").fill("wrong rack")
    await dialog.get_by_role("button", name="Reject").click()
    await expect(status_chip(dashboard)).to_have_text("Rejected")
    request = dashboard.get_by_role("region", name="Asked for")
    await expect(request).to_contain_text("by admin")
    await expect(request).to_contain_text("wrong rack")


async def test_cancel_says_what_it_means_and_escape_turns_back(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = waiting_task(status=Status.INSTALLING)
    await open_task(dashboard, control_plane, task)
    dialog = await ask_for(dashboard, "Cancel task")
    await expect(dialog).to_contain_text("The disk is being written")
    await dashboard.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    assert present_task(control_plane).status is Status.INSTALLING
    dialog = await ask_for(dashboard, "Cancel task")
    await dialog.get_by_role("button", name="Cancel task").click()
    await expect(status_chip(dashboard)).to_have_text("Cancelled")


async def test_failure_is_shown_and_retry_leads_to_the_new_task_and_back(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    error = TaskError(
        reason="digest differs", command="zstd -d", output="got 12ab", hint="build it again"
    )
    history = (
        StatusChange(status=Status.INSTALLING, timestamp=NOW),
        StatusChange(status=Status.FAILED, timestamp=NOW),
    )
    progress = (Progress(step="downloading", percent=48, timestamp=NOW),)
    task = waiting_task(
        status=Status.FAILED, error=error, status_history=history, progress=progress
    )
    await open_task(dashboard, control_plane, task)
    failure = dashboard.locator(".failure")
    for text in ("“downloading”", "digest differs", "$ zstd -d", "got 12ab", "build it again"):
        await expect(failure).to_contain_text(text)
    dialog = await ask_for(dashboard, "Try again")
    await dialog.get_by_role("button", name="Try again").click()
    await expect(dashboard.locator(".what")).to_contain_text("attempt 2")
    again = present_task(control_plane)
    assert again.retry_of == task.task_id
    await expect(dashboard).to_have_url(f"{control_plane.url}/tasks/{again.task_id}")
    await dashboard.get_by_role("link", name="Earlier attempt").click()
    await expect(failure).to_contain_text("digest differs")
    await dashboard.get_by_role("link", name="Later attempt").click()
    await expect(dashboard.locator(".what")).to_contain_text("attempt 2")


async def test_machine_of_a_failed_task_is_given_back_after_a_question(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    task = waiting_task(
        status=Status.FAILED, error=TaskError(reason="no answer", hint="look at it")
    )
    await open_task(dashboard, control_plane, task)
    await dashboard.get_by_role("button", name="Give machine back").click()
    dialog = dashboard.get_by_role("dialog")
    await expect(dialog).to_contain_text("what it was before this task")
    await dialog.get_by_role("button", name="Give back").click()
    await expect(dialog).to_be_hidden()
    await expect(dashboard.get_by_role("status").last).to_contain_text("without a task")
    await expect(dashboard.get_by_role("region", name="Timeline")).to_contain_text("Given back")
    await expect(dashboard.get_by_role("button", name="Give machine back")).to_have_count(0)


async def test_machine_of_which_the_disk_was_written_is_not_given_back(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    history = (
        StatusChange(status=Status.INSTALLING, timestamp=NOW),
        StatusChange(status=Status.FAILED, timestamp=NOW),
    )
    task = waiting_task(
        status=Status.FAILED, error=TaskError(reason="broken"), status_history=history
    )
    await open_task(dashboard, control_plane, task)
    await dashboard.get_by_role("button", name="Give machine back").click()
    dialog = dashboard.get_by_role("dialog")
    await dialog.get_by_role("button", name="Give back").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("that is gone; try the task again")


async def test_keyboard_alone_approves(dashboard: Page, control_plane: RunningControlPlane) -> None:
    task = waiting_task()
    await open_task(dashboard, control_plane, task)
    await dashboard.locator(".head").get_by_role("button", name="Approve").focus()
    await dashboard.keyboard.press("Enter")
    dialog = dashboard.get_by_role("dialog")
    await expect(dialog).to_contain_text("DISK01")
    await dialog.get_by_label("Notes").focus()
    for key in ("Tab", "Tab", "Enter"):
        await dashboard.keyboard.press(key)
    await expect(status_chip(dashboard)).to_have_text("Approved")
