"""Parts of a benchmark end with it, whatever ends it."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from bench.__main__ import ROOT
from bench.parts import END_TIMEOUT_S

from tests.support.polling import until

START_TIMEOUT_S = 60.0
GONE_TIMEOUT_S = END_TIMEOUT_S + 10.0
HOLDER = "tests.support.parts_of_a_benchmark"
Process = asyncio.subprocess.Process


@asynccontextmanager
async def benchmark(*words: str) -> AsyncIterator[tuple[Process, int]]:
    """The process of a benchmark, and the number of its part."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", HOLDER, *words), cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_TIMEOUT_S):
            part = int(await process.stdout.readline())
        yield process, part
    finally:
        if process.returncode is None:
            process.kill()
        async with asyncio.timeout(GONE_TIMEOUT_S):
            await process.communicate()


def runs(pid: int) -> bool:
    """Whether there is such a process, and more of it than its exit status (proc_pid_stat(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


async def gone(pid: int) -> None:
    """Wait until the process is no more."""

    async def ended() -> bool:
        return not runs(pid)

    await until(ended, GONE_TIMEOUT_S)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("waits", ["awaits", "blocks"])
async def test_part_ends_with_the_benchmark_that_a_signal_ends(
    waits: str, number: signal.Signals
) -> None:
    async with benchmark(waits, "asks") as (process, part):
        process.send_signal(number)
        await gone(part)
        async with asyncio.timeout(GONE_TIMEOUT_S):
            await process.wait()


@pytest.mark.parametrize("part", ["asks", "stubborn"])
async def test_part_ends_with_the_benchmark_that_fails(part: str) -> None:
    async with benchmark("fails", part) as (process, pid):
        await gone(pid)
        async with asyncio.timeout(GONE_TIMEOUT_S):
            assert await process.wait() == 1


async def test_stubborn_part_ends_with_the_benchmark_that_is_killed() -> None:
    async with benchmark("blocks", "stubborn") as (process, part):
        process.kill()
        await gone(part)
