"""Machines of the same name over HTTP: shown to who may see both, put together by nobody."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from lpmos.model.access import Role
from lpmos.model.fingerprint import fingerprint
from lpmos.model.inventory import Nic, Product
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine, UnmatchedReport
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_inventory, make_task
from tests.support.control_plane import TIMEOUT_S, RunningControlPlane

UUID = "4c4c4544-0042-4a10-8035-b4c04f4d3232"


async def machine(control_plane: RunningControlPlane, place: str, number: int, **of: Any) -> None:
    """Make a machine known whose MAC is its own."""
    idc, sn = place.split("/")
    mac = f"52:54:00:00:00:{number:02x}"
    product = Product(serial=of.get("serial"), uuid=of.get("uuid"))
    known = Machine(
        idc=idc,
        sn=sn,
        macs=(mac,),
        inventory=make_inventory(product=product, nics=(Nic(interface="eth0", mac=mac),)),
        tenant=of.get("tenant"),
        first_seen_at=NOW,
        reported_at=NOW,
        updated_at=NOW,
    )
    await stored(control_plane, keys.meta(idc, sn), known)


async def stored(control_plane: RunningControlPlane, key: str, document: msgspec.Struct) -> None:
    revision = await control_plane.store.put(key, records.encode(document))
    async with asyncio.timeout(TIMEOUT_S):
        await control_plane.fleet.wait_for_revision(revision)


async def listed(api: httpx.AsyncClient, query: str = "", **headers: str) -> list[str]:
    answer = await api.get(f"/api/v1/machines{query}", headers=headers)
    answer.raise_for_status()
    return [each["sn"] for each in answer.json()["machines"]]


async def test_same_serial_and_uuid_in_two_data_centers_are_shown_on_both(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await machine(control_plane, "dc1/A", 1, serial="7CZ0123", uuid=UUID)
    await machine(control_plane, "dc2/B", 2, serial="7CZ0123", uuid=UUID.upper())
    await machine(control_plane, "dc1/C", 3, serial="7CZ0999")
    shown = (await api.get("/api/v1/machines/dc1/A")).json()["duplicates"]
    assert shown == [
        {"idc": "dc2", "sn": "B", "unmatched": None, "field": "serial", "value": "7CZ0123"},
        {"idc": "dc2", "sn": "B", "unmatched": None, "field": "uuid", "value": UUID},
    ]
    assert await listed(api, "?duplicate=true") == ["A", "B"]
    assert await listed(api, "?duplicate=false") == ["C"]
    assert await listed(api, "?duplicate=true&idc=dc2") == ["B"]
    assert (await api.get("/api/v1/statistics")).json()["duplicates"] == 2
    metrics = (await api.get("/metrics")).text
    assert 'lpmos_machines_duplicate{idc="dc1"} 1.0' in metrics
    await machine(control_plane, "dc2/B", 2, serial="7CZ0456")
    assert (await api.get("/api/v1/machines/dc1/A")).json()["duplicates"] == []
    assert (await api.get("/api/v1/statistics")).json()["duplicates"] == 0


async def test_placeholders_are_no_names_and_are_said(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    said = "To Be Filled By O.E.M."
    for number in (1, 2):
        await machine(control_plane, f"dc1/M{number}", number, serial=said, uuid="0" * 32)
    assert await listed(api, "?duplicate=true") == []
    shown = (await api.get("/api/v1/machines/dc1/M1")).json()
    assert (shown["placeholder_serial"], shown["duplicates"]) == (said, [])


async def test_another_machine_with_the_mac_is_shown_on_the_machine_and_on_its_report(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await machine(control_plane, "dc1/A", 1, serial="AAA-1")
    report = UnmatchedReport(
        mac_address=MAC,
        region="dc1",
        sn="BBB-2",
        hardware=make_inventory(product=Product(serial="BBB-2")),
        received_at=NOW,
        error="MAC 52:54:00:00:00:01 belongs to machine A",
        same_mac_as="A",
    )
    await stored(control_plane, keys.unmatched("dc1", NOW, MAC), report)
    (other,) = (await api.get("/api/v1/machines/dc1/A")).json()["duplicates"]
    assert (other["sn"], other["field"], other["value"]) == (None, "mac", MAC)
    shown = (await api.get(f"/api/v1/unmatched-reports/{other['unmatched']}")).json()
    assert [each["sn"] for each in shown["duplicates"]] == ["A"]
    assert await listed(api, "?duplicate=true") == ["A"]


async def test_tenant_sees_its_own_duplicates_and_no_sign_of_others(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await machine(control_plane, "dc1/RED-1", 1, serial="7CZ0123", tenant="red")
    await machine(control_plane, "dc1/BLUE-1", 2, serial="7CZ0123", tenant="blue")
    await machine(control_plane, "dc1/RED-2", 3, serial="7CZ0777", tenant="red")
    await machine(control_plane, "dc1/RED-3", 4, serial="7CZ0777", tenant="red")
    token = await control_plane.as_user([Role.VIEWER], "red")
    red = {"Authorization": f"Bearer {token}"}
    shown = (await api.get("/api/v1/machines/dc1/RED-1", headers=red)).json()
    assert shown["duplicates"] == []
    assert await listed(api, "?duplicate=true", **red) == ["RED-2", "RED-3"]
    assert await listed(api, "?duplicate=false", **red) == ["RED-1"]
    lines = (await api.get("/api/v1/machines", headers=red)).json()["machines"]
    assert {line["sn"]: line["duplicate"] for line in lines} == {
        "RED-1": False,
        "RED-2": True,
        "RED-3": True,
    }
    assert (await api.get("/api/v1/statistics", headers=red)).json()["duplicates"] == 2
    assert sorted(await listed(api, "?duplicate=true")) == ["BLUE-1", "RED-1", "RED-2", "RED-3"]


@pytest.mark.parametrize("value", ["maybe", "2", ""])
async def test_duplicate_that_is_no_choice_is_refused(api: httpx.AsyncClient, value: str) -> None:
    answer = await api.get(f"/api/v1/machines?duplicate={value}")
    assert answer.status_code == 422


async def test_approval_holds_for_the_hardware_that_was_seen(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    hardware = make_inventory(product=Product(serial="AAA-1"))
    task = make_task(status=Status.PENDING_APPROVAL, hardware=hardware)
    await control_plane.put_task(task)
    place = f"/api/v1/tasks/{task.task_id}"
    seen = (await api.get(place)).json()["hardware_fingerprint"]
    assert seen == fingerprint(hardware)
    body = {"approved": True, "fingerprint": "ab" * 32}
    refused = await api.put(f"{place}/approve", json=body)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "look again" in refused.json()["detail"]
    wrong = await api.put(f"{place}/approve", json={"approved": True, "fingerprint": "mine"})
    assert wrong.status_code == 422
    done = await api.put(f"{place}/approve", json={"approved": True, "fingerprint": seen})
    assert done.status_code == 200
    shown = (await api.get(place)).json()
    assert shown["approval"]["fingerprint"] == seen
