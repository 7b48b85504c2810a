"""The pages of the dashboard, each with its heading, over a populated control plane."""

from playwright.async_api import Page, expect

from tests.support.control_plane import RunningControlPlane

RULE, TEMPLATE = "never", "motd"
PLACES = {
    "/": "Tasks",
    "/machines": "Machines",
    "/regions": "Regions",
    "/regions/dc1": "dc1",
    "/unmatched": "Unmatched",
    "/images": "Images",
    "/templates": "Templates",
    f"/templates/{TEMPLATE}": TEMPLATE,
    "/rules": "Rules",
    f"/rules/{RULE}": RULE,
    "/audit": "Audit log",
    "/users": "Users",
    "/webhooks": "Webhooks",
    "/account": "admin",
    "/tasks/create": "New task",
    "/tasks/bulk": "Many tasks",
}
"""Each page that has the same address in every populated control plane, and its heading."""


def details(control_plane: RunningControlPlane) -> dict[str, str]:
    """The pages of single things, and their headings."""
    reported = next(row for row in control_plane.fleet.current_rows() if row.hardware_sum)
    return {
        f"/tasks/{reported.task_id}": reported.hostname,
        f"/machines/{reported.idc}/{reported.sn}": reported.sn,
    }


async def opened(page: Page, control_plane: RunningControlPlane, place: str) -> None:
    """Open a page as the admin sees it, and wait until what it shows is there."""
    if not await page.context.cookies():
        answer = await page.request.post(
            f"{control_plane.url}/api/v1/session", data={"token": control_plane.token}
        )
        assert answer.ok
    await page.goto(f"{control_plane.url}{place}")
    await expect(page.locator("#connection")).to_have_text("live")
    await expect(page.locator("main h1")).to_be_visible()
    await expect(page.locator("main [aria-busy=true]")).to_have_count(0)
