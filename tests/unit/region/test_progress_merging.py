from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.progress import is_not_newer
from lpmos.model.task import Progress
from lpmos.region.progress import LINES_HELD, Update, cannot_wait, merge
from lpmos.region.wire import STAGE_END_PERCENT
from tests.support.builders import NOW

STEPS = sorted(STAGE_END_PERCENT)
calls = st.lists(
    st.tuples(
        st.builds(
            Progress,
            step=st.sampled_from(STEPS),
            percent=st.floats(0, 100),
            timestamp=st.integers(0, 3).map(lambda late_s: NOW + timedelta(seconds=late_s)),
            message=st.text(max_size=5),
        ),
        st.lists(st.text(max_size=5), max_size=400),
    ),
    max_size=12,
)


def merged(made: list[tuple[Progress, list[str]]], start: Update = Update()) -> Update:  # noqa: B008
    update = start
    for progress, lines in made:
        update = merge(update, progress, lines)
    return update


@given(calls)
def test_merge_keeps_the_newest_word_of_each_step_in_the_order_of_the_last(
    made: list[tuple[Progress, list[str]]],
) -> None:
    newest: dict[str, Progress] = {}
    for progress, _ in made:
        known = newest.get(progress.step)
        if known is None or not is_not_newer(progress, known):
            newest.pop(progress.step, None)
            newest[progress.step] = progress
    assert list(merged(made).steps) == list(newest.values())


def test_merge_keeps_the_word_that_waits_where_lines_come_with_an_older_one() -> None:
    """Who hands in lines says the progress that the task had, which is older than what waits."""
    older = Progress(step="configuring", percent=90, timestamp=NOW)
    waits = Progress(step="configuring", percent=92, timestamp=NOW + timedelta(seconds=2))
    update = merged([(waits, ["a"]), (older, ["b"])])
    assert (update.steps, update.lines) == ((waits,), ("a", "b"))


@given(calls)
def test_merge_keeps_the_newest_lines_in_order(made: list[tuple[Progress, list[str]]]) -> None:
    said = [line for _, lines in made for line in lines]
    assert list(merged(made).lines) == said[-LINES_HELD:]


@given(calls, calls)
def test_merge_in_two_parts_is_the_same_as_at_once(
    first: list[tuple[Progress, list[str]]], second: list[tuple[Progress, list[str]]]
) -> None:
    assert merged(second, merged(first)) == merged([*first, *second])


@given(calls)
def test_cannot_wait_where_a_step_ended_or_a_second_began(
    made: list[tuple[Progress, list[str]]],
) -> None:
    update = merged(made)
    ended = any(step.percent >= STAGE_END_PERCENT[step.step] for step in update.steps)
    assert cannot_wait(update) == (ended or len(update.steps) > 1)
