"""Text for people: sizes, times, and what must never reach a terminal as it is."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.cli.words import ago, listed, moment, plain, signed_in_until, size, span, stamp

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("count", "text"),
    [(None, ""), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (1_500_000, "1.5 MB"),
     (166_000_000, "166 MB"), (999_600, "1 MB"), (2**40, "1.1 TB"), (10**19, "1e+04 PB")],
)  # fmt: skip
def test_size_has_a_decimal_unit(count: float | None, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-1, "0 s"), (0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"),
     (7500, "2 h 5 min"), (172_800, "2 d")],
)  # fmt: skip
def test_span_shows_the_largest_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_ago_tells_past_and_future() -> None:
    assert ago("2026-01-02T03:01:05Z", NOW) == "3 min ago"
    assert ago("2026-01-02T05:09:05+00:00", NOW) == "in 2 h 5 min"
    assert ago(None, NOW) == ago("yesterday", NOW) == ""


@pytest.mark.parametrize(
    ("token", "session", "text"),
    [
        (
            "2026-01-02T03:14:05Z",
            "2026-01-02T15:04:05Z",
            "in 12 h 0 min; the access token, which renews itself, in 10 min",
        ),
        ("2026-01-02T15:04:05Z", "2026-01-02T15:04:05Z", "in 12 h 0 min"),
        ("2026-01-04T03:04:05Z", None, "in 2 d; nothing renews this token"),
    ],
)
def test_signed_in_until_tells_the_session_from_its_token(
    token: str, session: str | None, text: str
) -> None:
    assert signed_in_until({"expires_at": token, "session_ends_at": session}, NOW) == text


def test_stamp_is_utc() -> None:
    assert stamp("2026-01-02T04:04:05.678+01:00") == "2026-01-02 03:04:05Z"
    assert stamp(None) == ""


@given(st.datetimes(timezones=st.just(UTC)))
def test_moment_reads_what_the_api_writes(at: datetime) -> None:
    assert moment(at.isoformat().replace("+00:00", "Z")) == at


@given(st.text())
def test_moment_of_any_text_is_a_time_with_a_zone_or_none(text: str) -> None:
    at = moment(text)
    assert at is None or at.tzinfo is not None


@given(st.text())
def test_plain_has_one_line_that_can_be_printed(text: str) -> None:
    assert plain(text).isprintable()


def test_plain_shows_where_an_escape_sequence_was() -> None:
    assert plain("disk\x1b[2J\u202eevil\nrest") == "disk�[2J�evil rest"


def test_listed_joins_lists_and_mappings() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed({"rack": "7", "spare": ""}) == "rack=7, spare"
    assert listed(None) == ""


def test_ago_of_the_present_is_no_future() -> None:
    assert ago((NOW - timedelta(milliseconds=1)).isoformat(), NOW) == "0 s ago"
