"""The API guide is true: its commands, run in order, do what the page says."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import msgspec
import pytest

from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from tests.support.builders import make_inventory
from tests.support.control_plane import RunningControlPlane
from tests.support.polling import until

GUIDE = Path(__file__).parents[3] / "docs/how-to/api-guide.md"
TIMEOUT_S = 60.0
USER, PASSWORD = "alice", "correct horse battery"


def blocks(kind: str) -> list[str]:
    """The blocks of one language in the guide."""
    return re.findall(rf"```{kind}\n(.*?)```", GUIDE.read_text(), re.DOTALL)


@pytest.fixture
async def with_alice(
    control_plane: RunningControlPlane, api: httpx.AsyncClient
) -> AsyncIterator[RunningControlPlane]:
    """A control plane with the guide's user, and a region whose machines report at once."""
    user = {"name": USER, "roles": ["operator", "approver"], "password": PASSWORD}
    (await api.post("/api/v1/users", json=user)).raise_for_status()
    region = asyncio.create_task(_report(control_plane))
    yield control_plane
    region.cancel()


async def _report(control_plane: RunningControlPlane) -> None:
    """Report the hardware of the guide's machine as soon as it has a task."""

    def reported(task: Task) -> Task:
        return msgspec.structs.replace(
            task,
            status=Status.PENDING_APPROVAL,
            hardware=make_inventory(),
            plan=plan_disk(make_inventory(), "auto", RootDiskHints(), GIB),
        )

    def waiting() -> list[str]:
        tasks = control_plane.fleet.current_tasks()
        return [each.task_id for each in tasks if (each.sn, each.status) == ("SN-0042", "pending")]

    async def there() -> bool:
        return bool(waiting())

    await until(there, TIMEOUT_S)
    for task_id in waiting():
        await control_plane.change(task_id, reported)


async def _run(
    *command: str, environment: dict[str, str], directory: Path, text: str = ""
) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment},
        cwd=directory,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await process.communicate(text.encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode()


async def test_commands_of_the_guide_do_what_it_says(
    with_alice: RunningControlPlane, tmp_path: Path
) -> None:
    script = "set -euo pipefail\n" + "\n".join(blocks("sh"))
    script = script.replace("https://lpmos.example.com", with_alice.url)
    directory = tmp_path / "guide"
    directory.mkdir()
    status, said = await _run("bash", environment={}, directory=directory, text=script)
    assert status == 0, said
    assert '"next_status":"installing"' in said
    assert said.count("HTTP/1.1 201") == 2 and said.count("idempotency-replayed: true") == 1
    assert '"status": 412' in said
    assert '{"would_create":2}' in said and '{"created":2}' in said
    assert '"field": "colour"' in said and '"field": "mac"' in said


async def test_listener_of_the_guide_ends_when_its_task_does(
    with_alice: RunningControlPlane, api: httpx.AsyncClient, tmp_path: Path
) -> None:
    new = {"idc": "dc1", "mac": "52:54:00:00:00:09", "os_type": "debian", "os_version": "12"}
    task_id = (await api.post("/api/v1/tasks", json=new)).json()["task_id"]
    (program,) = blocks("python")
    environment = {"LPMOS": with_alice.url, "TOKEN": with_alice.token}
    listening = asyncio.create_task(
        _run(
            sys.executable, "-", task_id, environment=environment, directory=tmp_path, text=program
        )
    )

    async def is_listened_to() -> bool:
        return with_alice.services.hub.count() > 0 or listening.done()

    await until(is_listened_to, TIMEOUT_S)
    assert (await api.delete(f"/api/v1/tasks/{task_id}")).status_code == 204
    status, said = await listening
    assert status == 0, said
    assert "'status': 'cancelled'" in said
