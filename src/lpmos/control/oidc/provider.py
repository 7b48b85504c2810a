"""An OpenID provider, as its client sees it: what it publishes, and its tokens for a code.

The flow is the authorisation code flow with PKCE (OpenID Connect Core 1.0 section 3.1, RFC 7636).
What the provider publishes is read again after `KNOWN_FOR`, and its keys whenever a token is signed
with one that is not known. Every wait has its bound, and whatever comes has its size.
"""

import asyncio
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
import msgspec
import structlog
from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.discovery import get_well_known_url
from joserfc.errors import BadSignatureError, InvalidKeyIdError
from joserfc.jwk import KeySet

from lpmos.control.config import OidcConfig
from lpmos.control.oidc.claims import claim
from lpmos.control.oidc.token import ALGORITHMS, NOT_BELIEVED, Expected, public_keys, verified
from lpmos.core.clock import Clock
from lpmos.model.errors import ProviderAway, SettingsError, Unauthenticated

log = structlog.get_logger()

KNOWN_FOR = timedelta(minutes=10)
CALL_TIMEOUT_S = 5.0
"""One call to the provider, from connecting to the last byte."""

LOGIN_TIMEOUT_S = 12.0
"""All calls of one login."""

AWAY_FOR = timedelta(seconds=1)
"""After a failure nobody asks what it publishes for so long, so that they do not queue up."""

CODE_REFUSED = frozenset({400, 401, 403})
OPERATORS_ERRORS = frozenset(
    {"invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_scope"}
)
"""Errors of the token endpoint (RFC 6749 section 5.2) that no other code would mend. For a code
that was used, providers have words of their own besides `invalid_grant`."""

CONNECTIONS = 20
ANSWER_BYTES = 1_048_576
AWAY = "the identity provider cannot be used now; try again, or log in with a name and password"
UNTRUSTED = "the identity provider's answer cannot be trusted; start again"
REFUSED = "the identity provider does not take this login any more; start again"


