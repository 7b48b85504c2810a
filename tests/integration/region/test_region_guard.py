"""The guard: what it runs and holds ends with the right to it, whatever its region does."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lpmos.region.guard import RIGHT_ENDED
from lpmos.region.guarded import guarded

TIMEOUT_S = 30.0
RIGHT_S = 0.6


@asynccontextmanager
async def _guard(
    until: float, undone: Path, *command: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    async with guarded(lambda: until, undo=("touch", str(undone)), command=command) as process:
        yield process


async def _status(process: asyncio.subprocess.Process) -> int:
    async with asyncio.timeout(TIMEOUT_S):
        return await process.wait()


async def test_guard_ends_the_command_and_undoes_when_the_right_has_ended(tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    until = time.monotonic() + RIGHT_S
    async with _guard(until, undone, "sleep", "60") as process:
        assert await _status(process) == RIGHT_ENDED
    assert time.monotonic() >= until
    assert undone.exists()


async def test_guard_ends_when_its_region_is_gone(tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    async with _guard(float("inf"), undone, "sleep", "60") as process:
        await asyncio.sleep(0.5)  # it has been told that the right lasts
        assert process.stdin
        process.stdin.close()
        assert await _status(process) == RIGHT_ENDED
    assert undone.exists()


@pytest.mark.parametrize("status", [0, 3])
async def test_guard_ends_with_its_command(tmp_path: Path, status: int) -> None:
    undone = tmp_path / "undone"
    async with _guard(float("inf"), undone, "sh", "-c", f"exit {status}") as process:
        assert await _status(process) == status
    assert undone.exists()


async def test_guard_told_to_end_ends_the_command_in_order(tmp_path: Path) -> None:
    undone, ended = tmp_path / "undone", tmp_path / "ended"
    script = f"trap 'touch {ended}; exit 0' TERM; echo up >&2; while :; do sleep 0.05; done"
    async with _guard(float("inf"), undone, "sh", "-c", script) as process:
        assert process.stderr
        assert await process.stderr.readline() == b"up\n"
        process.send_signal(signal.SIGTERM)
        assert await _status(process) == 0
    assert ended.exists()
    assert undone.exists()


async def test_guard_hands_sighup_on_and_goes_on(tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    script = "trap 'echo again >&2' HUP; echo up >&2; while :; do sleep 0.05; done"
    async with _guard(float("inf"), undone, "sh", "-c", script) as process:
        assert process.stderr
        for expected in (b"up\n", b"again\n", b"again\n"):
            assert await asyncio.wait_for(process.stderr.readline(), TIMEOUT_S) == expected
            process.send_signal(signal.SIGHUP)
        assert process.returncode is None
    assert undone.exists()


async def test_guard_without_a_command_holds_until_it_is_ended(tmp_path: Path) -> None:
    undone = tmp_path / "undone"
    async with _guard(float("inf"), undone) as process:
        await asyncio.sleep(0.5)  # nothing shall happen for so long
        assert process.returncode is None
        assert not undone.exists()
    assert undone.exists()
