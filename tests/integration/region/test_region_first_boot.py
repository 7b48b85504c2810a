"""The hand-over to the installed system and its one call, over real HTTP and a real store."""

import hashlib
import io
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from lpmos.install import first_boot
from lpmos.model.errors import InvalidInput
from lpmos.model.task import Task
from lpmos.region.installed_api import InstalledCall, parse_installed
from lpmos.region.leases import DhcpLease, render_leases
from tests.support.builders import MAC, actor
from tests.support.region import AGENT_ID, RunningRegion, fill, running, until

TOKEN = "0123456789abcdef" * 4
SHA256 = hashlib.sha256(TOKEN.encode()).hexdigest()
PATH = "/api/v1/installed"
BOOT = f"/boot/ipxe?mac={MAC}&sn=SN-1"


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path) as region:
        fill(region.catalog, tmp_path, first_boot=True)
        yield region


async def hand_over(region: RunningRegion, task: Task, **fields: Any) -> tuple[int, dict[str, Any]]:
    body = {
        "mac_address": MAC,
        "task_id": task.task_id,
        "agent_id": AGENT_ID,
        "status": "restarting",
        "progress": 99,
        "message": "everything is written",
        "first_boot_sha256": SHA256,
    }
    return await region.post("/api/v1/agent/status", {**body, **fields})


