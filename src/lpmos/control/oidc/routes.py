"""Signing in at an OpenID provider: out to it, back from it, and into a session like any other.

The provider sends the browser back across sites, and a `SameSite=Strict` cookie does not travel
that way. So what it comes back to is a page of ours; that page hands the answer in by a call of
its own, which carries the cookie of the attempt and gets the one of the session. An account is
who it is by issuer and subject, never by name; it has what its claims are mapped to
(`lpmos.control.oidc.claims`), anew at each login.
"""

import hmac
import re
from typing import TYPE_CHECKING, Annotated

import msgspec
from litestar import Response, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from lpmos.control.access import (
    PUBLIC,
    CallerRequest,
    caller_of,
    claim,
    client_address,
    from_foreign_page,
)
from lpmos.control.auth import TokenSigner
from lpmos.control.config import OidcConfig
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.oidc.attempt import LIFETIME, NOT_BEGUN, Attempts
from lpmos.control.oidc.claims import Vouched, vouched
from lpmos.control.pages import AnyRequest, Pages
from lpmos.control.resources.session import Logins, SessionView
from lpmos.core.clock import Clock
from lpmos.core.identity.callers import Identity
from lpmos.core.identity.limits import FailedLogins, site_of
from lpmos.model.errors import (
    Forbidden,
    NotFound,
    ProviderAway,
    SettingsError,
    Unauthenticated,
)

if TYPE_CHECKING:
    from lpmos.control.oidc.provider import Provider

COOKIE = "lpmos_oidc"
CALL_PATH = "/api/v1/login/oidc"
BACK_PATH = "/login/oidc/callback"
RETRY_AFTER_S = 5

_ERROR = re.compile(r"[a-z_]{1,40}")
Answer = Annotated[str, Meta(max_length=4096)]


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether people can sign in at an identity provider; it begins at `/login/oidc`."""

    configured: bool


class ProviderAnswer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a provider sent a browser back with (RFC 6749 section 4.1.2, RFC 9207)."""

    state: Answer = ""
    code: Answer | None = None
    error: Answer | None = None
    iss: Answer | None = None


class SignedIn(msgspec.Struct, frozen=True, kw_only=True):
    """Where the browser goes on, now that it has its cookie."""

    next: str


class SingleSignOn:
    """The logins of one identity provider, where there is one.

    Raises:
        SettingsError: the provider does not know where to send browsers back to.
    """

    def __init__(
        self,
        config: OidcConfig | None,
        public_url: str | None,
        *,
        identity: Identity,
        logins: Logins,
        signer: TokenSigner,
        clock: Clock,
    ) -> None:
        if config is not None and public_url is None:
            raise SettingsError("login at an identity provider needs public_url")
        self._config = config
        uri = f"{public_url}{BACK_PATH}"
        self._provider = None if config is None else _provider(config, uri, clock)
        self._identity = identity
        self._logins = logins
        self._attempts = Attempts(signer, clock)
        # Of its own: where the provider is broken, people at the same address log in here instead.
        self._refused = FailedLogins(clock)

    @property
    def configured(self) -> bool:
        """Whether there is a provider."""
        return self._provider is not None

    async def close(self) -> None:
        """Close what is open towards the provider."""
        if self._provider is not None:
            await self._provider.close()

    async def begin(self, request: AnyRequest, following: str | None) -> Response[bytes]:
        """Send a browser to the provider.

        Raises:
            NotFound: there is none.
            ProviderAway: it cannot be reached.
        """
        _, provider = self._needed()
        attempt = self._attempts.begin(following)
        url = await provider.authorization_url(
            state=attempt.state, nonce=attempt.nonce, verifier=attempt.verifier
        )
        lifetime_s = int(LIFETIME.total_seconds())
        cookie = _cookie(request, self._attempts.seal(attempt), max_age=lifetime_s)
        return Response(b"", status_code=303, headers={"Location": url}, cookies=[cookie])

    async def finish(self, request: CallerRequest, answer: ProviderAnswer) -> Response[SignedIn]:
        """Open a session for who comes back from the provider; a refusal is told to the audit log.

        Raises:
            NotFound: there is no provider.
            Unauthenticated: the answer is not this browser's, or not to be believed; or the user
                is disabled here.
            Forbidden: what the provider says of the account gives no access here.
            Conflict: the account's name is another user's here.
            TooBusy: too many refused answers came from there.
            ProviderAway: the provider cannot be reached.
        """
        config, provider = self._needed()
        claim(request, "unknown", None)
        attempt = self._attempts.open(request.cookies.get(COOKIE, ""))
        if not hmac.compare_digest(attempt.state.encode(), answer.state.encode()):
            raise Unauthenticated(NOT_BEGUN)
        if answer.code is None:
            raise Unauthenticated(f"the identity provider ended the login: {_said(answer.error)}")
        site = site_of(client_address(request))
        self._refused.check(site)
        try:
            claims = await provider.claims(
                answer.code, nonce=attempt.nonce, verifier=attempt.verifier, issuer=answer.iss
            )
        except Unauthenticated:
            self._refused.failed(site)
            raise
        signed_in = await self._session(request, vouched(claims, config))
        cookies = [*signed_in.cookies, _cookie(request, "", max_age=0)]
        return Response(SignedIn(next=attempt.following), status_code=200, cookies=cookies)

    async def _session(self, request: CallerRequest, who: Vouched) -> Response[SessionView]:
        """The answer that gives the session's cookie."""
        known = self._identity.users.vouched_by(who.identity.external_id)
        if known is not None:
            claim(request, known.name, known.document.tenant)
        caller = caller_of(request)
        if who.lacking is not None:
            await self._identity.users.withdraw(who.identity.external_id, caller)
            name = known.name if known else who.identity.name or "this account"
            raise Forbidden(f"{name} has no access here: {who.lacking}; ask an administrator")
        held = await self._identity.admit(who.identity, caller)
        return await self._logins.browser(request, held.document)

    def _needed(self) -> "tuple[OidcConfig, Provider]":
        if self._config is None or self._provider is None:
            raise NotFound("no identity provider is configured here; log in at /login")
        return self._config, self._provider


