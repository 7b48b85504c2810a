"""Which ID tokens are believed: the checks of OpenID Connect Core 1.0, each on its own."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.control.oidc.token import NOT_BELIEVED, Expected, public_keys, verified
from tests.support import oidc_liar
from tests.support.oidc_liar import ACCESS_TOKEN, CLIENT_ID, Claims, Forge, Liar

ISSUER = "https://sso.example.com/realms/lpmos"
NOW = 1_790_000_000
ALLOWED = ["RS256", "ES256"]


@pytest.fixture
def liar() -> Liar:
    made = Liar()
    made.issuer = ISSUER
    made.said = {"nonce": "nonce", "iat": NOW, "exp": NOW + 300}
    return made


def checked(liar: Liar, token: str | None = None, algorithms: list[str] | None = None) -> Claims:
    """The claims, as the provider's client takes them."""
    expected = Expected(
        issuer=ISSUER,
        client_id=CLIENT_ID,
        nonce="nonce",
        access_token=ACCESS_TOKEN,
        now=datetime.fromtimestamp(NOW, UTC),
    )
    keys = public_keys(liar.key_set())
    made = liar.forge(liar, liar.claims()) if token is None else token
    return verified(made, keys, ALLOWED if algorithms is None else algorithms, expected)


@pytest.mark.parametrize(
    "said",
    [{}, {"azp": CLIENT_ID}, {"aud": [CLIENT_ID]}, {"aud": [CLIENT_ID, "b"], "azp": CLIENT_ID}],
    ids=str,
)
def test_honest_token_is_believed(liar: Liar, said: Claims) -> None:
    liar.said |= said
    assert checked(liar)["sub"] == "subject-1"


def test_token_just_over_is_believed_for_the_clocks_sake(liar: Liar) -> None:
    liar.said |= {"exp": NOW - 30}
    assert checked(liar)["preferred_username"] == "alice"


@pytest.mark.parametrize(
    "said",
    [
        {"nonce": "another"},
        {"nonce": ["nonce"]},
        {"iss": "https://evil.example.com"},
        {"iss": ISSUER + "/"},
        {"aud": "another-client"},
        {"aud": [CLIENT_ID, "another-client"]},
        {"aud": {}},
        {"aud": []},
        {"azp": "another-client"},
        {"exp": NOW - 120},
        {"exp": "tomorrow"},
        {"exp": float("inf")},
        {"iat": NOW + 3600},
        {"nbf": NOW + 3600},
        {"at_hash": oidc_liar.half_hash("another")},
        {"sub": ""},
        {"sub": 1},
        {"sub": None},
        {"sub": "x" * 256},
    ],
    ids=str,
)
def test_token_that_says_something_wrong_is_not_believed(liar: Liar, said: Claims) -> None:
    liar.said |= said
    with pytest.raises(NOT_BELIEVED):
        checked(liar)


@pytest.mark.parametrize("name", ["nonce", "iss", "aud", "exp", "iat", "sub"])
def test_token_that_leaves_something_out_is_not_believed(liar: Liar, name: str) -> None:
    liar.unsaid = (name,)
    with pytest.raises(NOT_BELIEVED):
        checked(liar)


@pytest.mark.parametrize(
    "forge",
    [
        oidc_liar.unsigned,
        oidc_liar.unsigned_with_the_signature,
        oidc_liar.by_public_key,
        oidc_liar.by_client_secret,
        oidc_liar.by_key_in_header,
        oidc_liar.by_another_key,
        oidc_liar.by_unknown_key,
        oidc_liar.altered,
    ],
)
def test_token_that_is_not_signed_by_the_provider_is_not_believed(liar: Liar, forge: Forge) -> None:
    liar.forge = forge
    with pytest.raises(NOT_BELIEVED):
        checked(liar)


def test_algorithm_that_the_provider_does_not_use_is_not_believed(liar: Liar) -> None:
    for algorithms in (["ES256"], []):
        with pytest.raises(NOT_BELIEVED):
            checked(liar, algorithms=algorithms)


@given(st.one_of(st.text(), st.from_regex(r"[\w-]+\.[\w-]+\.[\w-]*", fullmatch=True)))
def test_rubbish_is_not_believed(token: str) -> None:
    liar = Liar()
    liar.issuer = ISSUER
    with pytest.raises(NOT_BELIEVED):
        checked(liar, token)


@pytest.mark.parametrize(
    "document",
    [
        {},
        {"keys": 1},
        {"keys": []},
        {"keys": [1]},
        {"keys": [{"kty": "oct", "k": "AAAA"}]},
        {"keys": [{"kty": "RSA"}]},
        {"keys": [oidc_liar.public_jwk(oidc_liar.RSA, "a") | {"use": "enc"}]},
    ],
    ids=("empty", "no list", "none", "no key", "symmetric", "incomplete", "for encryption"),
)
def test_set_without_a_key_that_verifies_is_none(document: Claims) -> None:
    with pytest.raises(NOT_BELIEVED):
        public_keys(document)
