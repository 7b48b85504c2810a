"""Signing in and out: a browser gets a cookie that no script can read, a program gets tokens.

A program's access token lives for minutes and is replaced with its refresh token, which is used
once. Whoever is signed in some other way (by an identity provider) comes in by `browser_session`.
"""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody
from msgspec import Meta

from lpmos.control.access import (
    COOKIE,
    PUBLIC,
    CallerRequest,
    Door,
    actor,
    caller_of,
    claim,
    client_address,
    from_foreign_page,
    needs,
)
from lpmos.control.auth import ACCESS_LIFETIME, TOKEN_CHARACTERS, TokenSigner, Use
from lpmos.control.http.bodies import CHECK
from lpmos.control.http.observation import request_id
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.clock import Clock
from lpmos.core.identity.callers import Identity
from lpmos.core.identity.sessions import SESSION_LIFETIME
from lpmos.model.access import Permission, Principal, Role, permits
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, FieldProblem, Forbidden, InvalidInput, Unauthenticated
from lpmos.model.user import PASSWORD_CHARACTERS, Session, User, digest, new_id

TypedName = Annotated[str, Meta(min_length=1, max_length=64, examples=["alice"])]
TypedPassword = Annotated[
    str,
    Meta(min_length=1, max_length=PASSWORD_CHARACTERS[1], examples=["correct horse battery"]),
]
TypedToken = Annotated[str, Meta(min_length=1, max_length=TOKEN_CHARACTERS)]


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who a person says to be: name and password, or a token."""

    username: TypedName | None = None
    password: TypedPassword | None = None
    token: TypedToken | None = None


class ProgramLogin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who a program says to be."""

    username: TypedName
    password: TypedPassword


