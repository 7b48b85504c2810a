"""The one door: no handler is reached without a token, unless it says that it is public.

Every handler says in its `opt` either `needs(Permission.…)` or `PUBLIC`; a test walks them all.
One that is about a user's own things names the permission for other users' as well
(`needs_for_others`), and calls `check_own`.

A program sends `Authorization: Bearer`. A browser has the token in a cookie that its scripts cannot
read and that other sites' requests do not carry (`HttpOnly`, `SameSite=Strict`); what it changes
must also come from a page of ours.
"""

from typing import Any, cast
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from lpmos.control.auth import TokenSigner, Use
from lpmos.control.http.observation import request_id
from lpmos.core.identity.callers import Identity
from lpmos.core.identity.limits import site_of
from lpmos.core.identity.tokens import PREFIX
from lpmos.model.access import Permission, Principal, require
from lpmos.model.audit import Actor
from lpmos.model.errors import Forbidden, Unauthenticated
from lpmos.model.user import Caller, KeyToken

COOKIE = "lpmos_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
CLAIMED = "lpmos.claimed_user"
SHOWN = "lpmos.shown_token"
"""Under these names a request's scope has whom it says to come from, for the audit log."""

Connection = ASGIConnection[Any, Any, Any, Any]
CallerRequest = Request[Principal, Any, Any]
"""A request that came through the door."""

PUBLIC = {"public": True}


def needs(permission: Permission, **more: Any) -> dict[str, Any]:
    """The `opt` of a handler that only holders of `permission` reach."""
    return {"permission": permission, **more}


def needs_for_others(permission: Permission, **more: Any) -> dict[str, Any]:
    """The `opt` of a handler that all reach for what is their own, and others by `permission`."""
    return needs(Permission.SELF, others=permission, **more)


def check_own(request: CallerRequest, user: str) -> bool:
    """Whether the caller is this user itself, by a login or token of its own.

    Who has a token signed with the key is nobody's self, whatever name it says.

    Raises:
        Forbidden: it is another, and may not do this for others.
    """
    caller = request.user
    if caller.subject == user and not caller.credential.startswith("key:"):
        return True
    require(caller, request.route_handler.opt["others"])
    return False


def actor(request: CallerRequest) -> Actor:
    """Who changes something with this request, as the audit log shall know it."""
    caller = request.user
    return Actor(
        name=caller.subject,
        tenant=caller.tenant,
        credential=caller.credential,
        address=client_address(request),
        request_id=request_id(request.scope),
    )


def client_address(connection: Connection) -> str:
    """The address that a connection came from."""
    return connection.client.host if connection.client else "unknown"


def caller_of(connection: Connection) -> Caller:
    """Where somebody who signs in comes from."""
    return Caller(
        address=client_address(connection),
        user_agent=connection.headers.get("user-agent", ""),
        request_id=request_id(connection.scope),
    )


def claim(connection: Connection, user: str, tenant: str | None) -> None:
    """Note whom a call says to come from, where that user exists and the proof may be wrong."""
    cast(dict[str, Any], connection.scope)[CLAIMED] = _known(connection, user, tenant, None)


def _known(connection: Connection, user: str, tenant: str | None, credential: str | None) -> Actor:
    return Actor(
        name=user,
        tenant=tenant,
        credential=credential,
        address=client_address(connection),
        request_id=request_id(connection.scope),
    )


