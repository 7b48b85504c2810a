"""schemathesis, with all its checks and phases, against a control plane over HTTP.

`LPMOS_SCHEMATHESIS_S` is how long it may look (in seconds): more finds more.
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from ipaddress import ip_network
from pathlib import Path

import httpx
import pytest

from lpmos.control.config import ControlConfig
from lpmos.model.access import Role
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.polling import ANSWER_TIMEOUT_S
from tests.support.populated import populate

ROOT = Path(__file__).parents[3]
LOOKS_S = int(os.environ.get("LPMOS_SCHEMATHESIS_S", "150"))
EXAMPLES = max(3, LOOKS_S // 40)
"""Of each call in a fuzzing round; rounds repeat, with other ones, until the time is over."""

ENDS_S = 60
SESSIONS = 300


@pytest.fixture
async def populated(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    """A control plane with something of every kind, that may send only to this machine."""
    config = ControlConfig(
        images_dir=tmp_path / "images", webhook_networks=(ip_network("127.0.0.0/8"),)
    )
    async with (
        open_store(tmp_path) as store,
        running(store, config=config) as control_plane,
    ):
        await control_plane.offer_debian()
        await populate(control_plane)
        yield control_plane


async def looked_at(control_plane: RunningControlPlane, directory: Path) -> tuple[int, str]:
    """Run schemathesis; its status and what it said."""
    headers = {"Authorization": f"Bearer {control_plane.token}"}
    async with httpx.AsyncClient(
        base_url=control_plane.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as api:
        description = directory / "openapi.json"
        description.write_bytes((await api.get("/schema/openapi.json")).content)
    sessions = [await control_plane.as_user([Role.VIEWER], name="leaver") for _ in range(SESSIONS)]
    environment = {
        **os.environ,
        "LPMOS_URL": control_plane.url,
        "LPMOS_TOKEN": control_plane.token,
        "LPMOS_SESSIONS": " ".join(sessions),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "schemathesis.cli",
        f"--config-file={ROOT / 'tests/support/schemathesis.toml'}",
        "run", str(description), f"--url={control_plane.url}",
        "--seed=1", "--generation-database=none",
        f"--max-time={LOOKS_S}", f"--max-examples={EXAMPLES}",
        cwd=directory,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    try:
        async with asyncio.timeout(LOOKS_S + ENDS_S):
            said, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, said.decode(errors="replace")


@pytest.mark.slow
@pytest.mark.timeout(LOOKS_S + 3 * ENDS_S)
async def test_schemathesis_finds_nothing(populated: RunningControlPlane, tmp_path: Path) -> None:
    status, said = await looked_at(populated, tmp_path)
    assert status == 0, said
    for phase in ("Examples", "Coverage", "Fuzzing", "Stateful"):
        assert f"✅ {phase}" in said, said
    # What it did, it did as an administrator until the end.
    headers = {"Authorization": f"Bearer {populated.token}"}
    async with httpx.AsyncClient(
        base_url=populated.url, headers=headers, timeout=ANSWER_TIMEOUT_S
    ) as api:
        assert (await api.get("/api/v1/users")).status_code == 200