class Refresh(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is exchanged for the next tokens; it is good for one time."""

    refresh_token: TypedToken


class Tokens(msgspec.Struct, frozen=True, kw_only=True):
    """What a program goes on with (RFC 6749 section 5.1); `expires_in` is in seconds."""

    access_token: str
    refresh_token: str
    expires_in: int
    token_type: str = "Bearer"  # noqa: S105 - not a secret


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """Who is signed in, what it may do, and until when.

    `expires_at` is when what came with the call ends, `session_ends_at` when nothing renews it any
    more; null where it is a token that nothing renews. `second_person`: nobody approves here what
    they asked for themselves.
    """

    name: str
    display_name: str
    roles: tuple[Role, ...]
    tenant: str | None
    permissions: tuple[Permission, ...]
    expires_at: datetime
    session_ends_at: datetime | None = None
    second_person: bool = False


class Logins:
    """Opens sessions and makes the tokens for them."""

    def __init__(
        self,
        identity: Identity,
        door: Door,
        signer: TokenSigner,
        clock: Clock,
        *,
        second_person: bool = False,
    ) -> None:
        """`second_person`: whether another person must approve, which callers are told."""
        self._identity = identity
        self._door = door
        self._signer = signer
        self._clock = clock
        self._second_person = second_person

    async def user(self, request: CallerRequest, name: str, password: str) -> User:
        """The user with this name and password; a refusal is told to the audit log.

        Raises:
            Unauthenticated, TooBusy: as `Identity.authenticate`.
        """
        try:
            return (await self._identity.authenticate(name, password, caller_of(request))).document
        except Unauthenticated:
            known = self._identity.users.documents.get(name.strip().lower())
            # What nobody is called may be a password in the wrong field: it is not repeated.
            said, tenant = (known.name, known.document.tenant) if known else ("unknown", None)
            claim(request, said, tenant)
            raise

    async def browser(self, request: CallerRequest, user: User) -> Response[SessionView]:
        """A session for a user who has proved who it is, by a cookie.

        This is where whoever was signed in elsewhere comes in, after `Identity.admit`.
        """
        session_id = new_id()
        held = await self._identity.open(session_id, user, caller_of(request))
        return await self._with_cookie(request, session_id, held.document)

    async def browser_by_token(self, request: CallerRequest, token: str) -> Response[SessionView]:
        """A session for who has typed a token; it never outlives that."""
        principal = await self._door.typed(token, client_address(request))
        session_id = new_id()
        held = await self._identity.open_via(session_id, principal, caller_of(request))
        return await self._with_cookie(request, session_id, held.document)

    async def program(self, request: CallerRequest, user: User) -> Tokens:
        """A session for a program."""
        session_id = new_id()
        ends_at = self._clock() + SESSION_LIFETIME
        refresh = self._signer.of_session(Use.REFRESH, session_id, user.name, ends_at)
        held = await self._identity.open(
            session_id, user, caller_of(request), refresh_sha256=digest(refresh)
        )
        return self._tokens(session_id, user.name, held.document.expires_at, refresh)

    async def refreshed(self, request: CallerRequest, refresh_token: str) -> Tokens:
        """The next tokens of a program's session.

        Raises:
            Unauthenticated: the token is not valid; one that was used before ends the session.
        """
        try:
            claims = self._signer.verify(refresh_token, Use.REFRESH)
            session_id = claims.token_id
            principal = await self._identity.by_session(session_id, claims.subject)
        except Unauthenticated:
            self._door.note_refused(request, refresh_token, Use.REFRESH)
            raise
        following = self._signer.of_session(
            Use.REFRESH, session_id, claims.subject, principal.expires_at
        )
        by = Actor(
            name=principal.subject,
            tenant=principal.tenant,
            credential=principal.credential,
            address=client_address(request),
        )
        await self._identity.sessions.rotate(
            session_id, digest(refresh_token), digest(following), by=by
        )
        return self._tokens(session_id, claims.subject, principal.expires_at, following)

    async def end(self, credential: str, by: Actor) -> None:
        """Sign out: what the caller is known by is good for nothing from now on.

        Raises:
            Conflict: it is an API token, which is revoked by its id.
        """
        kind, _, name = credential.partition(":")
        if kind == "token":
            raise Conflict(f"this is an API token; revoke it with DELETE /api/v1/tokens/{name}")
        if kind == "key":
            await self._identity.key_tokens.revoke(name, by=by)
        else:
            await self._identity.sessions.end(name, by=by)

    async def end_by_cookie(self, request: CallerRequest) -> None:
        """End the session of a browser's cookie; it is no error to have none."""
        try:
            claims = self._signer.verify(request.cookies.get(COOKIE, ""), Use.COOKIE)
        except Unauthenticated:
            return
        held = self._identity.sessions.documents.get(claims.token_id)
        by = Actor(
            name=claims.subject,
            tenant=held.document.tenant if held else None,
            credential=f"session:{claims.token_id}",
            address=client_address(request),
            request_id=request_id(request.scope),
        )
        await self._identity.sessions.end(claims.token_id, by=by)

    def view(self, principal: Principal) -> SessionView:
        """The caller as it is shown to itself."""
        known = self._identity.users.documents.get(principal.subject)
        is_user = known is not None and not principal.credential.startswith("key:")
        return SessionView(
            name=principal.subject,
            display_name=known.document.display_name if known and is_user else "",
            roles=principal.roles,
            tenant=principal.tenant,
            permissions=tuple(
                each for each in Permission if permits(principal.roles, principal.tenant, each)
            ),
            expires_at=principal.expires_at,
            session_ends_at=self._session_ends_at(principal),
            second_person=self._second_person,
        )

    def _session_ends_at(self, principal: Principal) -> datetime | None:
        kind, _, name = principal.credential.partition(":")
        held = self._identity.sessions.documents.get(name) if kind == "session" else None
        return held.document.expires_at if held else None

    def _tokens(self, session_id: str, name: str, ends_at: datetime, refresh: str) -> Tokens:
        now = self._clock()
        expires_at = min(now + ACCESS_LIFETIME, ends_at)
        return Tokens(
            access_token=self._signer.of_session(Use.ACCESS, session_id, name, expires_at),
            refresh_token=refresh,
            expires_in=int((expires_at - now).total_seconds()),
        )

    async def _with_cookie(
        self, request: CallerRequest, session_id: str, session: Session
    ) -> Response[SessionView]:
        token = self._signer.of_session(Use.COOKIE, session_id, session.user, session.expires_at)
        principal = await self._identity.by_session(session_id, session.user)
        left_s = (session.expires_at - self._clock()).total_seconds()
        cookie = _cookie(token, request, max_age=int(left_s))
        return Response(self.view(principal), status_code=200, cookies=[cookie])


def check_login(login: Login) -> None:
    """Name and password, or a token; raises `InvalidInput`."""
    by_name = login.username is not None and login.password is not None
    any_name = login.username is not None or login.password is not None
    if (login.token is not None) == by_name or (login.token is not None and any_name):
        text = "send either username and password, or token"
        raise InvalidInput(FieldProblem("body", text))


@post("/login", responses=PROBLEMS, opt=PUBLIC, status_code=200)
async def log_in_program(
    data: JSONBody[ProgramLogin], request: CallerRequest, logins: NamedDependency[Logins]
) -> Tokens:
    """Sign in a program: an access token for a quarter of an hour, and one to get the next."""
    _check_page(request)
    return await logins.program(request, await logins.user(request, data.username, data.password))


@post("/login/refresh", responses=PROBLEMS, opt=PUBLIC, status_code=200)
async def refresh_login(
    data: JSONBody[Refresh], request: CallerRequest, logins: NamedDependency[Logins]
) -> Tokens:
    """Exchange a refresh token for the next tokens; it is good for one time."""
    _check_page(request)
    return await logins.refreshed(request, data.refresh_token)


@delete("/login", responses=PROBLEMS, opt=needs(Permission.SELF))
async def log_out_program(request: CallerRequest, logins: NamedDependency[Logins]) -> None:
    """End the session of the token that comes with this call, for good."""
    await logins.end(request.user.credential, actor(request))


@post("/session", responses=PROBLEMS, opt={**PUBLIC, CHECK: check_login}, status_code=200)
async def log_in(
    data: JSONBody[Login], request: CallerRequest, logins: NamedDependency[Logins]
) -> Response[SessionView]:
    """Sign in a browser, by name and password or by a token: it gets a cookie for 12 hours."""
    _check_page(request)
    if data.token is not None:
        return await logins.browser_by_token(request, data.token.strip())
    user = await logins.user(request, data.username or "", data.password or "")
    return await logins.browser(request, user)


@get("/session", responses=PROBLEMS, opt=needs(Permission.SELF))
async def show_session(request: CallerRequest, logins: NamedDependency[Logins]) -> SessionView:
    """Who is signed in, and what it may do."""
    return logins.view(request.user)


@delete("/session", responses=PROBLEMS, opt=PUBLIC)
async def log_out(request: CallerRequest, logins: NamedDependency[Logins]) -> Response[None]:
    """End the browser's session for good, and forget its cookie; it is no error to have none."""
    _check_page(request)
    await logins.end_by_cookie(request)
    return Response(None, status_code=204, cookies=[_cookie("", request, max_age=0)])


def _check_page(request: CallerRequest) -> None:
    if from_foreign_page(request):
        raise Forbidden("this request came from another site's page")


def _cookie(value: str, request: CallerRequest, *, max_age: int) -> Cookie:
    return Cookie(
        key=COOKIE,
        value=value,
        max_age=max_age,
        path="/",
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


SESSION_CALLS = (log_in, show_session, log_out, log_in_program, refresh_login, log_out_program)
