"""The pages of machines in a real browser: finding, tagging, giving away, forgetting."""

import pytest
from playwright.async_api import Page, expect

from lpmos.model.access import Role
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Cpu, Disk, Product
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Installed, Machine
from lpmos.store import keys, records
from tests.browser.conftest import inaccessible, make_user, signed_in
from tests.support.builders import MAC, NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED = '<img src=x onerror="window.planted=1"><script>window.planted=1</script>'
WIDER = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


async def _put(control_plane: RunningControlPlane, sn: str, **fields: object) -> None:
    """Make a machine known that has reported."""
    known = {
        "macs": (MAC,),
        "inventory": make_inventory(
            product=Product(vendor="Example", name="Server 9"), cpu=Cpu(model="CPU 1", cores=8)
        ),
        "first_seen_at": NOW,
        "reported_at": NOW,
        "updated_at": NOW,
    }
    machine = Machine(**({"idc": "dc1", "sn": sn} | known | fields))  # type: ignore[arg-type]
    revision = await control_plane.store.put(keys.meta("dc1", sn), records.encode(machine))
    await control_plane.fleet.wait_for_revision(revision)


async def _open(page: Page, control_plane: RunningControlPlane, sn: str) -> None:
    await page.goto(f"{control_plane.url}/machines/dc1/{sn}")
    await expect(page.get_by_role("heading", level=1)).to_have_text(sn)


def _machine(control_plane: RunningControlPlane, sn: str) -> Machine:
    machine = control_plane.fleet.machine("dc1", sn)
    assert machine is not None
    return machine


