"""Over HTTP: how a machine differs from what it reported for its task before."""

from datetime import timedelta

import httpx
import msgspec

from lpmos.model.access import Role
from lpmos.model.inventory import Bios
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from lpmos.store import keys, records
from tests.support.builders import NOW, make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

OLD = make_task(
    status=Status.COMPLETED,
    hardware=make_inventory(bios=Bios(version="1.0")),
    created_at=NOW - timedelta(days=1),
)
NEW = make_task(
    task_id="0b0b6f5e-0000-4000-8000-000000000002",
    status=Status.PENDING_APPROVAL,
    hardware=make_inventory(bios=Bios(version="1.1")),
)
PATH = f"/api/v1/tasks/{NEW.task_id}/hardware-changes"


async def _put(control_plane: RunningControlPlane, old: Task, new: Task) -> None:
    """A machine's past task and its present one."""
    key = keys.history(old.idc, old.sn, old.task_id)
    await control_plane.store.put(key, records.encode(old))
    await control_plane.put_task(new)


async def test_changes_are_those_since_the_report_for_the_task_before(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, OLD, NEW)
    found = (await api.get(PATH)).json()
    assert found["compared_with"]["task_id"] == OLD.task_id
    (change,) = found["changes"]
    assert (change["path"], change["change"]) == ("bios/version", "changed")
    assert (change["before"], change["after"]) == ("1.0", "1.1")


async def test_changes_of_the_same_hardware_are_an_empty_list(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, OLD, msgspec.structs.replace(NEW, hardware=OLD.hardware))
    assert (await api.get(PATH)).json()["changes"] == []


async def test_changes_without_two_reports_are_null(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(NEW)
    nothing = {"task_id": NEW.task_id, "compared_with": None, "changes": None}
    assert (await api.get(PATH)).json() == nothing
    await _put(control_plane, OLD, msgspec.structs.replace(NEW, hardware=None))
    assert (await api.get(PATH)).json() == nothing


async def test_changes_tell_a_tenants_user_nothing_of_another_tenants_task(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await _put(control_plane, OLD, msgspec.structs.replace(NEW, tenant="a"))
    own = {"Authorization": f"Bearer {await control_plane.as_user([Role.VIEWER], 'a')}"}
    other = {"Authorization": f"Bearer {await control_plane.as_user([Role.VIEWER], 'b')}"}
    assert (await api.get(PATH, headers=own)).json()["changes"] is None
    assert (await api.get(PATH, headers=other)).status_code == 404
