"""How new an answer is: every answer of the API states a revision of the store.

It is what this control plane knew when the call came, so the answer is at least as new. A client
that reads a list and then listens from that revision on misses nothing, whichever control planes
answer it (W3).
"""

from collections.abc import Callable

from litestar.enums import ScopeType
from litestar.types import ASGIApp, Message, Receive, Scope, Send

HEADER = b"lpmos-revision"


def stating(revision: Callable[[], int]) -> Callable[[ASGIApp], ASGIApp]:
    """A middleware that puts `HEADER` on every answer under `/api/`."""

    def around(app: ASGIApp) -> ASGIApp:
        async def state(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == ScopeType.HTTP and scope["path"].startswith("/api/"):
                send = _stated(send, revision())
            await app(scope, receive, send)

        return state

    return around


def _stated(send: Send, revision: int) -> Send:
    header = HEADER, b"%d" % revision

    async def send_stated(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], header]
        await send(message)

    return send_stated
