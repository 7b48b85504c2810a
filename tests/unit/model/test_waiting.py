"""Limits of waits: one for each state that waits, with words for people."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.lifecycle import FINAL, TRANSITIONS, Event, Status
from lpmos.model.retry import TRANSIENT, RetryPolicy, is_transient, pause, untouched
from lpmos.model.task import Progress, StatusChange, TaskError
from lpmos.model.waiting import (
    AWAY,
    FIRST_BOOT,
    INSTALLER,
    LIMITS,
    Limit,
    Timeouts,
    expired,
    in_words,
    last_seen,
)
from tests.support.builders import NOW, make_task

EVERY = (*LIMITS.values(), AWAY, FIRST_BOOT, INSTALLER)


def test_every_state_that_waits_has_a_limit_and_can_fail() -> None:
    assert set(LIMITS) == set(Status) - FINAL
    assert all((status, Event.FAIL) in TRANSITIONS for status in LIMITS)


def test_every_limit_is_a_choice_with_its_default_and_a_code_of_its_own() -> None:
    assert {limit.setting for limit in EVERY} == set(Timeouts.__struct_fields__)
    assert all(getattr(Timeouts(), limit.setting) == limit.default_s for limit in EVERY)
    assert len({limit.code for limit in EVERY}) == len(EVERY)


def test_limit_of_zero_is_none() -> None:
    assert Timeouts(pending_timeout_s=0).of(LIMITS[Status.PENDING]) is None
    assert Timeouts(pending_timeout_s=5).of(LIMITS[Status.PENDING]) == timedelta(seconds=5)


@pytest.mark.parametrize("limit", EVERY)
def test_error_says_how_long_and_what_to_do(limit: Limit) -> None:
    error = expired(make_task(), limit, timedelta(minutes=90))
    assert "1 h 30 min" in error.reason
    assert (error.hint, error.code) == (limit.hint, limit.code)


def test_last_seen_is_the_step_then_the_log_then_the_state() -> None:
    step = Progress(step="downloading", percent=42.4, timestamp=NOW, message="4 of 10 MB")
    installing = make_task(status=Status.INSTALLING, progress=(step,), logs=("a line",))
    assert last_seen(installing) == "downloading 42 % (4 of 10 MB) at 2026-01-02T03:04:05Z"
    assert last_seen(make_task(logs=("first", "last"))) == "last"
    assert last_seen(make_task()) == "pending at 2026-01-02T03:04:05Z"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0, "0 s"), (59, "59 s"), (600, "10 min"), (3661, "1 h 1 min"), (90_000, "1 d 1 h")],
)
def test_length_is_said_in_its_two_largest_units(seconds: int, words: str) -> None:
    assert in_words(timedelta(seconds=seconds)) == words


def test_only_errors_from_before_the_claim_are_transient() -> None:
    assert set(TRANSIENT) <= {limit.code for limit in LIMITS.values()}
    assert LIMITS[Status.INSTALLING].code not in TRANSIENT


@pytest.mark.parametrize("code", TRANSIENT)
def test_claimed_task_is_not_transient_whatever_its_code(code: str) -> None:
    error = TaskError(reason="late", code=code)
    ways = {
        Status.APPROVED: True,
        Status.INSTALLING: False,
    }
    for last, expected in ways.items():
        history = tuple(StatusChange(status=each, timestamp=NOW) for each in (last, Status.FAILED))
        task = make_task(status=Status.FAILED, status_history=history, error=error)
        assert (untouched(task), is_transient(task)) == (expected, expected)


@given(
    task_id=st.uuids().map(str),
    tries=st.integers(0, 10_000),
    first_s=st.integers(1, 3600),
    longest_s=st.integers(1, 86_400),
)
def test_pause_doubles_to_its_bound_and_is_the_same_for_all(
    task_id: str, tries: int, first_s: int, longest_s: int
) -> None:
    policy = RetryPolicy(first_s=first_s, longest_s=longest_s)
    found = pause(policy, task_id, tries)
    assert found == pause(policy, task_id, tries)
    bare_s = min(first_s * 2 ** min(tries, 40), longest_s)
    assert bare_s <= found.total_seconds() <= bare_s * (1 + policy.jitter) + 0.001
