"""The full log of a task: each line whole, in order, also where many machines speak at once."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lpmos.region.tasklog import TaskLogs

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ID = "00000000-0000-0000-0000-{:012x}"


async def test_lines_of_many_tasks_at_once_are_each_in_their_own_file_in_order(
    tmp_path: Path,
) -> None:
    logs = TaskLogs(tmp_path)
    said = [
        logs.append(ID.format(task), NOW, [f"[INFO] {task} says {turn}"])
        for turn in range(5)
        for task in range(20)
    ]
    await asyncio.gather(*said)
    for task in range(20):
        found = logs.path(ID.format(task)).read_text().splitlines()
        assert found == [f"2026-01-01T00:00:00.000Z [INFO] {task} says {turn}" for turn in range(5)]


async def test_file_that_cannot_be_written_keeps_no_other_from_being_written(
    tmp_path: Path,
) -> None:
    logs = TaskLogs(tmp_path)
    logs.path(ID.format(1)).mkdir()
    await asyncio.gather(*(logs.append(ID.format(task), NOW, ["[INFO] x"]) for task in range(3)))
    assert logs.path(ID.format(0)).read_text() == logs.path(ID.format(2)).read_text() != ""


@pytest.mark.parametrize("before", [[], ["[INFO] short"]])
async def test_batch_larger_than_the_limit_leaves_nothing_out_and_says_so_of_nothing(
    tmp_path: Path, before: list[str]
) -> None:
    logs = TaskLogs(tmp_path, limit_bytes=1_000)
    said = [*before, "[INFO] " + "x" * 2_000]
    for line in said:
        await logs.append(ID.format(1), NOW, [line])
    kept = logs.path(ID.format(1)).read_text().splitlines()
    assert [line.partition(" ")[2] for line in kept] == said


async def test_full_log_keeps_its_beginning_and_its_end_and_says_what_is_left_out(
    tmp_path: Path,
) -> None:
    logs = TaskLogs(tmp_path, limit_bytes=4_000)
    said = [f"[INFO] line {number}" for number in range(500)]
    for line in said:
        await logs.append(ID.format(1), NOW, [line])
    path = logs.path(ID.format(1))
    assert path.stat().st_size <= 4_000 + 100
    kept = path.read_text().splitlines()
    (gap,) = [at for at, line in enumerate(kept) if "bytes are left out here" in line]
    words = [line.partition(" ")[2] for line in kept]
    assert gap > 0 and words[:gap] == said[:gap]
    assert words[gap + 1 :] == said[-len(words[gap + 1 :]) :]
    assert len(words) > 30
    assert not path.with_suffix(".thinned").exists()
