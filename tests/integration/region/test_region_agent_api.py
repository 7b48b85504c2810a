"""The agent API over real HTTP and the embedded store: B1-B5, B8, B9, and bad input."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lpmos.model.bootplan import UnknownMachines
from lpmos.model.inventory import Nic
from lpmos.model.machine import UnmatchedReport
from lpmos.store import keys, records
from tests.support.builders import MAC, actor, make_inventory
from tests.support.region import AGENT_ID, OTHER_AGENT_ID, RunningRegion, running, until

OTHER_MAC = "52:54:00:00:00:99"


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path) as started:
        yield started


async def test_line_from_boot_to_completed_goes_through_every_state(region: RunningRegion) -> None:
    task = await region.create_task()
    assert (await region.text(f"/boot/ipxe?mac={MAC}"))[0] == 200
    status, body = await region.report()
    assert (status, body) == (
        200,
        {"status": "received", "task_id": task.task_id, "next_action": "wait_for_approval"},
    )
    await region.task_in(task.task_id, "pending_approval")
    assert await region.get(f"/api/v1/agent/approval/{MAC}") == (200, {"status": "pending"})
    await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
    status, body = await region.get(f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}&wait=20")
    assert (status, body["status"]) == (200, "approved")
    plan = body["plan"]
    assert plan["disk"]["device"] == "/dev/vda"
    async with region.http.get(region.url + plan["image"]["url"]) as image:
        assert len(await image.read()) == plan["image"]["size_bytes"]
    status, _ = await region.claim(task)
    assert status == 200
    for stage, percentage in (
        ("partitioning", 20),
        ("downloading", 60),
        ("installing", 90),
        ("configuring", 100),
    ):
        status, body = await region.progress(task, stage, percentage)
        assert status == 200, body
    done = await region.stored_task(task)
    assert [change.status.value for change in done.status_history] == [
        *("pending", "ready", "booting", "pending_approval", "approved", "installing", "completed")
    ]
    await region.task_in(task.task_id, "completed")
    _, script = await region.text(f"/boot/ipxe?mac={MAC}")
    assert script.endswith("exit 1\n")


async def test_report_without_task_is_kept_once_and_matched_later(region: RunningRegion) -> None:
    for _ in range(3):
        status, body = await region.report(mac_address="52-54-00-00-00-01")
        assert (status, body["retry_after"], body["discovery"]) == (404, 10, True)
        assert "no task" in body["error"]
    page = await region.store.range("/os/unmatched_reports/dc1/")
    assert len(page.kvs) == 1
    kept = records.decode(page.kvs[0], UnmatchedReport)
    assert (kept.mac_address, kept.region, kept.hardware) == (MAC, "dc1", make_inventory())
    task = await region.create_task()
    status, body = await region.report()
    assert (status, body["task_id"]) == (200, task.task_id)
    assert not (await region.store.range("/os/unmatched_reports/dc1/")).kvs


async def test_report_without_task_where_unknown_boot_their_disk_says_no_discovery(
    tmp_path: Path,
) -> None:
    body = {"mac_address": MAC, "hardware": json.loads(msgspec.json.encode(make_inventory()))}
    async with (
        running(tmp_path, unknown=UnknownMachines.LOCAL_DISK, agent_identity="optional") as region,
        region.http.post(f"{region.url}/api/report", json=body) as answer,
    ):
        assert (answer.status, answer.headers["Retry-After"]) == (404, "10")
        assert (await answer.json(content_type=None))["discovery"] is False


async def test_report_twice_is_the_same_answer_and_one_state(region: RunningRegion) -> None:
    task = await region.create_task()
    assert await region.report() == await region.report(mac_address=MAC.upper())
    stored = await region.stored_task(task)
    assert [change.status.value for change in stored.status_history].count("pending_approval") == 1


async def test_report_with_no_fitting_disk_stops_the_agent(region: RunningRegion) -> None:
    task = await region.create_task()
    hardware = json.loads(msgspec.json.encode(make_inventory(disks=())))
    status, body = await region.report(hardware=hardware)
    assert (status, body["next_action"]) == (200, "stop")
    assert "no disk" in body["reason"]
    assert (await region.stored_task(task)).status.value == "failed"


async def test_report_with_placeholder_serial_is_matched_by_mac(region: RunningRegion) -> None:
    task = await region.create_task()
    status, body = await region.report(sn="To Be Filled By O.E.M.")
    assert (status, body["task_id"]) == (200, task.task_id)


async def test_approval_waits_for_the_decision(region: RunningRegion) -> None:
    task = await region.create_task()
    await region.report()
    await region.task_in(task.task_id, "pending_approval")
    waiting = asyncio.create_task(region.get(f"/api/v1/agent/approval/{MAC}?wait=30"))
    await asyncio.sleep(0)
    await region.tasks.reject(task.task_id, by=actor("admin"), reason="wrong rack")
    async with asyncio.timeout(60):
        assert await waiting == (200, {"status": "rejected", "reason": "wrong rack"})


@pytest.mark.parametrize("path", ["/api/approval", "/api/v1/agent/approval"])
async def test_approval_of_a_cancelled_task_says_stop(region: RunningRegion, path: str) -> None:
    task = await region.approved_task()
    await region.tasks.cancel(task.task_id, by=actor("admin"))
    await region.task_in(task.task_id, "cancelled")
    status, body = await region.get(f"{path}/5254.0000.0001?task_id={task.task_id}")
    assert (status, body["status"]) == (200, "cancelled")
    assert task.task_id in body["reason"]


async def test_approval_of_anothers_task_is_not_found(region: RunningRegion) -> None:
    task = await region.approved_task()
    status, body = await region.get(f"/api/v1/agent/approval/{OTHER_MAC}?task_id={task.task_id}")
    assert (status, body["code"]) == (404, "no-task")


async def test_claim_by_a_second_run_is_refused_and_changes_nothing(region: RunningRegion) -> None:
    task = await region.installing_task()
    before = await region.stored_task(task)
    assert (await region.claim(task))[0] == 200
    status, body = await region.claim(task, OTHER_AGENT_ID)
    assert (status, body["code"]) == (409, "foreign-claim")
    status, body = await region.progress(task, "downloading", 30, agent_id=OTHER_AGENT_ID)
    assert (status, body["code"]) == (409, "foreign-claim")
    assert await region.stored_task(task) == before


async def test_claim_after_cancel_is_refused(region: RunningRegion) -> None:
    task = await region.approved_task()
    await region.tasks.cancel(task.task_id, by=actor("admin"))
    status, body = await region.claim(task)
    assert (status, body["code"]) == (409, "impossible-transition")


async def test_failure_has_command_output_and_hint_and_the_whole_log(region: RunningRegion) -> None:
    task = await region.installing_task()
    await region.progress(task, "partitioning", 3, log=["[INFO] writing the table", "odd \x1b[2J"])
    error = {"command": "mkfs.ext4 /dev/vda3", "output": "line 1\nline 2", "hint": "look at it"}
    status, _ = await region.post(
        "/api/v1/agent/status",
        {
            **{"mac_address": MAC, "task_id": task.task_id, "agent_id": AGENT_ID},
            **{"status": "failed", "progress": 3, "message": "mkfs failed", "error": error},
        },
    )
    assert status == 200
    failed = await region.stored_task(task)
    assert failed.status.value == "failed"
    assert failed.error is not None
    assert msgspec.to_builtins(failed.error) == {
        "reason": "mkfs failed",
        "code": None,
        **error,
    }
    status, log = await region.text(f"/api/v1/tasks/{task.task_id}/log")
    assert status == 200
    words = [line.split(" ", 1)[1] for line in log.splitlines()]
    assert "[INFO] [agent] writing the table" in words
    assert "[INFO] [agent] odd [2J" in words
    assert words[-4:] == [
        "[ERROR] [agent] mkfs failed",
        "[ERROR] [agent] command: mkfs.ext4 /dev/vda3",
        "[ERROR] [agent] line 1",
        "[ERROR] [agent] line 2",
    ]


WRONG: list[tuple[str, dict[str, Any] | bytes, int, str]] = [
    ("report", b"{", 400, ""),
    ("report", b"\xff\xfe", 400, ""),
    ("report", b'{"x":' + b"[" * 60_000, 400, ""),
    ("report", {"mac_address": MAC}, 422, "hardware"),
    (
        "report",
        {"mac_address": MAC, "hardware": {"memory": 1}},
        422,
        "hardware.collected_at hardware.boot_mode hardware.memory",
    ),
    ("report", {"mac_address": "nonsense"}, 422, "hardware mac_address"),
    ("report", b"x" * (1024 * 1024 + 1), 413, ""),
    ("status", {"mac_address": MAC, "task_id": "x", "status": "dancing"}, 422, "status"),
    (
        "status",
        {"mac_address": "01:00:5e:00:00:01", "task_id": "x", "status": "failed"},
        422,
        "mac_address",
    ),
    ("status", b"x" * (64 * 1024 + 1), 413, ""),
    ("progress", {"mac_address": MAC, "task_id": "x", "stage": "a", "percentage": 1}, 422, "stage"),
    (
        "progress",
        {"mac_address": MAC, "task_id": "x", "stage": "installing", "percentage": 101},
        422,
        "percentage",
    ),
    (
        "progress",
        {
            **{"mac_address": MAC, "task_id": "x", "stage": "installing", "percentage": 1},
            "agent_id": "?",
        },
        422,
        "agent_id",
    ),
    (
        "progress",
        {"mac_address": MAC, "task_id": "x", "stage": "installing", "percentage": 61},
        404,
        "",
    ),
]


@pytest.mark.parametrize(("call", "body", "expected", "fields"), WRONG)
async def test_wrong_call_is_a_problem_naming_the_field_and_changes_nothing(
    region: RunningRegion, call: str, body: dict[str, Any] | bytes, expected: int, fields: str
) -> None:
    task = await region.create_task()
    before = await region.stored_task(task)
    status, problem = await region.post(f"/api/v1/agent/{call}", body)
    assert status == problem["status"] == expected, problem
    assert {"type", "title", "detail", "code", "errors"} <= problem.keys()
    assert [error["field"] for error in problem["errors"]] == fields.split()
    assert await region.stored_task(task) == before
    assert not (await region.store.range("/os/unmatched_reports/")).kvs


async def test_compressed_body_beyond_the_limit_is_refused(region: RunningRegion) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    async with region.http.post(
        f"{region.url}/api/v1/agent/report",
        data=bomb,
        headers={"Content-Encoding": "gzip", **region.shown({})},
    ) as answer:
        assert answer.status == 413


@pytest.mark.parametrize(
    ("path", "status", "field"),
    [
        ("/api/v1/agent/approval/zz", 422, "mac"),
        (f"/api/v1/agent/approval/{MAC}?wait=61", 422, "wait"),
        (f"/api/v1/agent/approval/{MAC}?wait=-1", 422, "wait"),
        (f"/api/v1/agent/approval/{MAC}", 404, ""),
        ("/api/v1/tasks/..%2f..%2fetc%2fpasswd/log", 422, "task_id"),
        ("/api/v1/tasks/0b0b6f5e-0000-4000-8000-000000000001/log", 404, ""),
        ("/nowhere", 404, ""),
    ],
)
async def test_wrong_path_is_a_problem(
    region: RunningRegion, path: str, status: int, field: str
) -> None:
    found, problem = await region.get(path)
    assert (found, problem["status"]) == (status, status)
    assert [error["field"] for error in problem["errors"]] == ([field] if field else [])


async def test_wrong_method_is_a_problem_that_names_the_right_one(region: RunningRegion) -> None:
    async with region.http.get(f"{region.url}/api/v1/agent/report") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        assert (await answer.json(content_type=None))["code"] == "method-not-allowed"


async def test_store_away_is_answered_from_what_is_known_and_told_afterwards(
    region: RunningRegion,
) -> None:
    task = await region.installing_task()
    region.store.away = True
    assert (await region.claim(task))[0] == 200
    assert (await region.claim(task, OTHER_AGENT_ID))[0] == 409
    assert (await region.progress(task, "downloading", 30, log=["[INFO] a"]))[0] == 200
    assert (await region.progress(task, "downloading", 40, log=["[INFO] b"]))[0] == 200
    status, health = await region.get("/health")
    assert (status, health["outbox"]["waiting"]) == (200, 1)
    region.store.away = False

    async def handed_in() -> bool:
        return (await region.stored_task(task)).percent == 40

    await until(handed_in, "the kept progress in the store")
    logs = [line.split(" ", 1)[1] for line in (await region.stored_task(task)).logs]
    assert logs[-2:] == ["[INFO] [agent] a", "[INFO] [agent] b"]


async def test_unknown_machine_while_the_store_is_away_is_503_and_never_404(
    region: RunningRegion,
) -> None:
    region.store.away = True
    await until(lambda: not region.fleet.connected, "the outage to be seen")
    for path in (f"/api/v1/agent/approval/{OTHER_MAC}", f"/api/v1/agent/approval/{MAC}?task_id=x"):
        headers = region.shown({"mac_address": path.rpartition("/")[2].partition("?")[0]})
        async with region.http.get(region.url + path, headers=headers) as answer:
            assert answer.status == 503
            assert int(answer.headers["Retry-After"]) > 0
    assert (await region.report(mac_address=OTHER_MAC))[0] == 503


async def test_task_without_image_fails_with_what_to_do(region: RunningRegion) -> None:
    before = region.catalog.find("debian", "12")
    assert before is not None
    task = await region.approved_task()
    region.catalog.path(before).unlink()
    (region.catalog.path(before).parent / "manifest.json").unlink()
    status, body = await region.get(f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}")
    assert (status, body["status"]) == (200, "failed")
    failed = await region.stored_task(task)
    assert failed.error is not None
    assert failed.error.hint is not None
    assert "lpmos image build debian" in failed.error.hint


async def test_task_under_way_without_image_goes_on(region: RunningRegion) -> None:
    manifest = region.catalog.find("debian", "12")
    assert manifest is not None
    task = await region.installing_task()
    (region.catalog.path(manifest).parent / "manifest.json").unlink()
    status, body = await region.get(f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}")
    assert (status, body) == (200, {"status": "pending"})
    assert (await region.stored_task(task)).status.value == "installing"


async def test_report_answered_the_machine_is_known_by_all_its_macs(region: RunningRegion) -> None:
    task = await region.create_task()
    nics = (Nic(interface="eth0", mac=MAC, booted=True), Nic(interface="eth1", mac=OTHER_MAC))
    hardware = json.loads(msgspec.json.encode(make_inventory(nics=nics)))
    for _ in range(2):
        began = asyncio.get_running_loop().time()
        assert (await region.report(hardware=hardware))[0] == 200
        for query in ("", f"?task_id={task.task_id}"):
            found = await region.get(f"/api/v1/agent/approval/{OTHER_MAC}{query}")
            assert found == (200, {"status": "pending"})
        assert asyncio.get_running_loop().time() - began < 1


async def test_key_names_of_the_store_are_the_documented_ones(region: RunningRegion) -> None:
    page = await region.store.range("/os/region/dc1/", keys_only=True)
    assert [kv.key for kv in page.kvs] == [
        keys.capabilities("dc1"),
        keys.heartbeat("dc1"),
        keys.region_status("dc1"),
    ]
