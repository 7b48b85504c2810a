"""The browser's session: a token pasted once is exchanged for a cookie that no script can read."""

from datetime import datetime, timedelta

import msgspec
from litestar import Response, delete, get, post
from litestar.datastructures import Cookie
from litestar.di import NamedDependency
from litestar.params import JSONBody

from lpmos.control.access import (
    COOKIE,
    PUBLIC,
    CallerRequest,
    client_address,
    from_foreign_page,
    needs,
)
from lpmos.control.auth import FailedLogins, TokenSigner
from lpmos.control.problems import PROBLEMS
from lpmos.core.clock import Clock
from lpmos.model.access import Permission, Principal, Role
from lpmos.model.errors import Forbidden, Unauthenticated

SESSION_LIFETIME = timedelta(hours=12)


class Login(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is exchanged for a session: a token that the control plane issued."""

    token: str


class SessionView(msgspec.Struct, frozen=True):
    """Who is logged in, and until when."""

    subject: str
    roles: tuple[Role, ...]
    expires_at: datetime


class Sessions:
    """Makes sessions from tokens; a session never outlives the token that it was made from."""

    def __init__(self, signer: TokenSigner, clock: Clock) -> None:
        self._signer = signer
        self._clock = clock
        self._failed = FailedLogins(clock)

    def verify(self, token: str, address: str) -> Principal:
        """The principal of a token that someone typed.

        Raises:
            Unauthenticated: it is not valid; this counts against `address`.
            TooBusy: too many failures from there.
        """
        self._failed.check(address)
        try:
            return self._signer.verify(token.strip())
        except Unauthenticated:
            self._failed.failed(address)
            raise

    def open(self, token: str, address: str) -> tuple[str, Principal]:
        """The session's own token and its principal; raises as `verify`."""
        principal = self.verify(token, address)
        lifetime = min(SESSION_LIFETIME, principal.expires_at - self._clock())
        session = self._signer.issue(principal.subject, principal.roles[0], lifetime)
        return session, self._signer.verify(session)

    def seconds_left(self, principal: Principal) -> float:
        """How long the principal's token still holds."""
        return (principal.expires_at - self._clock()).total_seconds()


@post("/session", responses=PROBLEMS, opt=PUBLIC, status_code=200)
async def log_in(
    data: JSONBody[Login], request: CallerRequest, sessions: NamedDependency[Sessions]
) -> Response[SessionView]:
    """Exchange a token for a session cookie."""
    if from_foreign_page(request):
        raise Forbidden("this request came from another site's page")
    session, principal = sessions.open(data.token, client_address(request))
    cookie = _cookie(session, request, max_age=int(sessions.seconds_left(principal)))
    return Response(_view(principal), cookies=[cookie])


@get("/session", responses=PROBLEMS, opt=needs(Permission.SELF))
async def show_session(request: CallerRequest) -> SessionView:
    """Who is logged in."""
    return _view(request.user)


@delete("/session", responses=PROBLEMS, opt=PUBLIC)
async def log_out(request: CallerRequest) -> Response[None]:
    """Forget the session cookie; it is no error to have none."""
    if from_foreign_page(request):
        raise Forbidden("this request came from another site's page")
    return Response(None, status_code=204, cookies=[_cookie("", request, max_age=0)])


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


def _view(principal: Principal) -> SessionView:
    return SessionView(principal.subject, principal.roles, principal.expires_at)


SESSION_CALLS = (log_in, show_session, log_out)
