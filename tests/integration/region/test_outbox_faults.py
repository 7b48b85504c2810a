"""The outbox on a full disk, and under kill -9: what was acknowledged is there."""

import asyncio
import sqlite3
import sys
from pathlib import Path

import pytest

from lpmos.region.outbox import Outbox
from tests.support.small_disk import report_of

TREE = Path(__file__).parents[3]
PROCESS_TIMEOUT_S = 60.0
KILLS = 5
KILL_AFTER_WORDS = 300


async def test_outbox_disk_full_keeps_what_was_acknowledged_and_goes_on_with_space(
    tmp_path: Path,
) -> None:
    module = "tests.support.outbox_full_disk"
    report = await report_of(module, str(tmp_path), disk=tmp_path, size_mb=6)
    assert len(report["acknowledged"]) > 50
    assert report["full"] == report["kept"] == report["acknowledged"]
    assert report["whole"] == [20_000]
    assert report["after"] > max(report["acknowledged"])


async def test_outbox_killed_has_every_word_that_was_acknowledged(tmp_path: Path) -> None:
    acknowledged: set[int] = set()
    for _ in range(KILLS):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.support.outbox_writer", str(tmp_path / "outbox.db")),
            cwd=TREE,
            stdout=asyncio.subprocess.PIPE,
        )
        assert process.stdout is not None
        async with asyncio.timeout(PROCESS_TIMEOUT_S):
            for _ in range(KILL_AFTER_WORDS):
                acknowledged.add(int(await process.stdout.readline()))
            process.kill()
            rest = (await process.stdout.read()).split(b"\n")[:-1]  # a cut line was not said
            acknowledged |= {int(line) for line in rest}
            await process.wait()
    box = await Outbox.open(tmp_path / "outbox.db")
    kept = {word.seq: await box.read(word) for word in box.words()}
    await box.close()
    assert acknowledged <= kept.keys()
    assert set(kept.values()) == {b"a word"}


async def test_outbox_of_another_process_is_refused_until_that_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "outbox.db"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.outbox_writer", str(path)),
        cwd=TREE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    async with asyncio.timeout(PROCESS_TIMEOUT_S):
        await process.stdout.readline()
        reading = asyncio.create_task(process.stdout.read())
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            await Outbox.open(path)
        process.kill()
        await reading
        await process.wait()
        box = await Outbox.open(path)
    assert box.count > 0
    await box.close()