async def call(region: RunningRegion, body: object) -> tuple[int, dict[str, Any]]:
    """The installed system's call: no identity is shown."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    async with region.http.post(region.url + PATH, data=io.BytesIO(data)) as answer:
        return answer.status, await answer.json(content_type=None)


def said(task: Task, **fields: Any) -> dict[str, Any]:
    return {"task_id": task.task_id, "mac_address": MAC, "token": TOKEN, **fields}


async def handed_over(region: RunningRegion) -> Task:
    task = await region.installing_task()
    status, body = await hand_over(region, task)
    assert (status, body["status"]) == (200, "installing")

    def known() -> bool:
        here = region.fleet.task(task.task_id)
        return here is not None and here.starts_its_system

    await until(known, "the region to know of the hand-over")
    return await region.stored_task(task)


async def test_plan_of_an_image_that_can_tell_has_what_the_installed_system_needs(
    region: RunningRegion,
) -> None:
    task = await region.approved_task()
    _, body = await region.get(f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}&wait=0")
    files = {file["path"]: file["content"] for file in body["plan"]["first_boot"]["files"]}
    assert set(files) == {
        *(first_boot.REQUEST, first_boot.SCRIPT, first_boot.UNIT, first_boot.WANTED)
    }
    assert f"Host: {region.url.removeprefix('http://')}" in files[first_boot.SCRIPT]


async def test_plan_of_another_image_has_no_first_boot(tmp_path: Path) -> None:
    async with running(tmp_path) as region:
        task = await region.approved_task()
        _, body = await region.get(f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}&wait=0")
        assert body["plan"]["first_boot"] is None


async def test_machine_goes_from_hand_over_by_its_disk_to_completed(region: RunningRegion) -> None:
    task = await handed_over(region)
    assert "exit 1" in (await region.text(BOOT))[1]
    with capture_logs() as logs:
        assert (await call(region, said(task)))[0] == 200
    done = await region.stored_task(task)
    assert done.status.value == "completed"
    assert (await call(region, said(task)))[1]["status"] == "completed"
    assert TOKEN not in repr(logs) and TOKEN not in repr(done)


async def test_last_word_repeated_is_the_same_answer(region: RunningRegion) -> None:
    task = await handed_over(region)
    assert (await hand_over(region, task))[0] == 200
    assert await region.stored_task(task) == task


async def test_last_word_without_a_digest_names_what_is_missing(region: RunningRegion) -> None:
    task = await region.installing_task()
    status, body = await hand_over(region, task, first_boot_sha256=None)
    assert status == 422
    assert body["errors"][0]["field"] == "first_boot_sha256"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"token": "f" * 64}, 401),
        ({"token": "short"}, 422),
        ({"mac_address": "52:54:00:00:00:99"}, 404),
        ({"task_id": "00000000-0000-0000-0000-000000000000"}, 404),
    ],
)
async def test_call_that_is_not_the_installed_systems_is_refused_and_logged(
    region: RunningRegion, fields: dict[str, Any], expected: int
) -> None:
    task = await handed_over(region)
    with capture_logs() as logs:
        status, _ = await call(region, said(task, **fields))
    assert status == expected
    refused = [log for log in logs if log["event"] == "an installed system is refused"]
    assert len(refused) == (0 if expected == 422 else 1)
    assert not any(str(fields.get("token", TOKEN)) in repr(log) for log in logs)
    assert await region.stored_task(task) == task


async def test_machine_that_has_its_system_boots_it_from_any_address_and_names_no_task(
    region: RunningRegion,
) -> None:
    task = await handed_over(region)
    later = int(time.time()) + 600
    leased = render_leases([DhcpLease("127.0.0.1", "52:54:00:00:00:99", later)])
    (region.state_dir / "dhcp.leases").write_text(leased)
    script = (await region.text(BOOT))[1]
    assert "exit 1" in script and task.task_id not in script


async def test_call_for_a_cancelled_task_is_refused(region: RunningRegion) -> None:
    task = await handed_over(region)
    await region.tasks.cancel(task.task_id, by=actor("boss"))
    assert (await call(region, said(task)))[0] == 409


async def test_call_before_the_last_word_is_to_be_repeated(region: RunningRegion) -> None:
    task = await region.installing_task()
    status, body = await call(region, said(task))
    assert (status, body["code"]) == (503, "not-handed-over")


async def test_agent_that_boots_again_is_told_to_stop(region: RunningRegion) -> None:
    task = await handed_over(region)
    status, body = await region.report()
    assert (status, body["next_action"]) == (200, "stop")
    _, body = await region.get(f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}&wait=0")
    assert body["status"] == "restarting"


async def test_agent_is_off_line_at_once_after_its_last_word(region: RunningRegion) -> None:
    await handed_over(region)
    await until(lambda: not region.fleet.agent_online("dc1", "SN-1"), "the agent to be off line")


@given(st.binary(max_size=200))
def test_parse_of_any_bytes_is_a_call_or_a_named_problem(body: bytes) -> None:
    try:
        task_id, mac, digest, _ = parse_installed(body)
    except (InvalidInput, msgspec.DecodeError):
        return
    assert task_id and mac and len(digest) == 64


@given(
    st.fixed_dictionaries(
        {"task_id": st.text(), "mac_address": st.text() | st.just(MAC), "token": st.text()}
    )
)
def test_parse_of_any_texts_is_a_call_or_names_wrong_fields(fields: dict[str, str]) -> None:
    try:
        parse_installed(msgspec.json.encode(fields))
    except InvalidInput as error:
        assert {problem.field for problem in error.problems} <= set(InstalledCall.__struct_fields__)


async def test_failed_first_boot_fails_the_task_with_what_it_said(region: RunningRegion) -> None:
    task = await handed_over(region)
    body = said(task, status="failed", message="ansible failed", output="no route\n\x1b[31mhost")
    with capture_logs() as logs:
        status, answer = await call(region, body)
        again = await call(region, body)
    assert (status, answer["status"]) == (200, "failed") and again == (status, answer)
    error = (await region.stored_task(task)).error
    assert error is not None and error.reason.endswith("failed: ansible failed")
    assert error.output == "no route\n [31mhost" and error.hint
    assert TOKEN not in json.dumps(logs, default=str)


async def test_failed_first_boot_said_wrongly_is_refused(region: RunningRegion) -> None:
    task = await handed_over(region)
    assert (await call(region, said(task, status="broken")))[0] == 422
    assert (await call(region, said(task, status="failed", token="x" * 64)))[0] == 401
    assert (await call(region, said(task, status="failed", output="x" * 20_000)))[0] == 413
    assert not (await region.stored_task(task)).finished
