"""Token buckets: how much at once, how much in the long run, and how many callers are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.limits import CALLERS, Buckets
from lpmos.model.errors import TooBusy


class HandClock:
    """A monotonic clock that a test turns."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def taken(buckets: Buckets, caller: str, asked: int) -> int:
    """How many of `asked` tokens there were."""
    count = 0
    for _ in range(asked):
        try:
            buckets.take(caller)
        except TooBusy:
            continue
        count += 1
    return count


def test_bucket_gives_its_burst_and_then_its_rate() -> None:
    clock = HandClock()
    buckets = Buckets(10, 20, clock)
    assert taken(buckets, "a", 30) == 20
    clock.now_s += 0.5
    assert taken(buckets, "a", 30) == 5
    clock.now_s += 3600
    assert taken(buckets, "a", 30) == 20


def test_empty_bucket_says_when_to_come_again() -> None:
    clock = HandClock()
    buckets = Buckets(0.1, 1, clock)
    buckets.take("a")
    with pytest.raises(TooBusy, match="try again in 10 s") as busy:
        buckets.take("a")
    assert busy.value.retry_after_s == 10
    clock.now_s += 10
    buckets.take("a")


def test_callers_do_not_share_a_bucket() -> None:
    buckets = Buckets(1, 1, HandClock())
    assert taken(buckets, "a", 2) == 1
    assert taken(buckets, "b", 2) == 1


def test_rate_of_zero_is_no_limit() -> None:
    assert taken(Buckets(0, 0, HandClock()), "a", 10_000) == 10_000


def test_remembered_callers_are_bounded_and_the_busy_one_stays() -> None:
    buckets = Buckets(1, 2, HandClock())
    assert taken(buckets, "flood", 2) == 2
    for number in range(CALLERS + 100):
        buckets.take(f"caller-{number}")
        if number % 1000 == 0:
            assert taken(buckets, "flood", 1) == 0
    assert len(buckets) == CALLERS


@given(steps=st.lists(st.floats(0, 5), min_size=1, max_size=60))
def test_bucket_never_gives_more_than_burst_and_rate_allow(steps: list[float]) -> None:
    clock = HandClock()
    buckets = Buckets(3, 6, clock)
    given_out = 0
    for step in steps:
        clock.now_s += step
        given_out += taken(buckets, "a", 20)
        assert given_out <= 6 + 3 * (clock.now_s - 1000.0) + 1e-6