class Metadata(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider publishes of itself (OpenID Connect Discovery 1.0 section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None = None
    scopes_supported: tuple[str, ...] = ()
    id_token_signing_alg_values_supported: tuple[str, ...] = ("RS256",)
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    authorization_response_iss_parameter_supported: bool = False

    @property
    def algorithms(self) -> list[str]:
        """Those of `ALGORITHMS` that it signs with."""
        return [name for name in self.id_token_signing_alg_values_supported if name in ALGORITHMS]


class _Known(NamedTuple):
    metadata: Metadata
    keys: KeySet
    read_at: datetime


class Provider:
    """One provider; what it publishes is known once the first login needs it."""

    def __init__(self, config: OidcConfig, redirect_uri: str, clock: Clock) -> None:
        """`redirect_uri` is where the provider sends browsers back to.

        Raises:
            SettingsError: the CA cannot be used.
        """
        self._config = config
        self._redirect_uri = redirect_uri
        self._clock = clock
        self._known: _Known | None = None
        self._failed_at: datetime | None = None
        self._reading = asyncio.Lock()
        self._client = httpx.AsyncClient(
            verify=_trust(config),
            timeout=CALL_TIMEOUT_S,
            # A connection that was kept may be closed just when it is used again, and a code is
            # good for one time.
            limits=httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=0),
            headers={"Accept": "application/json"},
        )

    async def close(self) -> None:
        """Close what is open."""
        await self._client.aclose()

    async def authorization_url(self, *, state: str, nonce: str, verifier: str) -> str:
        """Where a browser begins to sign in.

        Raises:
            ProviderAway: what the provider publishes cannot be read.
        """
        metadata = (await self._published()).metadata
        url: str = prepare_grant_uri(
            metadata.authorization_endpoint,
            self._config.client_id,
            "code",
            redirect_uri=self._redirect_uri,
            scope=_scope(metadata, self._config),
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),  # type: ignore[no-untyped-call]
            code_challenge_method="S256",
        )
        return url

    async def claims(
        self, code: str, *, nonce: str, verifier: str, issuer: str | None
    ) -> dict[str, Any]:
        """What the provider says of who has signed in there.

        Args:
            code: as it came back with the browser.
            nonce: of this login.
            verifier: of this login.
            issuer: the answer's `iss` (RFC 9207), where it had one.

        Raises:
            Unauthenticated: the code is not good (any more), or the token is not to be believed.
            ProviderAway: the provider cannot be reached or understood.
        """
        try:
            async with asyncio.timeout(LOGIN_TIMEOUT_S):
                known = await self._published()
                self._check_issuer(known.metadata, issuer)
                tokens = await self._tokens(known.metadata, code, verifier)
                claims = await self._verified(known, tokens, nonce)
                return await self._completed(known.metadata, claims, tokens["access_token"])
        except TimeoutError:
            raise _away(self._config.issuer, f"no answer within {LOGIN_TIMEOUT_S:.0f} s") from None

    def _check_issuer(self, metadata: Metadata, issuer: str | None) -> None:
        """RFC 9207 section 2.4: another provider's answer is not for this one."""
        if issuer is None and not metadata.authorization_response_iss_parameter_supported:
            return
        if issuer != self._config.issuer:
            shown = issuer[:200] if issuer else None
            log.warning("an answer came from another identity provider", issuer=shown)
            raise Unauthenticated(UNTRUSTED)

    async def _published(self) -> _Known:
        """What the provider publishes; of many who ask at once one reads it."""
        async with self._reading:
            now = self._clock()
            if self._known is not None and now - self._known.read_at <= KNOWN_FOR:
                return self._known
            if self._failed_at is not None and now - self._failed_at < AWAY_FOR:
                raise ProviderAway(AWAY)
            try:
                self._known = await self._read()
            except ProviderAway:
                self._failed_at = self._clock()
                raise
            return self._known

    async def _read(self) -> _Known:
        url = get_well_known_url(self._config.issuer, external=True)
        metadata = _metadata(await self._get(url), self._config.issuer)
        return _Known(metadata, await self._keys(metadata), self._clock())

    async def _keys(self, metadata: Metadata) -> KeySet:
        try:
            return public_keys(await self._get(metadata.jwks_uri))
        except NOT_BELIEVED as error:
            raise _away(metadata.jwks_uri, f"its keys cannot be used: {error}") from None

    async def _tokens(self, metadata: Metadata, code: str, verifier: str) -> dict[str, str]:
        """The tokens for a code: `id_token` and `access_token`."""
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=self._redirect_uri,
            code=code,
            code_verifier=verifier,
        )
        secret = self._config.client_secret
        auth = ClientAuth(self._config.client_id, secret, _auth_method(metadata, secret))
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        url, headers, body = auth.prepare(  # type: ignore[no-untyped-call]
            "POST", metadata.token_endpoint, headers, body
        )
        status, answer = await self._call("POST", url, headers=headers, content=body)
        tokens = {name: answer.get(name) for name in ("id_token", "access_token")}
        if status == 200 and all(isinstance(each, str) and each for each in tokens.values()):
            return {name: str(each) for name, each in tokens.items()}
        error = str(answer.get("error", "no tokens"))[:64]
        if status in CODE_REFUSED and error not in OPERATORS_ERRORS:
            log.warning("the identity provider refused a code", url=url, reason=error)
            raise Unauthenticated(REFUSED)
        raise _away(url, f"status {status}: {error}")

    async def _verified(
        self, known: _Known, tokens: Mapping[str, str], nonce: str
    ) -> dict[str, Any]:
        algorithms = known.metadata.algorithms
        expected = Expected(
            issuer=self._config.issuer,
            client_id=self._config.client_id,
            nonce=nonce,
            access_token=tokens["access_token"],
            now=self._clock(),
        )
        token = tokens["id_token"]
        try:
            try:
                return verified(token, known.keys, algorithms, expected)
            except (InvalidKeyIdError, BadSignatureError):  # the keys may have been rotated
                keys = await self._keys(known.metadata)
                self._known = known._replace(keys=keys)
                return verified(token, keys, algorithms, expected)
        except NOT_BELIEVED as error:
            log.warning(
                "an ID token is not believed", issuer=known.metadata.issuer, reason=str(error)
            )
            raise Unauthenticated(UNTRUSTED) from None

    async def _completed(
        self, metadata: Metadata, claims: dict[str, Any], access_token: str
    ) -> dict[str, Any]:
        """The claims, with those that the provider tells only when asked (Core section 5.3)."""
        config = self._config
        wanted = [config.name_claim, config.roles_claim, config.tenant_claim]
        missing = [name for name in wanted if name and claim(claims, name) is None]
        if not missing or metadata.userinfo_endpoint is None:
            return claims
        headers = {"Authorization": f"Bearer {access_token}"}
        status, told = await self._call("GET", metadata.userinfo_endpoint, headers=headers)
        if status != 200:
            raise _away(metadata.userinfo_endpoint, f"status {status}")
        if told.get("sub") != claims["sub"]:  # section 5.3.2: it may be about somebody else
            log.warning("user info is about another subject", issuer=metadata.issuer)
            raise Unauthenticated(UNTRUSTED)
        return {**told, **claims}

    async def _get(self, url: str) -> dict[str, Any]:
        status, document = await self._call("GET", url)
        if status != 200:
            raise _away(url, f"status {status}")
        return document

    async def _call(self, method: str, url: str, **more: Any) -> tuple[int, dict[str, Any]]:
        """Status and JSON of an answer; what is no JSON object is taken for an empty one."""
        try:
            async with (
                asyncio.timeout(CALL_TIMEOUT_S),
                self._client.stream(method, url, **more) as answer,
            ):
                body = await _bounded(answer)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise _away(url, str(error) or type(error).__name__) from None
        try:
            return answer.status_code, msgspec.json.decode(body, type=dict[str, Any])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return answer.status_code, {}


