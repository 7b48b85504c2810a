"""The regions: how their services are, who is active, what they hold, and what runs there."""

import re
from datetime import timedelta

import msgspec
import pytest
from playwright.async_api import Page, expect

from lpmos.core.clock import utc_now
from lpmos.model.access import Role
from lpmos.model.diskplan import GIB
from lpmos.model.fetching import Arrival, Fetching
from lpmos.model.lifecycle import Status
from lpmos.model.machine import UnmatchedReport
from lpmos.model.region import (
    Capabilities,
    DhcpNetworkState,
    Heartbeat,
    HeldImage,
    OutboxState,
    RegionClient,
    RegionStatus,
    states_after,
)
from lpmos.model.standing import Standing
from lpmos.store import keys, records
from tests.browser.conftest import inaccessible, log_in
from tests.support.builders import MAC, NOW, make_capabilities, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

pytestmark = pytest.mark.asyncio(loop_scope="module")

PLANTED = '<img src=x onerror="window.planted=1">'


async def _put(control_plane: RunningControlPlane, key: str, document: msgspec.Struct) -> None:
    revision = await control_plane.store.put(key, records.encode(document))
    await control_plane.fleet.wait_for_revision(revision)


async def _beat(control_plane: RunningControlPlane, idc: str = "dc1", **services: str) -> None:
    states = {"dhcp": "ok", "http": "ok", "tftp": "ok"} | services
    now = utc_now()
    beat = Heartbeat(idc=idc, identity=f"{idc}-region-1:812", at=now, services=states)
    await _put(control_plane, keys.heartbeat(idc), beat)
    known = states_after({}, states, now)
    status = RegionStatus(idc=idc, status="online", at=now, services=known)
    await _put(control_plane, keys.region_status(idc), status)


def _held(name: str = "debian-12") -> Capabilities:
    image = HeldImage(
        name=name,
        os_type="debian",
        os_version="12",
        sha256="ab" * 32,
        size_bytes=GIB // 4,
        built_at=NOW,
    )
    return msgspec.structs.replace(make_capabilities(), images=(image,))