@get("/login/oidc", opt=PUBLIC, include_in_schema=False)
async def begin_oidc(
    request: AnyRequest,
    single_sign_on: NamedDependency[SingleSignOn],
    pages: NamedDependency[Pages],
) -> Response[bytes]:
    """Send the browser to the identity provider; a page says so where that cannot be reached."""
    try:
        return await single_sign_on.begin(request, request.query_params.get("next"))
    except ProviderAway:
        return pages.failure(503, "oidc-away.html", retry_after_s=RETRY_AFTER_S)


@get(BACK_PATH, opt=PUBLIC, include_in_schema=False)
async def oidc_callback(request: AnyRequest, pages: NamedDependency[Pages]) -> Response[bytes]:
    """The page that hands in what the provider answered."""
    return pages.file(request, "oidc.html")


@get("/login/oidc", responses=PROBLEMS, opt=PUBLIC)
async def offer_oidc(single_sign_on: NamedDependency[SingleSignOn]) -> Offer:
    """Whether people can sign in at an identity provider."""
    return Offer(configured=single_sign_on.configured)


@post("/login/oidc", responses=PROBLEMS, opt=PUBLIC, status_code=200)
async def finish_oidc(
    data: JSONBody[ProviderAnswer],
    request: CallerRequest,
    single_sign_on: NamedDependency[SingleSignOn],
) -> Response[SignedIn]:
    """Sign in a browser with what the identity provider sent it back with."""
    if from_foreign_page(request):
        raise Forbidden("this request came from another site's page")
    return await single_sign_on.finish(request, data)


def _provider(config: OidcConfig, redirect_uri: str, clock: Clock) -> "Provider":
    from lpmos.control.oidc.provider import Provider  # takes 0.3 s, which only its users pay

    return Provider(config, redirect_uri, clock)


def _said(error: str | None) -> str:
    """A provider's error code (RFC 6749 section 4.1.2.1); anybody may have written the text."""
    return error if error and _ERROR.fullmatch(error) else "no code came back"


def _cookie(request: AnyRequest, value: str, *, max_age: int) -> Cookie:
    """The cookie of an attempt: it goes with the one call that ends it, from a page of ours."""
    return Cookie(
        key=COOKIE,
        value=value,
        max_age=max_age,
        path=CALL_PATH,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


OIDC_PAGES = (begin_oidc, oidc_callback)
OIDC_CALLS = (offer_oidc, finish_oidc)
