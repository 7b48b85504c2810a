"""The page of one task, for tests in a browser: a task that waits, and what is asked there."""

from playwright.async_api import Locator, Page, expect

from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import Disk, Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

FULL = Disk(
    device="/dev/vda",
    size_bytes=8 * GIB,
    kind="ssd",
    model="Example 9",
    serial="DISK01",
    contents=("gpt", "ext4"),
)


def waiting_task(inventory: Inventory | None = None, **fields: object) -> Task:
    """A task that waits for approval."""
    inventory = inventory or make_inventory(disks=(FULL,))
    plan = plan_disk(inventory, "auto", RootDiskHints(overwrite=True), GIB)
    known = {"status": Status.PENDING_APPROVAL, "hardware": inventory, "plan": plan}
    return make_task(**({"hostname": "web-1"} | known | fields))


async def open_task(page: Page, control_plane: RunningControlPlane, task: Task) -> None:
    """Store the task, go to its page, and wait until it is shown."""
    await control_plane.put_task(task)
    await page.goto(f"{control_plane.url}/tasks/{task.task_id}")
    await expect(page.get_by_role("heading", level=1)).to_have_text(task.hostname)


async def ask_for(page: Page, button: str) -> Locator:
    """The dialog that a button of the page opens."""
    await page.locator("main").get_by_role("button", name=button, exact=True).click()
    dialog = page.get_by_role("dialog")
    await expect(dialog.get_by_role("button", name=button, exact=True)).to_be_visible()
    return dialog


def present_task(control_plane: RunningControlPlane) -> Task:
    """The one task that there is, as it is now."""
    (task,) = control_plane.fleet.current_tasks()
    return task


def status_chip(page: Page) -> Locator:
    """Where the page says the status."""
    return page.locator(".head .chip")
