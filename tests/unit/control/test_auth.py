"""Signed tokens: what is believed and what is not."""

import base64
import json
from datetime import timedelta

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.auth import TokenSigner, Use
from lpmos.model.access import Role
from lpmos.model.errors import SettingsError, Unauthenticated
from tests.support.clocks import HandClock

KEY = b"k" * 32
HOUR = timedelta(hours=1)


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
        "aud": "key",
        "sub": "mallory",
        "roles": ["admin"],
        "iat": now,
        "exp": now + 3600,
        "jti": "1",
    }
    claims.update(changes)
    return {name: value for name, value in claims.items() if value is not None}


def test_verify_own_token_gives_what_it_says(signer: TokenSigner, clock: HandClock) -> None:
    claims = signer.verify(signer.issue("alice", "viewer", HOUR), Use.KEY)
    assert (claims.subject, claims.roles, claims.use) == ("alice", (Role.VIEWER,), Use.KEY)
    assert claims.expires_at == clock.now + HOUR
    assert claims.token_id


def test_issue_twice_gives_tokens_of_different_ids(signer: TokenSigner) -> None:
    tokens = [signer.issue("alice", "admin", HOUR) for _ in range(2)]
    assert len({signer.verify(token, Use.KEY).token_id for token in tokens}) == 2


@pytest.mark.parametrize("lifetime", [timedelta(hours=25), timedelta(0), timedelta(hours=-1)])
def test_issue_for_longer_than_a_day_is_refused(signer: TokenSigner, lifetime: timedelta) -> None:
    with pytest.raises(SettingsError, match="24 hours"):
        signer.issue("alice", "admin", lifetime)


def test_of_session_names_the_session_and_no_role(signer: TokenSigner, clock: HandClock) -> None:
    token = signer.of_session(Use.ACCESS, "s1", "alice", clock.now + HOUR)
    claims = signer.verify(token, Use.ACCESS, Use.KEY)
    assert (claims.use, claims.token_id, claims.subject) == (Use.ACCESS, "s1", "alice")
    assert claims.roles == ()


def test_of_session_twice_gives_different_tokens(signer: TokenSigner, clock: HandClock) -> None:
    tokens = {signer.of_session(Use.REFRESH, "s1", "a", clock.now + HOUR) for _ in range(2)}
    assert len(tokens) == 2


@pytest.mark.parametrize("use", [Use.ACCESS, Use.COOKIE, Use.REFRESH])
@pytest.mark.parametrize("other", list(Use))
def test_verify_token_of_another_use_is_refused(
    signer: TokenSigner, clock: HandClock, use: Use, other: Use
) -> None:
    token = signer.of_session(use, "s1", "alice", clock.now + HOUR)
    if use is other:
        signer.verify(token, other)
        return
    with pytest.raises(Unauthenticated, match="not valid"):
        signer.verify(token, other)


def test_issue_unknown_role_is_refused(signer: TokenSigner) -> None:
    with pytest.raises(ValueError, match="root"):
        signer.issue("alice", "root", HOUR)


def test_verify_at_the_end_of_its_life_is_refused(signer: TokenSigner, clock: HandClock) -> None:
    token = signer.issue("alice", "admin", HOUR)
    clock.now += HOUR
    with pytest.raises(Unauthenticated, match="expired"):
        signer.verify(token, Use.KEY, Use.ACCESS)


def test_verify_another_key_is_refused(signer: TokenSigner, clock: HandClock) -> None:
    token = TokenSigner(b"x" * 32, clock).issue("alice", "admin", HOUR)
    with pytest.raises(Unauthenticated):
        signer.verify(token, Use.KEY, Use.ACCESS)


def test_verify_token_without_signature_is_refused(signer: TokenSigner, clock: HandClock) -> None:
    def part(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    for algorithm in ("none", "None", "NONE"):
        token = f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(_claims(clock))}."
        with pytest.raises(Unauthenticated):
            signer.verify(token, Use.KEY, Use.ACCESS)


def test_verify_another_algorithm_with_our_key_is_refused(
    signer: TokenSigner, clock: HandClock
) -> None:
    token = jwt.encode(_claims(clock), KEY * 2, algorithm="HS512")
    with pytest.raises(Unauthenticated):
        signer.verify(token, Use.KEY, Use.ACCESS)


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "another"},
        {"iss": None},
        {"sub": None},
        {"sub": 7},
        {"roles": ["root"]},
        {"roles": None},
        {"roles": []},
        {"roles": "admin"},
        {"roles": [["admin"]]},
        {"roles": [7]},
        {"aud": None},
        {"aud": "access"},
        {"aud": "admin"},
        {"aud": ["key", "access"]},
        {"exp": None},
        {"exp": "soon"},
        {"exp": 10**30},
        {"exp": float("inf")},
        {"iat": 0},
        {"iat": "now"},
        {"exp": 1767330000 + 10**6, "iat": 1767330000 + 10**6 - 60},
        {"jti": None},
        {"iat": None},
    ],
)
def test_verify_signed_token_with_wrong_claims_is_refused(
    signer: TokenSigner, clock: HandClock, changes: dict[str, object]
) -> None:
    token = jwt.encode(_claims(clock, **changes), KEY, algorithm="HS256")
    with pytest.raises(Unauthenticated):
        signer.verify(token, Use.KEY, Use.ACCESS)


@given(st.text(max_size=300))
def test_verify_any_text_is_refused_as_unauthenticated(text: str) -> None:
    with pytest.raises(Unauthenticated):
        TokenSigner(KEY, HandClock()).verify(text, *Use)


def test_signer_with_a_short_key_is_refused(clock: HandClock) -> None:
    with pytest.raises(SettingsError, match="32"):
        TokenSigner(b"short", clock)


def test_verify_huge_token_is_refused_unread(signer: TokenSigner) -> None:
    with pytest.raises(Unauthenticated, match="not valid"):
        signer.verify("x" * 10_000_000, *Use)
