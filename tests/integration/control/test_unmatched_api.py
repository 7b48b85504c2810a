"""Machines without a task over HTTP: listed, matched, used, dismissed."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest

from lpmos.control.config import ControlConfig
from lpmos.model.access import Role
from lpmos.model.inventory import Product
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, actor, make_inventory, make_spec
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import ANSWER_TIMEOUT_S
from tests.support.rules import make_report

REPORTS = "/api/v1/unmatched-reports"


async def keep(control_plane: RunningControlPlane, number: int = 1, **fields: Any) -> str:
    """Store a report as a region would, and wait until it is seen; its id."""
    report = make_report(
        **{
            "mac_address": f"52:54:00:00:00:{number:02x}",
            "sn": f"SN-{number}",
            "received_at": NOW + timedelta(seconds=number),
            **fields,
        }
    )
    key = keys.unmatched(report.region, report.received_at, report.mac_address)
    revision = await control_plane.store.put(key, records.encode(report))
    async with asyncio.timeout(60):
        await control_plane.fleet.wait_for_revision(revision)
    return f"{report.region}-{key.rpartition('/')[2]}"


async def waiting_task(control_plane: RunningControlPlane, **fields: Any) -> str:
    spec = make_spec(**{"mac": "52:54:00:00:00:99", **fields})
    return (await control_plane.services.tasks.create(spec, by=actor())).task_id


async def test_reports_are_listed_newest_first_with_counts_and_an_alert(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    limit = ControlConfig().unmatched_limit
    for number in range(1, limit + 1):
        await keep(control_plane, number)
    await keep(control_plane, 60, region="dc-2")
    quiet = (await api.get(REPORTS, params={"limit": 2, "offset": 1})).json()
    assert [each["sn"] for each in quiet["reports"]] == ["SN-10", "SN-9"]
    assert (quiet["total"], quiet["alert"], quiet["alert_over"]) == (limit + 1, False, limit)
    assert quiet["counts"] == {"dc1": limit, "dc-2": 1}

    await keep(control_plane, limit + 1)

    assert (await api.get(REPORTS)).json()["alert"] is True
    assert (await api.get(REPORTS, params={"idc": "dc-2"})).json()["alert"] is False
    metrics = (await api.get("/metrics")).text
    assert f'lpmos_unmatched_reports{{idc="dc1"}} {limit + 1}.0' in metrics
    assert f'lpmos_unmatched_arrived_total{{idc="dc1"}} {limit + 1}.0' in metrics


async def test_reports_are_found_by_region_and_text(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    dell = make_inventory(product=Product(vendor="Dell Inc.", name="PowerEdge R650"))
    await keep(control_plane, 1, hardware=dell)
    await keep(control_plane, 2, region="dc-2")

    found = (await api.get(REPORTS, params={"text": "r650"})).json()
    assert [each["model"] for each in found["reports"]] == ["PowerEdge R650"]
    assert (await api.get(REPORTS, params={"idc": "dc-2"})).json()["total"] == 1
    assert (await api.get(REPORTS, params={"text": "52540000000"})).json()["total"] == 2
    assert (await api.get(REPORTS, params={"mac": MAC})).status_code == 422


async def test_report_is_shown_with_its_hardware_and_what_rules_say(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    identity = await keep(control_plane, 1, region="dc-2")
    rule = {
        "name": "zt",
        "kind": "create",
        "condition": "machine.memory.total_bytes > TiB",
        "task": {"os_type": "debian", "os_version": "12"},
    }
    assert (await api.post("/api/v1/rules", json=rule)).status_code == 201

    shown = await api.get(f"{REPORTS}/{identity}")

    report = shown.json()
    assert (report["id"], report["idc"], report["mac"]) == (identity, "dc-2", MAC)
    assert report["hardware"]["disks"][0]["serial"] == "DISK01"
    assert report["known_as"] is None
    (verdict,) = report["rules"]
    assert (verdict["rule"], verdict["matched"]) == ("zt", False)
    assert shown.headers["etag"] == f'"{report["revision"]}"'


async def test_report_matched_to_a_task_gives_it_the_mac(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    identity, task_id = await keep(control_plane), await waiting_task(control_plane)

    answer = await api.post(f"{REPORTS}/{identity}/match", json={"task_id": task_id})

    assert answer.status_code == 200, answer.text
    assert answer.json()["mac"] == MAC
    assert (await api.get(f"/api/v1/tasks/{task_id}")).json()["mac"] == MAC
    assert (await api.get(REPORTS)).json()["total"] == 0
    again = await api.post(f"{REPORTS}/{identity}/match", json={"create": {}})
    assert again.status_code == 422


async def test_contradicting_report_is_409_until_forced(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    identity = await keep(control_plane, 7)
    task_id = await waiting_task(control_plane)
    match = f"{REPORTS}/{identity}/match"

    refused = await api.post(match, json={"task_id": task_id})

    assert refused.status_code == 409
    assert refused.json()["code"] == "contradicting-report"
    assert "SN-7" in refused.json()["detail"]
    forced = await api.post(match, json={"task_id": task_id, "force": True})
    assert forced.status_code == 200


async def test_report_becomes_a_new_task(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    identity = await keep(control_plane)
    new = {"os_type": "debian", "os_version": "12", "hostname": "web-1", "tags": {"a": "b"}}

    answer = await api.post(f"{REPORTS}/{identity}/match", json={"create": new})

    assert answer.status_code == 200, answer.text
    task = (await api.get(f"/api/v1/tasks/{answer.json()['task_id']}")).json()
    assert (task["sn"], task["mac"], task["hostname"]) == ("SN-1", MAC, "web-1")
    assert (await api.get(REPORTS)).json()["total"] == 0
    assert (await api.delete(f"{REPORTS}/{identity}")).status_code == 404


@pytest.mark.parametrize(
    ("match", "wrong"),
    [
        ({}, {"task_id"}),
        ({"task_id": "x", "create": {"os_type": "debian", "os_version": "12"}}, {"task_id"}),
        ({"task_id": ""}, {"task_id"}),
        ({"task_id": "x", "force": "yes"}, {"force"}),
        ({"create": {"os_type": "debian"}}, {"create.os_version"}),
        (
            {"create": {"os_type": "debian", "os_version": "12", "hostname": "a_b", "idc": "dc1"}},
            {"create.hostname", "create.idc"},
        ),
        (
            {"create": {"os_type": "debian", "os_version": "12"}, "force": True},
            {"force"},
        ),
    ],
)
async def test_wrong_match_is_422_with_every_field(
    control_plane: RunningControlPlane,
    api: httpx.AsyncClient,
    match: dict[str, Any],
    wrong: set[str],
) -> None:
    identity = await keep(control_plane)

    answer = await api.post(f"{REPORTS}/{identity}/match", json=match)

    assert answer.status_code == 422, answer.text
    assert {each["field"] for each in answer.json()["errors"]} == wrong
    assert (await api.get(REPORTS)).json()["total"] == 1


async def test_dismissed_report_is_gone(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    identity = await keep(control_plane)
    stale = await api.delete(f"{REPORTS}/{identity}", headers={"If-Match": '"1"'})
    assert stale.status_code == 412

    assert (await api.delete(f"{REPORTS}/{identity}")).status_code == 204

    assert (await api.get(f"{REPORTS}/{identity}")).status_code == 404
    assert (await api.get(f"{REPORTS}/nonsense")).status_code == 404


async def test_tenants_users_and_viewers_do_not_handle_reports(
    control_plane: RunningControlPlane,
) -> None:
    identity = await keep(control_plane)
    for roles, tenant, read in (
        ([Role.ADMIN], "acme", 403),
        ([Role.VIEWER, Role.APPROVER], None, 200),
    ):
        token = await control_plane.as_user(roles, tenant=tenant)
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx.AsyncClient(
            base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
        ) as client:
            assert (await client.get(REPORTS)).status_code == read
            assert (await client.get(f"{REPORTS}/{identity}")).status_code == read
            match = await client.post(f"{REPORTS}/{identity}/match", json={"task_id": "x"})
            assert match.status_code == 403
            assert (await client.delete(f"{REPORTS}/{identity}")).status_code == 403
