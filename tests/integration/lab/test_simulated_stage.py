"""Simulated servers against a real `lpmos up` on the loopback."""

import asyncio
import os
import shutil
import signal
import sys
from pathlib import Path

import pytest
from rich.console import Console

from lpmos.lab.display import LineDisplay
from lpmos.lab.errors import RackUnavailable
from lpmos.lab.journey import Journey
from lpmos.lab.processes import HostProcesses
from lpmos.lab.site import Site, listen
from lpmos.lab.stage import Stage, simulated_stage
from lpmos.model.lifecycle import Status

WAIT_S = 60.0
LPMOS = str(Path(sys.executable).with_name("lpmos"))


def journeys(stage: Stage) -> list[Journey]:
    display = LineDisplay(Console(stderr=True))
    return [
        Journey(server, task, api=stage.site.api, display=display, approve=True)
        for server, task in stage.servers
    ]


async def test_simulated_servers_are_installed_and_then_boot_their_disks(tmp_path: Path) -> None:
    async with simulated_stage(2, directory=tmp_path, mbit=None) as stage:
        ways = journeys(stage)
        async with asyncio.TaskGroup() as group:
            for way in ways:
                group.create_task(way.run())
    assert [way.progress.failed for way in ways] == [None, None]
    assert all(way.progress.up for way in ways)
    assert all(way.task and way.task.status is Status.COMPLETED for way in ways)
    for way in ways:  # by the word of the system that each started
        assert way.task is not None and way.task.handed_over_at is not None
        assert [each.percent for each in way.task.progress[-2:]] == [100, 100]
        assert way.task.progress[-1].step == "restarting"


async def test_image_that_vanished_fails_the_task_and_says_what_to_do(tmp_path: Path) -> None:
    async with simulated_stage(1, directory=tmp_path, mbit=None) as stage:
        shutil.rmtree(tmp_path / "images" / "debian-12-simulated")
        (way,) = journeys(stage)
        await way.run()
    assert not way.progress.up
    assert way.task is not None
    assert way.task.status is Status.FAILED
    assert way.task.error is not None
    assert "debian 12" in way.task.error.reason
    assert "lpmos image build debian" in (way.task.error.hint or "")


async def test_port_that_is_taken_is_named_before_anything_is_started(tmp_path: Path) -> None:
    with listen(0) as taken:
        port = taken.getsockname()[1]
        async with HostProcesses() as host:
            site = Site(
                host, directory=tmp_path, images_dir=tmp_path, kernel_arguments="", port=port
            )
            with pytest.raises(RackUnavailable, match=rf"port {port} .* LPMOS_DEMO_PORT"):
                async with site:
                    pass
    assert not site.log.exists()


async def demo(directory: Path, **environment: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        *(LPMOS, "lab", "demo", "--simulated"),
        cwd=directory,
        env={**os.environ, "LPMOS_DEMO_PORT": "0", **environment},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )


async def read_until(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(WAIT_S):
        while text not in (line := (await process.stdout.readline()).decode()):
            assert line, f"the demo ended before {text!r}"


@pytest.mark.slow
async def test_simulated_demo_stays_up_until_ctrl_c_and_leaves_no_process(tmp_path: Path) -> None:
    process = await demo(tmp_path)
    try:
        await read_until(process, "until you press Ctrl-C")
        process.send_signal(signal.SIGINT)
        async with asyncio.timeout(WAIT_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert not processes_of(tmp_path)


@pytest.mark.slow
async def test_simulated_demo_killed_in_the_middle_leaves_no_process(tmp_path: Path) -> None:
    process = await demo(tmp_path, DEMO_EXIT="1")
    try:
        await read_until(process, "downloading")
    finally:
        process.kill()
        await process.wait()
    async with asyncio.timeout(WAIT_S):
        while True:
            if not processes_of(tmp_path):
                return
            await asyncio.sleep(0.05)


async def test_demo_with_a_meaningless_wish_says_which_there_are(tmp_path: Path) -> None:
    process = await demo(tmp_path, APPROVE="perhaps")
    output, _ = await process.communicate()
    assert process.returncode == 1
    assert "`auto` or `manual`" in output.decode()


def processes_of(directory: Path) -> list[str]:
    """Command lines that name this directory, or that a program started in it has."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().decode(errors="replace")
            if str(directory) in words or str((entry / "cwd").readlink()).startswith(
                str(directory)
            ):
                found.append(words)
        except OSError:
            continue
    return found