async def test_machines_are_searched_filtered_and_the_address_keeps_it(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    installed = Installed(
        generation=1, task_id="t", os_type="debian", os_version="12", installed_at=NOW
    )
    await _put(control_plane, "SN-1", tags={"rack": "a3"})
    await _put(control_plane, "SN-2", installed=installed, tenant="team-a")
    await _put(control_plane, "SN-3")
    await control_plane.put_task(make_task(status=Status.INSTALLING))
    await dashboard.get_by_role("navigation").get_by_role("link", name="Machines").click()
    rows = dashboard.locator("tbody tr")
    await expect(rows).to_have_count(3)
    first = rows.filter(has_text="SN-1")
    for text in ("Example Server 9", "8 cores", "2.0 GiB", "Installing", "rack=a3", "dc1"):
        await expect(first).to_contain_text(text)
    await expect(rows.filter(has_text="SN-3")).to_contain_text("discovered, no task")
    await expect(rows.filter(has_text="SN-2")).to_contain_text("debian 12")

    await dashboard.get_by_label("Search machines").fill("sn-2")
    await expect(rows).to_have_count(1)
    await expect(dashboard).to_have_url(f"{control_plane.url}/machines?text=sn-2")
    await dashboard.reload()
    await expect(dashboard.get_by_label("Search machines")).to_have_value("sn-2")
    await expect(rows).to_have_count(1)
    await dashboard.get_by_role("link", name="Show all").click()
    for label, value, found in (
        ("Tag", "rack=a3", "SN-1"),
        ("Installed system", "debian 12", "SN-2"),
        ("Tenant", "team-a", "SN-2"),
    ):
        await dashboard.get_by_label(label).fill(value)
        await expect(rows).to_have_count(1)
        await expect(rows).to_contain_text(found)
        await dashboard.get_by_label(label).fill("")
        await expect(rows).to_have_count(3)
    await dashboard.get_by_label("Status of the present task").select_option("installing")
    await expect(rows).to_have_count(1)
    await dashboard.get_by_label("Search machines").fill("nothing like it")
    await expect(dashboard.get_by_text("No machine matches")).to_be_visible()


async def test_machines_are_paged_by_the_server(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    for number in range(60):
        await _put(control_plane, f"SN-{number:03d}")
    await dashboard.goto(f"{control_plane.url}/machines")
    rows = dashboard.locator("tbody tr")
    await expect(rows).to_have_count(50)
    await expect(dashboard.get_by_role("status").filter(has_text="60 machines")).to_be_visible()
    await dashboard.get_by_role("button", name="After").click()
    await expect(rows).to_have_count(10)
    await expect(dashboard.get_by_role("link", name="SN-059")).to_be_visible()


async def test_machine_shows_what_it_is_and_leads_to_a_new_task(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, "SN-1")
    await control_plane.put_task(make_task(status=Status.COMPLETED))
    await _open(dashboard, control_plane, "SN-1")
    hardware = dashboard.get_by_role("region", name="Hardware")
    for text in ("Example Server 9", "CPU 1", "8 cores", "/dev/vda", "serial DISK01", "netbooted"):
        await expect(hardware).to_contain_text(text)
    await expect(dashboard.get_by_role("region", name="Tasks")).to_contain_text("Completed")
    link = dashboard.get_by_role("link", name="New task for this machine")
    href = await link.get_attribute("href")
    assert href is not None
    assert href.startswith("/tasks/create?idc=dc1&sn=SN-1&mac=52%3A54")


async def test_tags_are_set_and_taken_away_and_wrong_ones_are_named(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, "SN-1", tags={"rack": "a3"})
    await _open(dashboard, control_plane, "SN-1")
    tags = dashboard.get_by_role("region", name="Tags")
    await tags.get_by_label("Name of the tag").fill("-wrong")
    await tags.get_by_label("Value of the tag").fill("web")
    await tags.get_by_role("button", name="Set tag").click()
    await expect(tags.get_by_role("alert")).to_be_visible()
    await expect(tags.get_by_label("Value of the tag")).to_have_value("web")
    await tags.get_by_label("Name of the tag").fill("role")
    await tags.get_by_role("button", name="Set tag").click()
    await expect(tags).to_contain_text("role=web")
    await tags.get_by_role("button", name="Take away tag rack").click()
    await expect(tags).not_to_contain_text("rack=a3")
    assert _machine(control_plane, "SN-1").tags == {"role": "web"}


async def test_machine_is_given_to_a_tenant_and_back(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, "SN-1")
    await _open(dashboard, control_plane, "SN-1")
    field = dashboard.get_by_label("Tenant")
    give = dashboard.get_by_role("button", name="Give")
    await field.fill("Not A Tenant")
    await give.click()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(field).to_have_value("Not A Tenant")
    await field.fill("team-a")
    await give.click()
    await expect(dashboard.get_by_text("SN-1 belongs to team-a now.")).to_be_visible()
    assert _machine(control_plane, "SN-1").tenant == "team-a"
    await field.fill("")
    await give.click()
    await expect(dashboard.get_by_text("SN-1 is the provider's now.")).to_be_visible()
    assert _machine(control_plane, "SN-1").tenant is None


async def test_address_is_reserved_for_one_machine_and_let_go(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, "SN-1")
    await _put(control_plane, "SN-2", macs=("52:54:00:00:00:12",))
    await _open(dashboard, control_plane, "SN-1")
    field = dashboard.get_by_label("Reserved address")
    reserve = dashboard.get_by_role("button", name="Reserve")
    await field.fill("192.0.2.999")
    await reserve.click()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await field.fill("192.0.2.42")
    await reserve.click()
    await expect(dashboard.get_by_text("192.0.2.42 is reserved for SN-1")).to_be_visible()
    assert _machine(control_plane, "SN-1").address == "192.0.2.42"
    await _open(dashboard, control_plane, "SN-2")
    await field.fill("192.0.2.42")
    await reserve.click()
    await expect(field).to_have_attribute("aria-invalid", "true")
    await expect(dashboard.get_by_text("is reserved for machine SN-1")).to_be_visible()
    await _open(dashboard, control_plane, "SN-1")
    await expect(field).to_have_value("192.0.2.42")
    await field.fill("")
    await reserve.click()
    await expect(dashboard.get_by_text("SN-1 gets any address.")).to_be_visible()
    assert _machine(control_plane, "SN-1").address is None


async def test_bmc_is_set_up_and_its_password_never_comes_back(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, "SN-1", bmc_address="10.0.3.7")
    await _open(dashboard, control_plane, "SN-1")
    bmc = dashboard.get_by_role("region", name="Management controller")
    await expect(bmc).to_contain_text("it is at 10.0.3.7")
    await bmc.get_by_role("button", name="Set up").click()
    await expect(bmc.get_by_label("Address")).to_have_value("10.0.3.7")
    await bmc.get_by_label("User").fill("root")
    await bmc.get_by_label("Password").fill("very-secret")
    await bmc.get_by_role("button", name="Save").click()
    await expect(bmc).to_contain_text("never shown")
    assert "very-secret" not in await dashboard.content()
    await bmc.get_by_role("button", name="Change").click()
    await expect(bmc.get_by_label("User")).to_have_value("root")
    await expect(bmc.get_by_label("Password")).to_have_value("")
    await bmc.get_by_role("button", name="Back").click()
    await bmc.get_by_role("button", name="Forget").click()
    dialog = dashboard.get_by_role("dialog")
    await dialog.get_by_role("button", name="Forget").click()
    await expect(bmc).to_contain_text("Not set up")


async def test_machine_is_forgotten_after_a_question_but_not_with_a_task_under_way(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, "SN-1")
    await control_plane.put_task(make_task(status=Status.INSTALLING))
    await _open(dashboard, control_plane, "SN-1")
    await expect(dashboard.get_by_role("link", name="New task for this machine")).to_have_count(0)
    await dashboard.locator(".head").get_by_role("button", name="Forget").click()
    dialog = dashboard.get_by_role("dialog")
    await dialog.get_by_role("button", name="Forget").click()
    await expect(dialog.get_by_role("alert")).to_contain_text("cancel it first")
    await dialog.get_by_role("button", name="Back").click()
    await control_plane.put_task(make_task(status=Status.FAILED))
    await expect(dashboard.get_by_role("region", name="Tasks")).to_contain_text("Failed")
    await dashboard.locator(".head").get_by_role("button", name="Forget").click()
    await dialog.get_by_role("button", name="Forget").click()
    await expect(dashboard.get_by_text("No machine is known yet")).to_be_visible()
    assert control_plane.fleet.machine("dc1", "SN-1") is None


async def test_viewer_sees_no_buttons(page: Page, control_plane: RunningControlPlane) -> None:
    await _put(control_plane, "SN-1", tags={"rack": "a3"})
    await make_user(control_plane, "vera", Role.VIEWER)
    await signed_in(page, control_plane, user="vera")
    await _open(page, control_plane, "SN-1")
    await expect(page.get_by_role("region", name="Tags")).to_contain_text("rack=a3")
    await expect(page.get_by_role("region", name="Management controller")).to_contain_text(
        "Not set up"
    )
    await expect(page.locator("main").get_by_role("button")).to_have_count(0)
    await expect(page.get_by_role("link", name="New task for this machine")).to_have_count(0)


async def test_planted_markup_is_shown_as_text_and_never_runs(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    disk = Disk(device=PLANTED, size_bytes=GIB, kind="ssd", model=PLANTED, contents=(PLANTED,))
    inventory = make_inventory(
        disks=(disk,),
        product=Product(vendor=PLANTED, name=PLANTED, serial=PLANTED),
        cpu=Cpu(model=PLANTED),
        bmc_address=PLANTED,
    )
    await _put(
        control_plane,
        "SN-1",
        inventory=inventory,
        tags={PLANTED: PLANTED},
        bmc_address=PLANTED,
        macs=(PLANTED,),
    )
    await control_plane.put_task(
        make_task(os_type=PLANTED, created_by=PLANTED, status=Status.FAILED)
    )
    await dashboard.goto(f"{control_plane.url}/machines")
    await expect(dashboard.locator("tbody tr")).to_contain_text(PLANTED)
    await _open(dashboard, control_plane, "SN-1")
    for name in ("Hardware", "Tasks", "Tags", "Known of it", "Management controller"):
        await expect(dashboard.get_by_role("region", name=name)).to_contain_text(PLANTED)
    assert await dashboard.evaluate("window.planted") is None
    assert await dashboard.locator("main script, main img").count() == 0


async def test_phone_has_no_sideways_scrolling_and_axe_finds_nothing_serious(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.set_viewport_size({"width": 390, "height": 780})
    long = "a-serial-number-that-is-as-long-as-they-come-0123456789-0123456"
    await _put(control_plane, long, tags={"rack": "a-value-without-a-space-" * 6})
    await dashboard.goto(f"{control_plane.url}/machines")
    await expect(dashboard.get_by_role("link", name=long)).to_be_visible()
    assert not await dashboard.evaluate(WIDER)
    assert await inaccessible(dashboard) == []
    await _open(dashboard, control_plane, long)
    await expect(dashboard.get_by_role("region", name="Management controller")).to_contain_text(
        "Not set up"
    )
    assert not await dashboard.evaluate(WIDER)
    assert await inaccessible(dashboard) == []


async def test_machines_of_the_same_name_are_marked_found_and_shown(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    same = {"inventory": make_inventory(product=Product(serial=PLANTED))}
    await _put(control_plane, "SN-1", macs=("52:54:00:00:00:11",), **same)
    await _put(control_plane, "SN-2", macs=("52:54:00:00:00:12",), **same)
    placeholder = {"inventory": make_inventory(product=Product(serial="Default string"))}
    await _put(control_plane, "SN-3", macs=("52:54:00:00:00:13",), **placeholder)
    task = make_task(mac="52:54:00:00:00:11", status=Status.CANCELLED)
    await control_plane.put_task(task)
    page = dashboard
    await page.goto(f"{control_plane.url}/machines")
    await expect(page.locator("tbody tr")).to_have_count(3)
    await expect(page.get_by_text("duplicate", exact=True)).to_have_count(2)
    await expect(page.get_by_title("Machines that share")).to_have_text("2")
    await page.get_by_label("Duplicates only").check()
    await expect(page.locator("tbody tr")).to_have_count(2)
    assert "duplicate=true" in page.url
    assert not await inaccessible(page)
    await page.get_by_role("link", name="SN-1").click()
    box = page.get_by_role("region", name="Known by the same name")
    await expect(box).to_contain_text("SN-2 in dc1 has the same serial number <img")
    assert not await inaccessible(page)
    await page.goto(f"{control_plane.url}/tasks/{task.task_id}")
    await expect(box.get_by_role("link", name="SN-2")).to_be_visible()
    await box.get_by_role("link", name="SN-2").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("SN-2")
    await page.set_viewport_size({"width": 390, "height": 844})
    assert not await page.evaluate(WIDER)
    await page.goto(f"{control_plane.url}/machines")
    await expect(page.locator("tbody tr")).to_have_count(3)
    assert not await page.evaluate(WIDER)
    await _open(page, control_plane, "SN-3")
    await expect(page.get_by_text("none of its own")).to_contain_text("Default string")
    await expect(box).to_have_count(0)
    assert await page.evaluate("window.planted") is None
