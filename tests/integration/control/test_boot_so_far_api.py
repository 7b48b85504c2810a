"""Over HTTP: a task before its agent's report has what its region saw of the boot."""

from datetime import timedelta

import httpx

from lpmos.model.boot import DHCP, INITRAMFS, INITRAMFS_ASKED, KERNEL, KERNEL_ASKED, Boot
from lpmos.model.evidence import Evidence, Sign
from lpmos.model.lifecycle import Status
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, make_task
from tests.support.control_plane import RunningControlPlane

TASK = make_task(status=Status.READY)
PATH = f"/api/v1/tasks/{TASK.task_id}"


async def see(control_plane: RunningControlPlane, *moments: str) -> None:
    """Write that the region saw these, a second after another."""
    boot = Boot()
    for number, moment in enumerate(moments, 1):
        boot = boot.after(moment, NOW + timedelta(seconds=number))
    seen = Evidence(mac=MAC, asked=Sign(NOW), boot=boot)
    place = keys.evidence(TASK.idc, TASK.sn)
    revision = await control_plane.store.put(place, records.encode(seen))
    await control_plane.fleet.wait_for_revision(revision)


async def test_task_has_each_moment_as_soon_as_it_was_seen(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    await control_plane.put_task(TASK)
    first = await api.get(PATH)
    assert {entry["event"] for entry in first.json()["timeline"]}.isdisjoint([DHCP, KERNEL])
    await see(control_plane, DHCP)
    assert [entry["event"] for entry in (await api.get(PATH)).json()["timeline"]][-1] == DHCP
    way = (DHCP, KERNEL_ASKED, KERNEL, INITRAMFS_ASKED, INITRAMFS)
    await see(control_plane, *way)
    found = await api.get(PATH)
    told = [entry for entry in found.json()["timeline"] if entry["event"].startswith("boot.")]
    assert [entry["event"] for entry in told] == [*way]
    assert [entry["after_s"] for entry in told[1:]] == [1.0] * 4
    durations = found.json()["durations"]
    assert (durations["boot.kernel"], durations["boot.initramfs"]) == (1.0, 1.0)
    assert found.headers["etag"] == first.headers["etag"], "it is the same document"
