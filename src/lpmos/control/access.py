"""The one door: no handler is reached without a token, unless it says that it is public.

Every handler says in its `opt` either `needs(Permission.…)` or `PUBLIC`; a test walks them all.

A program sends `Authorization: Bearer`. A browser has the token in a cookie that its scripts cannot
read and that other sites' requests do not carry (`HttpOnly`, `SameSite=Strict`); what it changes
must also come from a page of ours.
"""

from typing import Any
from urllib.parse import urlsplit

from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from lpmos.control.auth import TokenSigner
from lpmos.control.observation import request_id
from lpmos.model.access import Permission, Principal, require
from lpmos.model.audit import Actor
from lpmos.model.errors import Forbidden, Unauthenticated

COOKIE = "lpmos_session"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Connection = ASGIConnection[Any, Any, Any, Any]
CallerRequest = Request[Principal, Any, Any]
"""A request that came through the door."""

PUBLIC = {"public": True}


def needs(permission: Permission, **more: Any) -> dict[str, Any]:
    """The `opt` of a handler that only holders of `permission` reach."""
    return {"permission": permission, **more}


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


class Door:
    """The guard of the whole application; it puts the `Principal` where handlers find it."""

    def __init__(self, signer: TokenSigner) -> None:
        self._signer = signer

    async def __call__(self, connection: Connection, handler: BaseRouteHandler) -> None:
        """Let a connection pass to `handler`.

        Raises:
            Unauthenticated: no valid token came with it.
            Forbidden: a cookie came with it, from another site's page.
        """
        if handler.opt.get("public"):
            return
        principal = await self.principal(connection)
        require(principal, handler.opt["permission"])
        connection.scope["user"] = principal

    async def principal(self, connection: Connection) -> Principal:
        """Who sent this; raises as the call does."""
        authorization = connection.headers.get("authorization")
        if authorization is not None:
            scheme, _, token = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise Unauthenticated("send the token as 'Authorization: Bearer …'")
            return self._signer.verify(token.strip())
        cookie = connection.cookies.get(COOKIE)
        if not cookie:
            raise Unauthenticated("send a token: 'Authorization: Bearer …', or log in at /login")
        if connection.scope.get("method", "GET") not in SAFE_METHODS and not from_own_page(
            connection
        ):
            raise Forbidden("this request came from another site's page")
        return self._signer.verify(cookie)


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
