"""How often one may guess."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.identity.limits import FailedLogins, site_of
from lpmos.model.errors import TooBusy, Unauthenticated
from tests.support.clocks import HandClock


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


def test_failed_logins_up_to_the_limit_pass_and_then_wait(clock: HandClock) -> None:
    logins = FailedLogins(clock, limit=3)
    for _ in range(3):
        logins.check("192.0.2.1")
        logins.failed("192.0.2.1")
    with pytest.raises(TooBusy):
        logins.check("192.0.2.1")
    logins.check("192.0.2.2")
    clock.now += timedelta(minutes=1)
    logins.check("192.0.2.1")


def test_attempt_that_succeeds_or_that_nobody_decides_is_taken_back(clock: HandClock) -> None:
    logins = FailedLogins(clock, limit=2)
    for _ in range(5):
        with logins.attempt("alice", Unauthenticated):
            pass
        with pytest.raises(OSError, match="away"), logins.attempt("alice", Unauthenticated):
            raise OSError("the store is away")
    logins.check("alice")


def test_attempt_that_is_wrong_counts(clock: HandClock) -> None:
    logins = FailedLogins(clock, limit=2)
    for _ in range(2):
        with pytest.raises(Unauthenticated), logins.attempt("alice", Unauthenticated):
            raise Unauthenticated("wrong")
    with pytest.raises(TooBusy), logins.attempt("alice", Unauthenticated):
        pass


def test_attempt_counts_from_its_beginning(clock: HandClock) -> None:
    logins = FailedLogins(clock, limit=1)
    with logins.attempt("alice", Unauthenticated), pytest.raises(TooBusy):
        logins.check("alice")
    logins.check("alice")


def test_failed_logins_from_very_many_addresses_are_forgotten_in_order(clock: HandClock) -> None:
    logins = FailedLogins(clock, limit=1)
    logins.failed("first")
    for number in range(FailedLogins.KEYS):
        logins.failed(f"address {number}")
    logins.check("first")
    with pytest.raises(TooBusy):
        logins.check("address 0")


@pytest.mark.parametrize(
    ("address", "site"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("x" * 500, "x" * 64),
    ],
)
def test_site_of_an_address_is_what_one_caller_has(address: str, site: str) -> None:
    assert site_of(address) == site


@given(st.text(max_size=100))
def test_site_of_any_text_is_short(text: str) -> None:
    assert len(site_of(text)) <= 64
