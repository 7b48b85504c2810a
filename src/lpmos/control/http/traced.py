"""What a call does and logs belongs to the trace that its caller names; calls are spans (O2)."""

from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from lpmos.control.http.observation import request_id
from lpmos.core.traces.calls import Call, CallTraces
from lpmos.core.tracing import called
from lpmos.model.tracecontext import HEADER

_HEADER = HEADER.encode()
_SERVER_ERROR = 500


def traced(traces: CallTraces) -> Callable[[ASGIApp], ASGIApp]:
    """A middleware that reads `traceparent`, a malformed one is ignored, and tells of each call."""

    def around(app: ASGIApp) -> ASGIApp:
        async def join(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != ScopeType.HTTP:
                await app(scope, receive, send)
                return
            given = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
            with called(given), traces.call() as call:
                if call is not None:
                    _name(call, scope)
                    send = _noted(send, call)
                await app(scope, receive, send)

        return join

    return around


def _name(call: Call, scope: HTTPScope) -> None:
    """By the route, never by the path: its parts name machines, tasks and users."""
    route = str(scope.get("path_template", "")) or "unknown"
    call.name = f"{scope['method']} {route}"
    call.attributes = {
        "http.request.method": str(scope["method"]),
        "http.route": route,
        "lpmos.request_id": request_id(scope),
    }


def _noted(send: Send, call: Call) -> Send:
    async def send_noted(message: Message) -> None:
        if message["type"] == "http.response.start":
            status = message["status"]
            call.attributes["http.response.status_code"] = status
            if status >= _SERVER_ERROR:
                call.error = str(status)
        await send(message)

    return send_noted
