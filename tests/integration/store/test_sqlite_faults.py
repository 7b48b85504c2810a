"""The embedded store under kill -9, a second process, a stopped process and a full disk."""

import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from lpmos.store.api import StoreLocked
from lpmos.store.sqlite import SqliteStore
from tests.support.small_disk import report_of
from tests.support.sqlite_holder import HELD_KEY
from tests.support.sqlite_writer import PREFIX, WRITERS

KILLS = 25
TTL_S = 2
PROCESS_TIMEOUT_S = 60.0
_RANDOM = random.SystemRandom()
TREE = Path(__file__).parents[3]


@asynccontextmanager
async def _python(module: str, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A module running in a process of its own, which is killed at the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments, cwd=TREE, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _line(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    async with asyncio.timeout(PROCESS_TIMEOUT_S):
        return (await process.stdout.readline()).decode().strip()


async def _run_and_kill(path: Path, after_lines: int, acknowledged: dict[int, int]) -> None:
    """Let the writer run until it acknowledged some writes, then a moment, then kill it."""
    async with _python("tests.support.sqlite_writer", str(path)) as process:
        lines = [await _line(process) for _ in range(after_lines)]
        process.kill()
        rest, _ = await process.communicate()
    lines += rest.decode().splitlines() if rest.endswith(b"\n") else rest.decode().splitlines()[:-1]
    for line in lines:
        writer, number = line.split()
        acknowledged[int(writer)] = int(number)


@pytest.mark.slow
async def test_sqlite_killed_at_random_keeps_every_acknowledged_write(tmp_path: Path) -> None:
    path, acknowledged = tmp_path / "store.db", dict[int, int]()
    revision = 0
    for _ in range(KILLS):
        await _run_and_kill(path, _RANDOM.randint(1, 1500), acknowledged)
        store = await SqliteStore.open(path)
        kvs = {kv.key: kv for kv in (await store.range(PREFIX)).kvs}
        for writer, number in acknowledged.items():
            a, b = kvs[f"{PREFIX}{writer}/a"], kvs[f"{PREFIX}{writer}/b"]
            assert (a.value, a.mod_revision, a.version) == (b.value, b.mod_revision, b.version)
            assert number <= int(a.value) == a.version
            assert int(a.value) <= number + KILLS
        page = await store.range(PREFIX)
        assert page.revision > revision
        revision = page.revision
        assert revision - 1 == sum(kvs[f"{PREFIX}{writer}/a"].version for writer in acknowledged)
        await store.close()
    assert len(acknowledged) == WRITERS


async def test_sqlite_open_in_another_process_is_refused_until_that_is_gone(
    tmp_path: Path,
) -> None:
    path = tmp_path / "store.db"
    async with _python("tests.support.sqlite_holder", str(path), "60") as process:
        assert await _line(process) == "held"
        with pytest.raises(StoreLocked):
            await SqliteStore.open(path)
        process.kill()
        await process.wait()
        store = await SqliteStore.open(path)
        assert await store.get(HELD_KEY) is not None
        await store.close()


@pytest.mark.slow
async def test_sqlite_stopped_beyond_the_ttl_loses_its_lease(tmp_path: Path) -> None:
    async with _python("tests.support.sqlite_holder", str(tmp_path / "s.db"), str(TTL_S)) as held:
        assert await _line(held) == "held"
        os.kill(held.pid, signal.SIGSTOP)
        await asyncio.sleep(TTL_S * 1.5)  # the fault itself, not a wait for readiness
        os.kill(held.pid, signal.SIGCONT)
        assert await _line(held) == "lost delete"


async def test_sqlite_disk_full_refuses_writes_and_goes_on_once_there_is_space(
    tmp_path: Path,
) -> None:
    module = "tests.support.sqlite_full_disk"
    report = await report_of(module, str(tmp_path), disk=tmp_path, size_mb=6)
    acknowledged = report["acknowledged"]
    assert len(acknowledged) > 20
    assert report["kept"] == acknowledged
    assert report["full"] == [False, "NOSPACE"]
    assert report["snapshot"] == "NoSpace"
    assert report["left_behind"] == []
    assert report["after"] == max(acknowledged.values()) + 1
    assert report["healthy_after"] is True
    assert report["watched"] == [*acknowledged.values(), report["after"]]