async def test_list_says_how_each_region_is_and_leads_on(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _beat(control_plane, tftp="failed: TFTP did not answer in 2 s")
    await control_plane.offer_debian("dc2")
    await control_plane.put_task(make_task(status=Status.FAILED))
    report = UnmatchedReport(
        mac_address=MAC,
        region="dc1",
        sn="SN-9",
        hardware=make_inventory(),
        received_at=NOW,
        error="no task",
    )
    await _put(control_plane, keys.unmatched("dc1", NOW, MAC), report)
    await dashboard.goto(f"{control_plane.url}/regions")
    first = dashboard.get_by_role("region", name="dc1")
    for text in ("online", "DHCP answers", "TFTP failed", "did not answer", "dc1-region-1:812"):
        await expect(first).to_contain_text(text)
    await expect(first).to_contain_text("debian 12")
    await expect(dashboard.get_by_role("region", name="dc2")).to_contain_text("offline")
    await expect(dashboard.get_by_text("2 of 2 need attention")).to_be_visible()
    failed = first.get_by_role("link", name="1 failed")
    await expect(failed).to_have_attribute("href", "/?idc=dc1&status=failed")
    await expect(first.get_by_role("link", name="1", exact=True).last).to_have_attribute(
        "href", "/unmatched?idc=dc1"
    )
    await first.get_by_role("link", name="dc1", exact=True).click()
    await expect(dashboard.get_by_role("heading", name="dc1", level=1)).to_be_visible()


async def test_service_that_fails_is_shown_without_a_reload(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _beat(control_plane)
    await dashboard.goto(f"{control_plane.url}/regions/dc1")
    services = dashboard.get_by_role("list", name="Services of dc1")
    await expect(services).to_contain_text("HTTP answers")
    await _beat(control_plane, http="failed: no route")
    await expect(services).to_contain_text("HTTP failed")
    await expect(services).to_contain_text("no route")
    await control_plane.store.delete(keys.heartbeat("dc1"))
    await expect(dashboard.get_by_role("alert")).to_contain_text("does not report")
    await expect(services).to_contain_text("Store failed")


async def test_client_that_takes_over_is_active_without_a_reload(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    async def client(name: str, standing: Standing) -> None:
        known = RegionClient(
            idc="dc1",
            identity=name,
            standing=standing,
            since=utc_now(),
            at=utc_now(),
            address=f"{name}.example",
            api_url=f"http://{name}.example:8081",
            version="1.2.3",
        )
        await _put(control_plane, f"/os/region/dc1/clients/{name}", known)

    await _beat(control_plane)
    await client("boot-1", Standing.ACTIVE)
    await client("boot-2", Standing.STANDBY)
    await dashboard.goto(f"{control_plane.url}/regions")
    facts = dashboard.get_by_role("region", name="dc1").locator("dl")
    await expect(facts).to_contain_text(re.compile("Active boot-1 since .* Standby boot-2 ready"))
    await dashboard.goto(f"{control_plane.url}/regions/dc1")
    facts = dashboard.get_by_role("region", name="Services").locator("dl")
    await expect(facts).to_contain_text("boot-2.example, 1.2.3")
    await client("boot-2", Standing.ACTIVE)
    await control_plane.store.delete("/os/region/dc1/clients/boot-1")
    await expect(facts).to_contain_text(re.compile("Active boot-2 since"))
    await expect(facts).to_contain_text("nobody takes over")


async def test_region_in_full_shows_what_it_holds_and_begins_a_task(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await _beat(control_plane)
    await _put(control_plane, keys.capabilities("dc1"), _held())
    await dashboard.goto(f"{control_plane.url}/regions/dc1")
    row = dashboard.get_by_role("row").filter(has_text="debian-12")
    await expect(row).to_contain_text("256 MiB")
    await expect(row.locator("code")).to_have_attribute("title", "ab" * 32)
    await dashboard.get_by_role("link", name="New task here").click()
    await expect(dashboard.get_by_label("Region", exact=True)).to_have_value("dc1")


async def test_networks_show_what_is_free_and_words_that_wait_are_told(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    full = DhcpNetworkState(
        interface="eno1", mode="full", subnet="192.0.2.0/24", range=PLANTED, size=100, leases=97
    )
    proxy = DhcpNetworkState(interface="eno1.10", mode="proxy", subnet="198.51.100.0/24")
    beat = Heartbeat(
        idc="dc1",
        identity="boot-1",
        at=utc_now(),
        services={"dhcp": "ok"},
        dhcp=(full, proxy),
        outbox=OutboxState(waiting=7, oldest_at=utc_now()),
    )
    await _put(control_plane, keys.heartbeat("dc1"), beat)
    await dashboard.set_viewport_size({"width": 390, "height": 800})
    await dashboard.goto(f"{control_plane.url}/regions")
    listed = dashboard.get_by_role("region", name="dc1")
    await expect(listed).to_contain_text("3 addresses left 192.0.2.0/24")
    await expect(listed).not_to_contain_text("198.51.100.0/24")
    await dashboard.goto(f"{control_plane.url}/regions/dc1")
    networks = dashboard.get_by_role("region", name="Networks")
    await expect(networks).to_contain_text("3 of 100 free on eno1, gives addresses: <img")
    await expect(networks).to_contain_text("on eno1.10, beside another server")
    services = dashboard.get_by_role("region", name="Services")
    await expect(services).to_contain_text(re.compile("To hand in 7 words"))
    assert await dashboard.evaluate("window.planted") is None
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await dashboard.evaluate(wide)
    assert await inaccessible(dashboard) == []


async def test_images_that_are_fetched_show_how_far_they_are_and_what_is_wrong(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    comes = Arrival(kind="image", name="debian-13", size_bytes=2 * GIB, done_bytes=GIB)
    fails = Arrival(kind="image", name="rocky-9", size_bytes=GIB, error=f"no room {PLANTED}")
    fetching = Fetching(
        source="https://lpmos.example.com",
        listed_at=utc_now(),
        current="debian-13",
        arriving=(comes, fails),
        own=("debian-12",),
    )
    states = {"dhcp": "ok", "http": "ok", "tftp": "ok"}
    beat = Heartbeat(
        idc="dc1", identity="dc1-region-1", at=utc_now(), services=states, fetching=fetching
    )
    await _put(control_plane, keys.heartbeat("dc1"), beat)
    await control_plane.offer_debian()
    await dashboard.goto(f"{control_plane.url}/regions/dc1")
    card = dashboard.get_by_role("region", name="Images from the control plane")
    bar = card.get_by_role("progressbar", name="Fetched of debian-13")
    await expect(bar).to_have_js_property("value", 50)
    for text in ("1.0 GiB of 2.0 GiB", "no room", "Put there by hand", "lpmos.example.com"):
        await expect(card).to_contain_text(text)
    assert await dashboard.evaluate("window.planted") is None
    assert await inaccessible(dashboard) == []


async def test_region_that_does_not_exist_is_named(
    dashboard: Page, control_plane: RunningControlPlane
) -> None:
    await dashboard.goto(f"{control_plane.url}/regions/nowhere")
    await expect(dashboard.get_by_role("alert")).to_contain_text("nowhere")


async def test_planted_markup_is_text(dashboard: Page, control_plane: RunningControlPlane) -> None:
    beat = Heartbeat(
        idc="dc1",
        identity=PLANTED,
        at=utc_now() - timedelta(seconds=1),
        services={"dhcp": f"failed: {PLANTED}", PLANTED: "ok"},
    )
    await _put(control_plane, keys.heartbeat("dc1"), beat)
    await _put(control_plane, keys.capabilities("dc1"), _held(PLANTED))
    for place in ("/regions", "/regions/dc1"):
        await dashboard.goto(control_plane.url + place)
        await expect(dashboard.get_by_text(PLANTED).first).to_be_visible()
        assert await dashboard.evaluate("window.planted") is None
        assert await dashboard.locator("main script, main img").count() == 0


async def test_tenant_sees_no_unmatched_count_and_a_viewer_no_button(
    page: Page, control_plane: RunningControlPlane
) -> None:
    token = await control_plane.as_user([Role.VIEWER], tenant="team-a")
    await log_in(page, control_plane, token, "/regions")
    region = page.get_by_role("region", name="dc1")
    await expect(region).to_contain_text("Machines")
    await expect(region).not_to_contain_text("Unmatched")
    await page.goto(f"{control_plane.url}/regions/dc1")
    await expect(page.get_by_role("heading", name="Services")).to_be_visible()
    await expect(page.get_by_role("link", name="New task here")).to_have_count(0)


@pytest.mark.parametrize("place", ["/regions", "/regions/dc1"])
async def test_phone_has_no_sideways_scrolling_and_axe_finds_nothing(
    dashboard: Page, control_plane: RunningControlPlane, place: str
) -> None:
    await _beat(control_plane, tftp="failed: " + "a-very-long-reason-without-a-space" * 5)
    await _put(control_plane, keys.capabilities("dc1"), _held())
    await dashboard.set_viewport_size({"width": 390, "height": 800})
    await dashboard.goto(control_plane.url + place)
    await expect(dashboard.get_by_text("DHCP answers")).to_be_visible()
    wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not await dashboard.evaluate(wide)
    assert await inaccessible(dashboard) == []
