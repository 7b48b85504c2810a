"""ID tokens: which are believed (OpenID Connect Core 1.0 section 3.1.3.7).

A token counts only if a public key of the provider's signed it with one of `ALGORITHMS`, and if it
was issued by this provider, for this client, for this very login, and is not over. What the token's
own header says of keys is never followed.
"""

from datetime import datetime
from typing import Any, NamedTuple

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

ALGORITHMS = frozenset(
    {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512"}
)
"""Signatures with a key pair (RFC 7518): never `none`, never a shared secret."""

PUBLIC_KEYS = frozenset({"RSA", "EC"})
LEEWAY_S = 60
"""How far the provider's clock may be from ours."""

SUBJECT_CHARACTERS = 255
NOT_BELIEVED = (JoseError, ValueError, TypeError, KeyError, OverflowError, RecursionError)
"""What rubbish ends with, besides what is well made and wrong."""


class Expected(NamedTuple):
    """What an ID token must say."""

    issuer: str
    client_id: str
    nonce: str
    access_token: str
    now: datetime


def public_keys(document: dict[str, Any]) -> KeySet:
    """The keys of a published set (RFC 7517) that can verify: a shared or an encryption key cannot.

    Raises:
        one of `NOT_BELIEVED`: there is none, or a damaged one.
    """
    listed = document.get("keys")
    public = [
        key
        for key in (listed if isinstance(listed, list) else ())
        if isinstance(key, dict) and key.get("kty") in PUBLIC_KEYS and key.get("use") != "enc"
    ]
    return KeySet.import_key_set({"keys": public})


def verified(token: str, keys: KeySet, algorithms: list[str], expected: Expected) -> dict[str, Any]:
    """The claims of an ID token (OpenID Connect Core 1.0 section 3.1.3.7).

    Args:
        token: as the provider gave it for a code.
        keys: its public keys.
        algorithms: those of `ALGORITHMS` that it signs with.
        expected: what the token must say.

    Raises:
        one of `NOT_BELIEVED`: it is not to be believed.
    """
    if not algorithms:  # the library would take that for its own choice, shared secrets among it
        raise ValueError("no algorithm is allowed")
    registry = JWSRegistry(algorithms=algorithms, strict_check_header=False)
    decoded = jwt.decode(token, key=keys, registry=registry)
    claims = CodeIDToken(
        decoded.claims,
        decoded.header,
        options={
            "iss": {"essential": True, "value": expected.issuer},
            "aud": {"essential": True, "value": expected.client_id},
            "sub": {"essential": True, "allow_blank": False},
        },
        params={
            "nonce": expected.nonce,
            "client_id": expected.client_id,
            "access_token": expected.access_token,
        },
    )
    claims.validate(now=int(expected.now.timestamp()), leeway=LEEWAY_S)
    if len(claims["sub"]) > SUBJECT_CHARACTERS:
        raise ValueError("the subject is too long")
    return dict(claims)
