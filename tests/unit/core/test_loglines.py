"""Numbered lines of a log: what is said twice is there once, whatever is repeated how."""

from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.loglines import NO_MARKS, Numbered, are_known, marks_of, newest, unsaid
from lpmos.model.lifecycle import Status
from tests.unit.core.conftest import World


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 10)), max_size=12))
def test_lines_that_are_repeated_in_any_pieces_are_taken_once_in_order(
    pieces: list[tuple[int, int]],
) -> None:
    all_lines = [str(number) for number in range(1, 60)]
    known: dict[str, int] = {}
    taken: list[str] = []
    for back, length in pieces:
        newest_known = known.get("agent", 0)
        first = max(1, newest_known + 1 - back)
        lines = all_lines[first - 1 : newest_known + length]
        numbered = Numbered("agent", first)
        taken += unsaid(lines, numbered, known)
        known = newest(known, marks_of(lines, numbered))
    assert taken == all_lines[: known.get("agent", 0)]


def test_lines_that_nobody_numbers_are_always_taken() -> None:
    assert unsaid(["a"], None, {"agent": 7}) == ["a"]
    assert marks_of(["a"], None) == {}
    assert not are_known({"agent": 7}, NO_MARKS)


async def test_numbered_lines_are_taken_once_whatever_the_progress_says(world: World) -> None:
    task = await world.task_that_is(Status.INSTALLING)
    before = world.at("downloading", 30)
    say = world.agents.progress
    await say(world.run, task.task_id, before, ["[INFO] one"], marks={"installer": 1})
    await say(world.run, task.task_id, before, ["[INFO] one"], marks={"installer": 1})
    after = await say(world.run, task.task_id, before, ["[INFO] two"], marks={"installer": 2})
    words = [line.split(" ", 1)[1] for line in after.logs]
    assert words[-2:] == ["[INFO] one", "[INFO] two"]
    assert words.count("[INFO] one") == 1
    assert after.log_marks == {"installer": 2}
