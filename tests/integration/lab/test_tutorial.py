"""The tutorial is true: its commands, run in order beside the demo, install the whole fleet."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs/tutorial/first-fleet.md"
LPMOS = str(Path(sys.executable).with_name("lpmos"))
URL = "http://localhost:8080"
DEMO = "APPROVE=manual make demo-simulated\n"
APPROVE = "lpmos task approve SIM-0001\n"
TIMEOUT_S = 270.0

REPORTED = f"""
for try in $(seq 200); do
    [ "$({LPMOS} task list --status pending_approval -q | wc -l)" = 6 ] && break
    sleep 0.2
done
"""
"""A person reads for as long as the servers take to report."""


def script(url: str) -> str:
    """The commands of the page after that of the demo, without their one question."""
    demo, sign_in, *rest = re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert demo == DEMO and APPROVE in "".join(rest)
    text = "".join([sign_in, REPORTED, *rest]).replace(APPROVE, APPROVE.replace("\n", " --yes\n"))
    return "set -euo pipefail\n" + text.replace(".venv/bin/lpmos", LPMOS).replace(URL, url)


@asynccontextmanager
async def program(
    *words: str, directory: Path, **environment: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program of this directory until the block ends, with all that it says in one stream."""
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=directory,
        env={**os.environ, "XDG_CONFIG_HOME": str(directory / "home"), **environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def said_by(demo: asyncio.subprocess.Process, pattern: str) -> str:
    """The first words of the demo that match."""
    assert demo.stdout is not None
    while line := (await demo.stdout.readline()).decode():
        if found := re.search(pattern, line):
            return found[0]
    raise AssertionError(f"the demo ended before it said {pattern}")


@pytest.mark.slow
async def test_commands_of_the_tutorial_install_the_fleet(tmp_path: Path) -> None:
    manual = {"APPROVE": "manual", "LPMOS_DEMO_PORT": "0"}
    async with (
        asyncio.timeout(TIMEOUT_S),
        program(LPMOS, "lab", "demo", "--simulated", directory=tmp_path, **manual) as demo,
    ):
        url = await said_by(demo, r"http://localhost:\d+")
        async with program("bash", directory=tmp_path) as shell:
            said, _ = await shell.communicate(script(url).encode())
            assert shell.returncode == 0, said.decode()
        await said_by(demo, "until you press Ctrl-C")
        demo.send_signal(signal.SIGINT)
        assert await demo.wait() == 0
    text = said.decode()
    assert "signed in" in text and "pending_approval" in text and "mine-1" in text
    assert text.count("approved") >= 6
