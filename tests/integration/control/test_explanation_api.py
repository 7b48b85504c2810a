"""Over HTTP: why a task is where it is."""

import httpx

from lpmos.core.clock import utc_now
from lpmos.model.access import Role
from lpmos.model.evidence import Evidence, Sign
from lpmos.model.lifecycle import Status
from lpmos.store import keys, records
from tests.support.builders import MAC, make_task
from tests.support.control_plane import RunningControlPlane

TASK = make_task(status=Status.READY, tenant="a")
PATH = f"/api/v1/tasks/{TASK.task_id}/explanation"


async def test_explanation_has_causes_with_what_to_do(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    kept = Evidence(mac=MAC, asked=Sign(utc_now(), "on eth0"))
    await control_plane.store.put(keys.evidence(TASK.idc, TASK.sn), records.encode(kept))
    await control_plane.put_task(TASK)
    found = (await api.get(PATH)).json()
    assert (found["status"], found["online"], found["usual"]) == ("ready", False, None)
    assert [cause["code"] for cause in found["causes"]] == ["region-offline"]
    assert found["causes"][0]["do"].startswith("Look at the region's page")
    assert found["layers"][0]["what"] == "asked for an address: on eth0"
    assert found["layers"][1] == {"layer": "address", "at": None, "what": "not seen"}


async def test_explanation_is_told_to_who_sees_the_task(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(TASK)
    own = {"Authorization": f"Bearer {await control_plane.as_user([Role.VIEWER], 'a')}"}
    other = {"Authorization": f"Bearer {await control_plane.as_user([Role.VIEWER], 'b')}"}
    assert (await api.get(PATH, headers=own)).status_code == 200
    assert (await api.get(PATH, headers=other)).status_code == 404
