"""An OpenID provider that says whatever a test wants: for what a real one cannot be made to say.

Its tokens are made with PyJWT and by hand, not with the library that checks them.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from aiohttp import web
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.support.served import served

CLIENT_ID = "lpmos"
CLIENT_SECRET = "0123456789abcdef0123456789abcdef"
ACCESS_TOKEN = "access"
KID = "key-1"

Claims = dict[str, Any]
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
Forge = Callable[["Liar", Claims], str]

RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)


class Liar:
    """What it publishes and says; a test changes what it needs to."""

    def __init__(self) -> None:
        self.issuer = ""
        self.key: PrivateKey = RSA
        self.algorithm = "RS256"
        self.metadata: Claims = {}
        self.said: Claims = {}
        self.unsaid: tuple[str, ...] = ()
        self.forge: Forge = signed
        self.user_info: Claims | None = None
        self.jwks: Claims | None = None
        self.answers: dict[str, web.Response] = {}
        self.token_requests: list[dict[str, str]] = []
        self.authorization: list[str] = []
        self._nonce = ""

    def begun(self, url: str) -> dict[str, str]:
        """A browser came here; what it brought, and the answer that it goes back with."""
        brought = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        self._nonce = brought["nonce"]
        return brought

    def key_set(self) -> Claims:
        """What it publishes of its keys."""
        return self.jwks or {"keys": [public_jwk(self.key, KID)]}

    def claims(self) -> Claims:
        """What an ID token says."""
        now = int(time.time())
        whole = {
            "iss": self.issuer,
            "sub": "subject-1",
            "aud": CLIENT_ID,
            "iat": now,
            "exp": now + 300,
            "nonce": self._nonce,
            "at_hash": half_hash(ACCESS_TOKEN),
            "preferred_username": "alice",
            "groups": ["noc"],
        } | self.said
        return {name: value for name, value in whole.items() if name not in self.unsaid}

    async def configuration(self, _: web.Request) -> web.Response:
        """The discovery document."""
        algorithms = ["RS256", "ES256", "HS256", "none"]
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            "userinfo_endpoint": f"{self.issuer}/userinfo",
            "id_token_signing_alg_values_supported": algorithms,
        }
        return self._said("configuration", document | self.metadata)

    async def keys(self, _: web.Request) -> web.Response:
        """The public keys."""
        return self._said("jwks", self.key_set())

    async def token(self, request: web.Request) -> web.Response:
        """The tokens for a code."""
        self.token_requests.append({name: str(v) for name, v in (await request.post()).items()})
        self.authorization.append(request.headers.get("authorization", ""))
        token = self.forge(self, self.claims())
        return self._said("token", {"access_token": ACCESS_TOKEN, "id_token": token})

    async def about(self, request: web.Request) -> web.Response:
        """What it tells of a user beyond the token."""
        assert request.headers["authorization"] == f"Bearer {ACCESS_TOKEN}"
        return self._said("userinfo", self.user_info or {})

    def _said(self, place: str, document: Claims) -> web.Response:
        return self.answers.get(place) or web.json_response(document)


def signed(liar: Liar, claims: Claims, *, key: PrivateKey | None = None, kid: str = KID) -> str:
    """The claims under the provider's own signature, or another's."""
    return jwt.encode(claims, key or liar.key, algorithm=liar.algorithm, headers={"kid": kid})


def unsigned(liar: Liar, claims: Claims) -> str:
    """The algorithm `none` (RFC 7518 section 3.6)."""
    return f"{_part({'alg': 'none', 'kid': KID})}.{_part(claims)}."


def unsigned_with_the_signature(liar: Liar, claims: Claims) -> str:
    """The algorithm `none`, with a signature all the same."""
    return unsigned(liar, claims) + signed(liar, claims).rpartition(".")[2]


def by_public_key(liar: Liar, claims: Claims) -> str:
    """HS256 with the public key's PEM as the shared secret (CVE-2015-9235)."""
    pem = liar.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _with_mac({"alg": "HS256", "kid": KID}, claims, pem)


def by_client_secret(liar: Liar, claims: Claims) -> str:
    """HS256 with the client's secret: everybody who has that could sign."""
    return _with_mac({"alg": "HS256"}, claims, CLIENT_SECRET.encode())


def by_key_in_header(liar: Liar, claims: Claims) -> str:
    """Signed by a stranger who sends the key along."""
    headers = {"jwk": public_jwk(OTHER_RSA, KID), "kid": KID}
    return jwt.encode(claims, OTHER_RSA, algorithm="RS256", headers=headers)


def by_another_key(liar: Liar, claims: Claims) -> str:
    """Signed by a stranger, under the provider's key's name."""
    return signed(liar, claims, key=OTHER_RSA)


def by_unknown_key(liar: Liar, claims: Claims) -> str:
    """Signed by a stranger, under a name of its own."""
    return signed(liar, claims, key=OTHER_RSA, kid="key-2")


def altered(liar: Liar, claims: Claims) -> str:
    """Signed, and then made an administrator's."""
    header, _, signature = signed(liar, claims).split(".")
    return f"{header}.{_part(claims | {'groups': ['lpmos-admins']})}.{signature}"


def public_jwk(key: PrivateKey, kid: str) -> Claims:
    """The public half of a key as it is published (RFC 7517)."""
    algorithms: dict[type, Any] = {
        rsa.RSAPrivateKey: jwt.algorithms.RSAAlgorithm,
        ec.EllipticCurvePrivateKey: jwt.algorithms.ECAlgorithm,
    }
    algorithm = next(made for kind, made in algorithms.items() if isinstance(key, kind))
    return {**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"}


def half_hash(token: str) -> str:
    """The claim `at_hash` under a SHA-256 signature (OpenID Connect Core 1.0 section 3.1.3.6)."""
    return _base64(hashlib.sha256(token.encode()).digest()[:16])


@asynccontextmanager
async def lying() -> AsyncIterator[Liar]:
    """Such a provider on a free port, honest at first, until the block ends."""
    liar = Liar()
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", liar.configuration)
    app.router.add_get("/jwks", liar.keys)
    app.router.add_post("/token", liar.token)
    app.router.add_get("/userinfo", liar.about)
    async with served(app) as liar.issuer:
        yield liar


def _with_mac(header: Claims, claims: Claims, secret: bytes) -> str:
    text = f"{_part(header)}.{_part(claims)}"
    return f"{text}.{_base64(hmac.digest(secret, text.encode(), 'sha256'))}"


def _part(document: Claims) -> str:
    return _base64(json.dumps(document).encode())


def _base64(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
