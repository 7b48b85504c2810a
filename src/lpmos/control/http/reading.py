"""The handler of calls that are asked most."""

from litestar.connection import ASGIConnection
from litestar.handlers import HTTPRouteHandler


class Reading(HTTPRouteHandler):
    """A handler that its guards are shown as it is; the framework makes a copy for each request."""

    async def authorize_connection(self, connection: ASGIConnection) -> None:  # type: ignore[type-arg]
        """Let every guard look at a connection; raises as they do."""
        for guard in self.resolve_guards():
            await guard(connection, self)  # type: ignore[misc]
