"""What of a log is new, when only its newest lines are seen."""

from hypothesis import given
from hypothesis import strategies as st

from lpmos.cli.task_logs import added

LINES = st.integers(0, 30)


@given(LINES, LINES, st.integers(1, 20))
def test_added_lines_are_each_told_once(first: int, more: int, kept: int) -> None:
    whole = [f"line {number}" for number in range(first + more)]
    before, now = whole[:first][-kept:], whole[-kept:]
    missed = max(0, more - kept)
    assert list(added(before, now)) == whole[first + missed :]


def test_added_to_nothing_is_everything() -> None:
    assert added([], ["a"]) == ["a"]
    assert added(["a"], ["a"]) == []