def _metadata(document: dict[str, Any], issuer: str) -> Metadata:
    try:
        metadata = msgspec.convert(document, Metadata)
    except msgspec.ValidationError as error:
        raise _away(issuer, f"what it publishes is incomplete: {error}") from None
    if metadata.issuer != issuer:
        raise _away(issuer, f"it calls itself {metadata.issuer[:200]!r}")
    if not metadata.algorithms:
        raise _away(issuer, f"it signs with none of {', '.join(sorted(ALGORITHMS))}")
    endpoints = (metadata.authorization_endpoint, metadata.token_endpoint, metadata.jwks_uri)
    safe = urlsplit(issuer).scheme
    for url in (*endpoints, metadata.userinfo_endpoint or issuer):
        if urlsplit(url).scheme not in ("https", safe):
            raise _away(issuer, f"it publishes {url[:200]!r}, which is no https URL")
    return metadata


def _scope(metadata: Metadata, config: OidcConfig) -> str:
    """What is asked for: also the scopes that are named as the claims are, where there are such."""
    claims = (config.roles_claim, config.tenant_claim, config.name_claim)
    named = [name for name in claims if name in metadata.scopes_supported]
    known = "profile" in metadata.scopes_supported or not metadata.scopes_supported
    return " ".join(dict.fromkeys(["openid", *(["profile"] if known else []), *named]))


def _auth_method(metadata: Metadata, secret: str | None) -> str:
    if secret is None:
        return "none"
    offered = metadata.token_endpoint_auth_methods_supported
    return "client_secret_basic" if "client_secret_basic" in offered else "client_secret_post"


def _trust(config: OidcConfig) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=config.ca)
    except OSError as error:
        raise SettingsError(f"oidc_ca {config.ca} cannot be used: {error}") from error


async def _bounded(answer: httpx.Response) -> bytes:
    body = bytearray()
    async for chunk in answer.aiter_bytes():
        body += chunk
        if len(body) > ANSWER_BYTES:
            raise httpx.DecodingError(f"the answer has more than {ANSWER_BYTES} bytes")
    return bytes(body)


def _away(url: str, reason: str) -> ProviderAway:
    """The error for people; what is wrong is for the log, and holds no code and no secret."""
    log.warning("the identity provider cannot be used", url=url, reason=reason)
    return ProviderAway(AWAY)
