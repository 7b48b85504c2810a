"""Rules over HTTP: who may say what, what is refused, and what they would decide."""

import asyncio
from typing import Any

import httpx
import msgspec
import pytest

from lpmos.model.access import Role
from lpmos.model.diskplan import DiskPlan
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine
from lpmos.model.task import TaskPlace
from lpmos.store import keys, records
from tests.support.builders import MAC, NOW, actor, make_inventory, make_spec, make_task
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import ANSWER_TIMEOUT_S

RULES = "/api/v1/rules"
PLAN = DiskPlan(device="/dev/vda", size_bytes=8 << 30, serial="DISK01", partitions=())


def body(**fields: Any) -> dict[str, Any]:
    return {"kind": "approve", "condition": "true", **fields}


async def waiting(control_plane: RunningControlPlane, **fields: Any) -> str:
    """A task that waits for approval, as its region left it; its id."""
    task = make_task(
        **{
            "status": Status.PENDING_APPROVAL,
            "hardware": make_inventory(),
            "plan": PLAN,
            **fields,
        }
    )
    place = records.encode(TaskPlace(idc=task.idc, sn=task.sn))
    await control_plane.store.put(keys.task_place(task.task_id), place)
    await control_plane.put_task(task)
    return task.task_id


async def approved(api: httpx.AsyncClient, task_id: str) -> dict[str, Any]:
    """The task once it is approved."""
    async with asyncio.timeout(60):
        while True:
            task: dict[str, Any] = (await api.get(f"/api/v1/tasks/{task_id}")).json()
            if task["status"] == "approved":
                return task
            await asyncio.sleep(0.05)


async def test_rule_made_is_listed_read_changed_and_deleted(api: httpx.AsyncClient) -> None:
    made = await api.post(RULES, json=body(name="blank", condition="size(plan.overwrites) == 0"))
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"{RULES}/blank"
    shown = await api.get(f"{RULES}/blank")
    assert shown.json() == made.json()
    assert shown.headers["etag"] == made.headers["etag"]
    assert shown.json()["changed_by"] == "admin"

    listed = (await api.get(RULES, params={"kind": "approve"})).json()
    assert ([each["name"] for each in listed["rules"]], listed["total"]) == (["blank"], 1)
    assert (await api.get(RULES, params={"kind": "create"})).json()["total"] == 0

    seen = {"If-Match": made.headers["etag"]}
    changed = await api.put(f"{RULES}/blank", json=body(priority=7), headers=seen)
    assert changed.json()["priority"] == 7
    stale = await api.put(f"{RULES}/blank", json=body(), headers=seen)
    assert stale.status_code == 412
    assert (await api.delete(f"{RULES}/blank", headers=seen)).status_code == 412
    assert (await api.delete(f"{RULES}/blank")).status_code == 204
    assert (await api.get(f"{RULES}/blank")).status_code == 404
    assert (await api.delete(f"{RULES}/blank")).status_code == 404


async def test_rule_shows_what_its_tasks_shall_have_beside_an_os_where_it_says_so(
    api: httpx.AsyncClient,
) -> None:
    task = {"os_type": "debian", "os_version": "12"}
    words = {"kernel_arguments": "console=ttyS1,115200n8 hugepages=16"}
    for name, said in (("with", words), ("without", {})):
        made = await api.post(RULES, json=body(name=name, kind="create", task=task | said))
        assert made.status_code == 201, made.text
        shown = (await api.get(f"{RULES}/{name}")).json()["task"]
        assert {key: shown[key] for key in shown.keys() & {"method", *words}} == said
        again = await api.put(f"{RULES}/{name}", json=body(kind="create", task=shown))
        assert again.json()["task"] == shown


@pytest.mark.parametrize(
    ("fields", "wrong"),
    [
        ({"name": "A B"}, {"name"}),
        ({"name": "x", "condition": "machine.cpuu.cores > 1"}, {"condition"}),
        ({"name": "x", "condition": "x" * 1001}, {"condition"}),
        ({"name": "x", "condition": "1/"}, {"condition"}),
        ({"name": "x", "kind": "create"}, {"task"}),
        (
            {
                "name": "x",
                "kind": "create",
                "condition": "plan.size_bytes > 1",
                "allow_overwrite": True,
                "task": {
                    "os_type": "debian",
                    "os_version": "12",
                    "tags": {"?": "x"},
                    "kernel_arguments": "root=/dev/sda1",
                },
            },
            {"condition", "allow_overwrite", "task.tags.?", "task.kernel_arguments"},
        ),
        ({"name": "x", "priority": "high", "colour": 1}, {"priority", "colour"}),
        ({"name": "x", "idc": ["DC"], "enabled": "yes"}, {"idc.0", "enabled"}),
    ],
)
async def test_wrong_rule_is_422_with_every_field(
    api: httpx.AsyncClient, fields: dict[str, Any], wrong: set[str]
) -> None:
    answer = await api.post(RULES, json=body(**fields))

    assert answer.status_code == 422, answer.text
    assert wrong == {each["field"] for each in answer.json()["errors"]}
    assert (await api.get(RULES)).json()["total"] == 0


async def test_second_rule_of_a_name_is_409(api: httpx.AsyncClient) -> None:
    await api.post(RULES, json=body(name="one"))

    assert (await api.post(RULES, json=body(name="one"))).status_code == 409


async def test_unknown_parameter_of_the_list_is_refused(api: httpx.AsyncClient) -> None:
    answer = await api.get(RULES, params={"nmae": "x"})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "nmae"


