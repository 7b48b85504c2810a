"""What a machine's call does and logs belongs to the trace that its agent names."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from lpmos.core.tracing import called
from lpmos.model.tracecontext import HEADER
from lpmos.region.answers import Handler


def traced() -> Callable[..., Awaitable[web.StreamResponse]]:
    """A middleware that reads `traceparent`; a malformed one is ignored."""

    @web.middleware
    async def join(request: web.Request, handler: Handler) -> web.StreamResponse:
        with called(request.headers.getall(HEADER, [])):
            return await handler(request)

    return join
