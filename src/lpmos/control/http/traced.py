"""What a call does and logs belongs to the trace that its caller names."""

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Receive, Scope, Send

from lpmos.core.tracing import called
from lpmos.model.tracecontext import HEADER

_HEADER = HEADER.encode()


def traced(app: ASGIApp) -> ASGIApp:
    """A middleware that reads `traceparent`; a malformed one is ignored."""

    async def join(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await app(scope, receive, send)
            return
        given = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
        with called(given):
            await app(scope, receive, send)

    return join
