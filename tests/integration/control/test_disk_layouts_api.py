"""How disks are laid out, over real HTTP: what is asked, what is shown, what is never said."""

import httpx
import msgspec
import pytest

from lpmos.model.diskplan import GIB, DiskPlan, RootDiskHints, StorageLayout, plan_disk
from lpmos.model.inventory import Disk, Inventory
from lpmos.model.lifecycle import Status
from lpmos.store import keys
from tests.support.builders import make_inventory, make_task
from tests.support.control_plane import RunningControlPlane

NEW = {"idc": "dc1", "sn": "SN-1", "mac": "52:54:00:12:34:56", "os_type": "debian"} | {
    "os_version": "12"
}
ENCRYPTED = {"lvm": True, "encrypt": True, "swap_bytes": GIB}
PASSPHRASE = "correct horse battery"


def _inventory(*serials: str) -> Inventory:
    disks = (
        Disk(device=f"/dev/sd{name}", size_bytes=64 * GIB, kind="ssd", serial=serial)
        for name, serial in zip("abcd", serials, strict=False)
    )
    return make_inventory(disks=tuple(disks))


def _plan(inventory: Inventory) -> DiskPlan:
    return plan_disk(inventory, "raid1", RootDiskHints(), GIB)


@pytest.mark.parametrize(
    "layout",
    [
        "raid5",
        {"raid": "raid1", "members": [{"serial": "A"}, {"serial": "B"}], "erase": "discard"},
        {"partitions": [{"mount": "/var", "size_bytes": GIB, "filesystem": "xfs"}]},
    ],
)
async def test_layout_is_answered_as_it_was_asked_for(
    api: httpx.AsyncClient, layout: object
) -> None:
    made = await api.post("/api/v1/tasks", json=NEW | {"disk_layout": layout})
    assert made.status_code == 201, made.text
    task = (await api.get(made.json()["links"]["self"])).json()
    answered = task["disk_layout"]
    assert answered == task["metadata"]["disk_layout"]
    assert msgspec.convert(answered, str | StorageLayout) == msgspec.convert(
        layout, str | StorageLayout
    )


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"disk_layout": {"raid": "raid6"}}, ["disk_layout.raid"]),
        ({"disk_layout": {"colour": "red"}}, ["disk_layout.colour"]),
        (
            {"disk_layout": {"partitions": [{"mount": "var", "name": "v", "size_bytes": GIB}]}},
            ["disk_layout.partitions.0.mount"],
        ),
        ({"disk_layout": 5}, ["disk_layout"]),
        ({"disk_layout": {"encrypt": True}}, ["disk_passphrase"]),
        ({"disk_passphrase": PASSPHRASE}, ["disk_passphrase"]),
        ({"disk_layout": ENCRYPTED, "disk_passphrase": "short"}, ["disk_passphrase"]),
        ({"disk_layout": "raid1", "root_disk": {"serial": "A"}}, ["root_disk.serial"]),
    ],
)
async def test_wrong_layout_is_refused_at_its_field(
    api: httpx.AsyncClient, body: dict[str, object], fields: list[str]
) -> None:
    answer = await api.post("/api/v1/tasks", json=NEW | body)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == fields
    assert PASSPHRASE not in answer.text


async def test_passphrase_is_said_nowhere(
    api: httpx.AsyncClient,
    control_plane: RunningControlPlane,
    capfd: pytest.CaptureFixture[str],
) -> None:
    body = NEW | {"disk_layout": ENCRYPTED, "disk_passphrase": PASSPHRASE}
    made = await api.post("/api/v1/tasks", json=body)
    assert made.status_code == 201, made.text
    task = await api.get(made.json()["links"]["self"])
    assert task.json()["disk_layout"]["encrypt"] is True
    listed = await api.get("/api/v1/tasks")
    audit = await api.get("/api/v1/audit")
    page = await control_plane.store.range("/")
    assert keys.task_secrets("dc1", "SN-1") in [kv.key for kv in page.kvs]
    stored = b"".join(kv.value for kv in page.kvs)
    said = [made.text, task.text, listed.text, audit.text, *capfd.readouterr()]
    assert PASSPHRASE not in "".join(said)
    assert PASSPHRASE.encode() not in stored


async def test_approval_of_disks_that_are_others_now_is_refused(
    api: httpx.AsyncClient, control_plane: RunningControlPlane
) -> None:
    seen, now = _plan(_inventory("A", "B")), _plan(_inventory("A", "C"))
    task = make_task(
        status=Status.PENDING_APPROVAL,
        disk_layout=StorageLayout(raid="raid1"),
        hardware=_inventory("A", "C"),
        plan=now,
    )
    await control_plane.put_task(task)
    place = f"/api/v1/tasks/{task.task_id}"
    shown = (await api.get(place)).json()
    assert shown["plan_digest"] == now.digest != seen.digest
    assert [member["serial"] for member in shown["plan"]["members"]] == ["C"]
    refused = await api.put(f"{place}/approve", json={"approved": True, "plan_digest": seen.digest})
    assert refused.status_code == 409
    approved = await api.put(f"{place}/approve", json={"approved": True, "plan_digest": now.digest})
    assert approved.status_code == 200
