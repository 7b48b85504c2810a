"""Tokens: what is believed, what is not, and how often one may guess."""

import base64
import json
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.auth import FailedLogins, Principal, Role, TokenSigner, require
from lpmos.model.errors import SettingsError, TooBusy, Unauthenticated

KEY = b"k" * 32
HOUR = timedelta(hours=1)


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def signer(clock: HandClock) -> TokenSigner:
    return TokenSigner(KEY, clock)


def _claims(clock: HandClock, **changes: object) -> dict[str, object]:
    now = int(clock.now.timestamp())
    claims: dict[str, object] = {
        "iss": "lpmos",
        "sub": "mallory",
        "role": "admin",
        "iat": now,
        "exp": now + 3600,
        "jti": "1",
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


def test_verify_own_token_gives_its_principal(signer: TokenSigner, clock: HandClock) -> None:
    principal = signer.verify(signer.issue("alice", "admin", HOUR))
    assert (principal.subject, principal.role) == ("alice", Role.ADMIN)
    assert principal.expires_at == clock.now + HOUR
    assert principal.token_id


def test_issue_twice_gives_tokens_of_different_ids(signer: TokenSigner) -> None:
    ids = {signer.verify(signer.issue("alice", "admin", HOUR)).token_id for _ in range(2)}
    assert len(ids) == 2


def test_issue_unknown_role_is_refused(signer: TokenSigner) -> None:
    with pytest.raises(ValueError, match="root"):
        signer.issue("alice", "root", HOUR)


def test_verify_at_the_end_of_its_life_is_refused(signer: TokenSigner, clock: HandClock) -> None:
    token = signer.issue("alice", "admin", HOUR)
    clock.now += HOUR
    with pytest.raises(Unauthenticated, match="expired"):
        signer.verify(token)


def test_verify_another_key_is_refused(signer: TokenSigner, clock: HandClock) -> None:
    token = TokenSigner(b"x" * 32, clock).issue("alice", "admin", HOUR)
    with pytest.raises(Unauthenticated):
        signer.verify(token)


def test_verify_token_without_signature_is_refused(signer: TokenSigner, clock: HandClock) -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for algorithm in ("none", "None", "NONE"):
        token = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(_claims(clock))}."
        with pytest.raises(Unauthenticated):
            signer.verify(token)


def test_verify_another_algorithm_with_our_key_is_refused(
    signer: TokenSigner, clock: HandClock
) -> None:
    token = jwt.encode(_claims(clock), KEY * 2, algorithm="HS512")
    with pytest.raises(Unauthenticated):
        signer.verify(token)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "another"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"role": "root"},
        {"role": None},
        {"role": ["admin"]},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 10**30},
        {"jti": None},
        {"iat": None},
    ],
)
def test_verify_signed_token_with_wrong_claims_is_refused(
    signer: TokenSigner, clock: HandClock, changes: dict[str, object]
) -> None:
    token = jwt.encode(_claims(clock, **changes), KEY, algorithm="HS256")
    with pytest.raises(Unauthenticated):
        signer.verify(token)


@given(st.text(max_size=300))
def test_verify_any_text_is_refused_as_unauthenticated(text: str) -> None:
    with pytest.raises(Unauthenticated):
        TokenSigner(KEY, HandClock()).verify(text)


def test_signer_with_a_short_key_is_refused(clock: HandClock) -> None:
    with pytest.raises(SettingsError, match="32"):
        TokenSigner(b"short", clock)


def test_require_of_the_role_that_is_held_passes(clock: HandClock) -> None:
    admin = Principal(subject="a", role=Role.ADMIN, expires_at=clock.now, token_id="1")
    require(admin, Role.ADMIN)


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


def test_failed_logins_from_very_many_addresses_are_forgotten_in_order(clock: HandClock) -> None:
    logins = FailedLogins(clock, limit=1)
    logins.failed("first")
    for number in range(FailedLogins.ADDRESSES):
        logins.failed(f"address {number}")
    logins.check("first")
    with pytest.raises(TooBusy):
        logins.check("address 0")
