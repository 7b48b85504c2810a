"""The sealed cookie of a login under way, and where a browser may go after it."""

from datetime import timedelta
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.auth import TokenSigner
from lpmos.control.oidc.attempt import HOME, LIFETIME, Attempts, own_path
from lpmos.model.errors import Unauthenticated
from tests.support.clocks import HandClock

KEY = b"0123456789abcdef0123456789abcdef"


def attempts(clock: HandClock | None = None, key: bytes = KEY) -> Attempts:
    clock = clock or HandClock()
    return Attempts(TokenSigner(key, clock), clock)


def test_attempt_is_opened_by_any_control_plane_with_the_key_and_no_other() -> None:
    attempt = attempts().begin("/tasks/create")
    sealed = attempts().seal(attempt)
    assert attempts().open(sealed) == attempt
    with pytest.raises(Unauthenticated):
        attempts(key=KEY[::-1]).open(sealed)


def test_attempt_hides_what_it_holds_and_is_never_the_same() -> None:
    one, other = attempts().begin(None), attempts().begin(None)
    assert len({one.state, one.nonce, one.verifier, other.state, other.nonce, other.verifier}) == 6
    assert 43 <= len(one.verifier) <= 128
    assert attempts().seal(one) != attempts().seal(one)
    for secret in (one.state, one.nonce, one.verifier):
        assert secret not in attempts().seal(one) and secret not in repr(one)


def test_attempt_is_over_after_its_lifetime() -> None:
    clock = HandClock()
    made = attempts(clock)
    sealed = made.seal(made.begin(None))
    clock.now += LIFETIME - timedelta(seconds=1)
    made.open(sealed)
    clock.move(seconds=1)
    with pytest.raises(Unauthenticated):
        made.open(sealed)


@given(st.text() | st.binary().map(lambda raw: raw.hex()))
def test_rubbish_is_no_attempt(text: str) -> None:
    with pytest.raises(Unauthenticated):
        attempts().open(text)


@given(st.integers(min_value=0, max_value=399), st.integers(min_value=0, max_value=63))
def test_changed_attempt_is_none(place: int, by: int) -> None:
    made = attempts()
    attempt = made.begin("/x")
    sealed = made.seal(attempt)
    place %= len(sealed)
    letter = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"[by]
    changed = sealed[:place] + letter + sealed[place + 1 :]
    try:
        assert made.open(changed) == attempt  # the last letter has bits that mean nothing
    except Unauthenticated:
        assert changed != sealed


@pytest.mark.parametrize("path", ["/", "/tasks/create", "/?status=failed#top", "/a//b"])
def test_own_path_stays(path: str) -> None:
    assert own_path(path) == path


@pytest.mark.parametrize(
    "path",
    [None, "", "x", "//h", "/\\h", "\\/h", "https://h", "/a\\b", "/\n/h", "/\t/h", "/a b", "/é"],
)
def test_path_that_may_lead_elsewhere_is_replaced(path: str | None) -> None:
    assert own_path(path) == HOME


def test_path_that_is_too_long_is_replaced() -> None:
    assert own_path("/" + "x" * 512) == HOME


@given(st.text(alphabet="/\\.:@?#%ah\t\n x", max_size=20))
def test_no_path_leads_elsewhere(path: str) -> None:
    followed = urlsplit(urljoin("https://lpmos.example.com/login/oidc/callback", own_path(path)))
    assert (followed.scheme, followed.netloc) == ("https", "lpmos.example.com")
