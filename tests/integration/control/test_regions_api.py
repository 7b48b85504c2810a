"""The region calls over HTTP: what a region says of itself, and what is in it."""

import asyncio
from datetime import timedelta

import httpx
import msgspec

from lpmos.model.access import Role
from lpmos.model.diskplan import LAYOUTS
from lpmos.model.lifecycle import Status
from lpmos.model.machine import UnmatchedReport
from lpmos.model.region import Heartbeat, HeldImage, RegionClient, RegionStatus, ServiceState
from lpmos.model.standing import Standing
from lpmos.store import keys, records
from tests.support.builders import NOW, make_capabilities, make_inventory, make_task
from tests.support.control_plane import TIMEOUT_S, RunningControlPlane


async def _stored(control_plane: RunningControlPlane, key: str, document: msgspec.Struct) -> None:
    revision = await control_plane.store.put(key, records.encode(document))
    async with asyncio.timeout(TIMEOUT_S):
        await control_plane.fleet.wait_for_revision(revision)


async def _populate(control_plane: RunningControlPlane) -> None:
    beat = Heartbeat(idc="dc1", identity="host-a", at=NOW, services={"dhcp": "ok"})
    await _stored(control_plane, keys.heartbeat("dc1"), beat)
    report = UnmatchedReport(
        mac_address="52:54:00:00:00:99",
        region="dc1",
        hardware=make_inventory(),
        received_at=NOW,
        error="no task",
    )
    await _stored(control_plane, keys.unmatched("dc1", NOW, "52:54:00:00:00:99"), report)
    await control_plane.put_task(make_task(status=Status.READY))
    other = make_task(task_id="t2", sn="SN-2", mac="52:54:00:00:00:02", tenant="a")
    await control_plane.put_task(other)


async def test_region_tells_its_state_services_and_what_is_in_it(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _populate(control_plane)
    region = (await api.get("/api/v1/regions/dc1")).json()
    assert (region["online"], region["identity"]) == (True, "host-a")
    assert (region["last_heartbeat"], region["services"]) == (
        "2026-01-02T03:04:05Z",
        {"dhcp": "ok"},
    )
    assert region["capabilities"] == ["http"]
    assert (region["counts"]["ready"], region["counts"]["pending"]) == (1, 1)
    assert (region["machines"], region["unmatched"]) == (2, 1)
    assert (await api.get("/api/v1/regions")).json()["regions"] == [region]


async def test_region_tells_which_client_is_active_and_which_stand_by(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _populate(control_plane)
    region = (await api.get("/api/v1/regions/dc1")).json()
    assert (region["active"], region["standby"]) == (None, [])
    for name, standing in (("host-a", Standing.ACTIVE), ("host-b", Standing.STANDBY)):
        client = RegionClient(
            idc="dc1",
            identity=name,
            standing=standing,
            since=NOW,
            at=NOW,
            address="192.0.2.2",
            api_url="http://192.0.2.2:8081",
            version="0.1.0",
        )
        await _stored(control_plane, keys.region_client("dc1", name), client)
    region = (await api.get("/api/v1/regions/dc1")).json()
    assert region["active"]["identity"] == "host-a"
    (standby,) = region["standby"]
    assert (standby["identity"], standby["address"]) == ("host-b", "192.0.2.2")


async def test_region_tells_a_tenants_user_of_its_tenants_only(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _populate(control_plane)
    own = {"Authorization": f"Bearer {await control_plane.as_user([Role.VIEWER], 'a')}"}
    region = (await api.get("/api/v1/regions/dc1", headers=own)).json()
    assert (region["counts"]["ready"], region["counts"]["pending"]) == (0, 1)
    assert (region["machines"], region["unmatched"]) == (1, None)


async def test_region_tells_since_when_a_service_fails_and_what_it_holds(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    failed = ServiceState(state="failed", detail="no answer", since=NOW)
    status = RegionStatus(idc="dc1", status="online", at=NOW, services={"tftp": failed})
    await _stored(control_plane, keys.region_status("dc1"), status)
    later = NOW + timedelta(minutes=1)
    services = {"tftp": "failed: no answer", "dhcp": "off"}
    beat = Heartbeat(idc="dc1", identity="host-a", at=later, services=services)
    await _stored(control_plane, keys.heartbeat("dc1"), beat)
    image = HeldImage(
        name="debian-12", os_type="debian", os_version="12", sha256="ab", size_bytes=1, built_at=NOW
    )
    capabilities = msgspec.structs.replace(make_capabilities(), images=(image,))
    await _stored(control_plane, keys.capabilities("dc1"), capabilities)
    region = (await api.get("/api/v1/regions/dc1")).json()
    assert region["health"]["tftp"] == {
        "state": "failed",
        "detail": "no answer",
        "since": "2026-01-02T03:04:05Z",
    }
    assert (region["health"]["dhcp"]["state"], region["health"]["store"]["state"]) == ("off", "ok")
    assert [each["sha256"] for each in region["images"]] == ["ab"]
    assert region["layouts"] == list(LAYOUTS)


async def test_region_that_went_shows_its_last_heartbeat_and_states(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    ok = ServiceState(state="ok", since=NOW)
    status = RegionStatus(idc="dc1", status="online", at=NOW, services={"dhcp": ok})
    await _stored(control_plane, keys.region_status("dc1"), status)
    beat = Heartbeat(idc="dc1", identity="host-a", at=NOW, services={"dhcp": "ok"})
    await _stored(control_plane, keys.heartbeat("dc1"), beat)
    deleted = await control_plane.store.delete(keys.heartbeat("dc1"))
    async with asyncio.timeout(TIMEOUT_S):
        await control_plane.fleet.wait_for_revision(deleted)
    region = (await api.get("/api/v1/regions/dc1")).json()
    assert (region["online"], region["last_heartbeat"]) == (False, "2026-01-02T03:04:05Z")
    assert region["health"]["dhcp"]["state"] == "ok"
    assert region["health"]["store"]["state"] == "failed"


async def test_region_without_a_heartbeat_is_offline(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    region = (await api.get("/api/v1/regions/dc1")).json()
    assert (region["online"], region["last_heartbeat"], region["services"]) == (False, None, {})


async def test_unknown_region_is_not_found(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v1/regions/dc9")
    assert (answer.status_code, answer.json()["code"]) == (404, "not-found")
