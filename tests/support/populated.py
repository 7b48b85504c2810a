"""A control plane with something of every kind in it, as a test of all its calls needs."""

import uuid
from datetime import timedelta

import httpx

from lpmos.core.taskstore import moved
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import Machine, UnmatchedReport
from lpmos.model.task import TaskError
from lpmos.store import keys, records
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

EACH = 12


async def populate(control_plane: RunningControlPlane) -> None:
    """Put `EACH` waiting, failed and finished tasks, machines and reports into a control plane.

    There is a user too, `alice`, and what belongs to her.
    """
    for number in range(EACH):
        await _waiting(control_plane, number)
        await _failed(control_plane, EACH + number)
        await _finished(control_plane, 2 * EACH + number)
        await _unmatched(control_plane, 3 * EACH + number)
    await _called(control_plane)


def _mac(number: int) -> str:
    return f"52:54:00:00:01:{number:02x}"


def _id(number: int) -> str:
    return str(uuid.UUID(int=number + 1, version=4))


async def _waiting(control_plane: RunningControlPlane, number: int) -> None:
    task = make_task(
        task_id=_id(number),
        sn=f"SN-{number}",
        mac=_mac(number),
        status=Status.PENDING_APPROVAL,
        hardware=make_inventory(),
    )
    await control_plane.put_task(task)


async def _failed(control_plane: RunningControlPlane, number: int) -> None:
    task = make_task(task_id=_id(number), sn=f"SN-{number}", mac=_mac(number))
    await control_plane.put_task(task)
    error = TaskError(reason="the disk died", hint="replace it")
    later = NOW + timedelta(minutes=number)
    failed = await control_plane.change(
        task.task_id, lambda now: moved(now, Event.FAIL, later, error=error)
    )
    await control_plane.seen(failed)


async def _finished(control_plane: RunningControlPlane, number: int) -> None:
    sn = f"SN-{number}"
    machine = Machine(
        idc="dc1",
        sn=sn,
        macs=(_mac(number),),
        inventory=make_inventory(),
        tags={"rack": "a1"},
        first_seen_at=NOW,
        reported_at=NOW,
        updated_at=NOW,
    )
    await control_plane.store.put(keys.meta("dc1", sn), records.encode(machine))
    await control_plane.put_task(
        make_task(task_id=_id(number), sn=sn, mac=_mac(number), status=Status.COMPLETED)
    )


async def _unmatched(control_plane: RunningControlPlane, number: int) -> None:
    report = UnmatchedReport(
        mac_address=_mac(number),
        region="dc1",
        sn=f"SN-{number}",
        hardware=make_inventory(),
        received_at=NOW,
        error="no task for this machine",
    )
    key = keys.unmatched(report.region, report.received_at, report.mac_address)
    revision = await control_plane.store.put(key, records.encode(report))
    await control_plane.fleet.wait_for_revision(revision)


async def _called(control_plane: RunningControlPlane) -> None:
    """What is made by calls of the API."""
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    async with httpx.AsyncClient(
        base_url=f"{control_plane.url}/api/v1", headers=headers, timeout=30.0
    ) as api:
        user = {"name": "alice", "roles": ["viewer"], "password": "correct horse battery"}
        (await api.post("/users", json=user)).raise_for_status()
        token = {"name": "nightly build", "roles": ["viewer"]}
        (await api.post("/tokens?user=alice", json=token)).raise_for_status()
        template = {"content": "{{ task.hostname }}"}
        (await api.put("/templates/motd", json=template)).raise_for_status()
        rule = {"name": "never", "kind": "approve", "condition": "false"}
        (await api.post("/rules", json=rule)).raise_for_status()
        webhook = {"name": "on call", "url": "http://127.0.0.1:9/lpmos", "events": ["user.*"]}
        (await api.post("/webhooks", json=webhook)).raise_for_status()