async def test_rule_approves_what_waits_and_says_why(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    task_id = await waiting(control_plane)
    await api.post(RULES, json=body(name="big", condition="plan.size_bytes > TiB", priority=500))
    before = (await api.get(f"/api/v1/tasks/{task_id}/decision")).json()
    assert (before["waits_for"], before["status"]) == ("person", "pending_approval")
    assert before["rules"] == [
        {
            "rule": "big",
            "priority": 500,
            "matched": False,
            "reason": "plan.size_bytes = 8589934592",
        }
    ]

    await api.post(RULES, json=body(name="small", condition="plan.size_bytes < TiB"))
    task = await approved(api, task_id)

    assert task["approval"]["approved_by"] == "rule:small"
    assert task["approval"]["notes"] == "plan.size_bytes < TiB [plan.size_bytes = 8589934592]"
    after = (await api.get(f"/api/v1/tasks/{task_id}/decision")).json()
    assert after["waits_for"] is None
    assert [(each["rule"], each["matched"]) for each in after["rules"]] == [
        ("big", False),
        ("small", True),
    ]


async def test_decision_of_a_task_without_a_machine_waits_for_it(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    await api.post(RULES, json=body(name="cores", condition="machine.cpu.cores > 1"))
    task = await control_plane.services.tasks.create(make_spec(), by=actor())

    decision = (await api.get(f"/api/v1/tasks/{task.task_id}/decision")).json()

    assert decision["waits_for"] == "machine"
    assert decision["rules"][0]["reason"] == "there is no machine yet"
    assert (await api.get("/api/v1/tasks/none/decision")).status_code == 404


async def test_tenants_admin_has_its_own_rules_only(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    await api.post(RULES, json=body(name="provider", enabled=False))
    token = await control_plane.as_user([Role.ADMIN], tenant="acme")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as acme:
        made = await acme.post(RULES, json=body(name="ours", enabled=False))
        assert made.json()["tenant"] == "acme"
        assert [each["name"] for each in (await acme.get(RULES)).json()["rules"]] == ["ours"]
        for call in (
            acme.get(f"{RULES}/provider"),
            acme.put(f"{RULES}/provider", json=body()),
            acme.delete(f"{RULES}/provider"),
        ):
            assert (await call).status_code == 404
        task = {"os_type": "debian", "os_version": "12"}
        create = await acme.post(RULES, json=body(name="zt", kind="create", task=task))
        assert create.status_code == 422
        assert create.json()["errors"][0]["field"] == "kind"
        other = await acme.post(RULES, json=body(name="theirs", tenant="other"))
        assert other.json()["errors"][0]["field"] == "tenant"


async def test_operator_sees_rules_and_changes_none(control_plane: RunningControlPlane) -> None:
    token = await control_plane.as_user([Role.OPERATOR, Role.APPROVER])
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as operator:
        assert (await operator.get(RULES)).status_code == 200
        assert (await operator.post(RULES, json=body(name="x"))).status_code == 403
        assert (await operator.put(f"{RULES}/x", json=body())).status_code == 403
        assert (await operator.delete(f"{RULES}/x")).status_code == 403
        tried = await operator.post(f"{RULES}/dry-run", json={"rule": body()})
        assert tried.status_code == 200


async def put_machine(control_plane: RunningControlPlane, number: int, **fields: Any) -> None:
    machine = Machine(
        idc="dc1",
        sn=f"SN-{number}",
        macs=(f"52:54:00:00:01:{number:02x}",),
        inventory=make_inventory(),
        first_seen_at=NOW,
        updated_at=NOW,
    )
    whole = msgspec.structs.replace(machine, **fields)
    await control_plane.store.put(keys.meta(whole.idc, whole.sn), records.encode(whole))


async def test_dry_run_says_of_each_machine_what_the_rule_would_decide(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    await put_machine(control_plane, 2)
    await put_machine(control_plane, 3, inventory=None)
    await put_machine(control_plane, 4, tenant="acme")
    await put_machine(control_plane, 1)
    await waiting(control_plane, mac=MAC)
    rule = body(condition="task.sn == 'SN-1' && machine.disks.all(d, d.size_bytes < TiB)")

    answer = await api.post(f"{RULES}/dry-run", json={"rule": rule})

    assert answer.status_code == 200, answer.text
    result = answer.json()
    counted = {name: result[name] for name in ("matched", "not_matched", "complete")}
    assert counted == {"matched": 1, "not_matched": 2, "complete": True}
    lines = {each["sn"]: (each["matched"], each["reason"]) for each in result["machines"]}
    assert lines["SN-1"][0] is True
    assert lines["SN-2"] == (False, "the machine has no task")
    assert (await api.get(RULES)).json()["total"] == 0
    token = await control_plane.as_user([Role.VIEWER], tenant="acme")
    mine = await api.post(
        f"{RULES}/dry-run", json={"rule": rule}, headers={"Authorization": f"Bearer {token}"}
    )
    assert [each["sn"] for each in mine.json()["machines"]] == ["SN-4"]


async def test_dry_run_of_a_wrong_rule_names_its_fields(api: httpx.AsyncClient) -> None:
    answer = await api.post(f"{RULES}/dry-run", json={"rule": body(condition="machine.x")})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "rule.condition"


async def test_rejected_task_is_not_approved_by_a_later_rule(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> None:
    task_id = await waiting(control_plane)
    await api.put(f"/api/v1/tasks/{task_id}/reject", json={"reason": "no"})
    await api.post(RULES, json=body(name="all"))
    await waiting(control_plane, task_id="other", sn="SN-2", mac="52:54:00:00:00:02")
    await approved(api, "other")

    assert (await api.get(f"/api/v1/tasks/{task_id}")).json()["status"] == "rejected"
