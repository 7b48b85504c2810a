"""The sockets that a region answers HTTP at, and the server that serves an application there."""

import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from aiohttp import web

from lpmos.core.listening import accept_no_more
from lpmos.model.errors import SettingsError

STOP_REQUESTS_S = 1.0
"""How long answers under way may take when the region stops."""
BACKLOG = 1024


class Site(NamedTuple):
    """A socket to serve at, and its TLS."""

    listening: socket.socket
    context: ssl.SSLContext | None = None


def listen(host: str, port: int, flag: str) -> socket.socket:
    """A socket that listens there; `flag` is what names the port to people.

    Raises:
        SettingsError: the port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another with {flag}"
        ) from error


@contextlib.asynccontextmanager
async def serving(app: web.Application, sites: Sequence[Site]) -> AsyncIterator[None]:
    """Serve an application at all of them until the block ends."""
    runner = web.AppRunner(
        app, access_log=None, handle_signals=False, shutdown_timeout=STOP_REQUESTS_S
    )
    await runner.setup()
    try:
        for site in sites:
            await web.SockSite(
                runner, site.listening, backlog=BACKLOG, ssl_context=site.context
            ).start()
        yield
    finally:
        await accept_no_more(site.listening for site in sites)
        await runner.cleanup()
