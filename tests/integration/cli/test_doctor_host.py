"""`lpmos doctor --local` on a machine that runs a part of LPMOS: this one."""

import asyncio
import json
from pathlib import Path

import pytest

from tests.integration.cli.conftest import LPMOS, Shell
from tests.support.etcd import free_port
from tests.support.polling import until


@pytest.mark.slow
async def test_doctor_finds_the_part_that_runs_here_and_its_open_key(tmp_path: Path) -> None:
    state, port, region_port = tmp_path / "state", free_port(), free_port()
    shell = Shell(tmp_path, f"http://127.0.0.1:{port}", None)
    process = await asyncio.create_subprocess_exec(
        LPMOS, "up", "--state-dir", state, "--listen-addr", f"127.0.0.1:{port}",
        "--region-addr", "127.0.0.1", "--api-port", str(region_port), "--dhcp-mode", "off",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:

        async def is_up() -> bool:
            return f"the control plane answers at 127.0.0.1:{port}" in await found()

        async def found() -> str:
            """What the doctor says of this process, and not of others that run beside it."""
            ended = await shell.try_("doctor", "--local", "--json")
            subjects = json.loads(ended.out)["findings"]
            mine = [each for each in subjects if str(port) in each["found"] or str(state) in
                    each["found"] or str(region_port) in each["found"]]  # fmt: skip
            return json.dumps(mine)

        await until(is_up, 60.0)
        seen = await found()
        assert f"{state}/auth.key is for its owner only" in seen
        assert f"{state}/agent.key is for its owner only" in seen
        assert f"there is none in {state}/images" in seen
        (state / "auth.key").chmod(0o644)
        assert f"chmod 600 {state}/auth.key" in await found()
    finally:
        process.terminate()
        await process.wait()