class Door:
    """The guard of the whole application; it puts the `Principal` where handlers find it."""

    def __init__(self, signer: TokenSigner, identity: Identity) -> None:
        self._signer = signer
        self._identity = identity

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Let a connection pass to `handler`.

        Raises:
            Unauthenticated: no valid token came with it.
            Forbidden: a cookie came with it, from another site's page.
        """
        if handler.opt.get("public"):
            return
        principal = await self.principal(connection)
        connection.scope["user"] = principal
        if connection.scope.get("method") == "OPTIONS":  # the framework's own: says what there is
            return
        require(principal, handler.opt["permission"])

    async def principal(self, connection: Connection) -> Principal:
        """Who sent this; raises as the call does."""
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("send the token as 'Authorization: Bearer …'")
            return await self._by_bearer(connection, token.strip())
        cookie = connection.cookies.get(COOKIE)
        if not cookie:
            raise Unauthenticated("send a token: 'Authorization: Bearer …', or log in at /login")
        if connection.scope.get("method", "GET") not in SAFE_METHODS and not from_own_page(
            connection
        ):
            raise Forbidden("this request came from another site's page")
        try:
            claims = self._signer.verify(cookie, Use.COOKIE)
            return await self._identity.by_session(
                claims.token_id, claims.subject, claims.expires_at
            )
        except Unauthenticated:
            self.note_refused(connection, cookie, Use.COOKIE)
            raise

    def note_refused(self, connection: Connection, token: str, *uses: Use) -> None:
        """Note whose token was refused, for the audit log; one that is none of ours is nobody's."""
        if token.startswith(PREFIX):
            own = self._identity.holder(token)
            if own is None:
                return
            name, tenant, credential = own.document.user, own.document.tenant, f"token:{own.name}"
        else:
            try:
                claims = self._signer.read(token, *uses)
            except Unauthenticated:
                return
            kind = "key" if claims.use is Use.KEY else "session"
            user = self._identity.users.documents.get(claims.subject) if kind != "key" else None
            name, tenant = claims.subject, user.document.tenant if user else None
            credential = f"{kind}:{claims.token_id}"
        scope = cast(dict[str, Any], connection.scope)
        scope[SHOWN] = _known(connection, name, tenant, credential)

    async def _by_bearer(self, connection: Connection, token: str) -> Principal:
        try:
            return await self.bearer(token, client_address(connection))
        except Unauthenticated:
            self.note_refused(connection, token, Use.ACCESS, Use.KEY)
            raise

    async def bearer(self, token: str, address: str) -> Principal:
        """Who has this token: of a session, a personal one, or one signed with the key.

        Raises:
            Unauthenticated: it is not valid, or not any more.
            TooBusy: too many unknown tokens came from there.
            Unavailable: it is not known here, and the store is away.
        """
        if token.startswith(PREFIX):
            return await self._identity.by_api_token(token, address)
        claims = self._signer.verify(token, Use.ACCESS, Use.KEY)
        if claims.use is Use.ACCESS:
            return await self._identity.by_session(
                claims.token_id, claims.subject, claims.expires_at
            )
        shown = KeyToken(
            subject=claims.subject,
            roles=claims.roles,
            expires_at=claims.expires_at,
            address=address,
        )
        return await self._identity.by_key_token(claims.token_id, shown)

    async def typed(self, token: str, address: str) -> Principal:
        """As `bearer`, for a token that somebody may be guessing: wrong ones are counted."""
        if token.startswith(PREFIX):  # these are counted whoever sends them
            return await self.bearer(token, address)
        self._identity.guesses.check(site_of(address))
        try:
            return await self.bearer(token, address)
        except Unauthenticated:
            self._identity.guesses.failed(site_of(address))
            raise


def from_own_page(connection: Connection) -> bool:
    """Whether a browser says that a page of this very origin sent the request.

    `Sec-Fetch-Site` (W3C Fetch Metadata) is what the browser itself says; browsers leave it out on
    plain HTTP, where the `Origin` must name the host that was asked.
    """
    site = connection.headers.get("sec-fetch-site")
    if site is not None:
        return site == "same-origin"
    origin = connection.headers.get("origin")
    return origin is not None and _host_of(origin) == connection.headers.get("host")


def from_foreign_page(connection: Connection) -> bool:
    """Whether a browser says that a page sent the request and that it is not ours."""
    came_from_page = any(name in connection.headers for name in ("origin", "sec-fetch-site"))
    return came_from_page and not from_own_page(connection)


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc or None
    except ValueError:
        return None
