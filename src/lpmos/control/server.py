"""Serves the application on sockets: several addresses, inherited sockets, TLS, a bounded end.

The server installs no signal handlers: whoever runs it cancels it, and cancellation is shutdown.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import structlog
import uvicorn
from litestar import Litestar

from lpmos.model.errors import SettingsError

log = structlog.get_logger()

BACKLOG = 1024
DRAIN_TIMEOUT_S = 5
"""How long requests that are under way may take once the server ends."""

STOP_TIMEOUT_S = DRAIN_TIMEOUT_S + 5.0
WEBSOCKET_MESSAGE_BYTES = 16_384

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")


class TlsFiles(msgspec.Struct, frozen=True):
    """The server's certificate (with its chain) and private key, as PEM files."""

    certificate: Path
    key: Path


async def serve(
    app: Litestar,
    *,
    addresses: Sequence[str | socket.socket],
    tls: TlsFiles | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Serve until cancelled; open WebSockets are then closed with 1012 (service restart).

    Args:
        app: the application.
        addresses: `host:port`, `[host]:port`, `:port` (every interface), `fd:N` (a listening socket
            inherited from the parent, as systemd passes it), or a listening socket.
        tls: speak TLS 1.3 with this certificate; plain HTTP without.
        ready: set when every address is being listened on.

    Raises:
        SettingsError: an address, certificate or key cannot be used.
    """
    sockets = [opened for address in addresses for opened in _opened(address)]
    try:
        server = _Server(_config(app, tls), ready)
        running = asyncio.create_task(server.run_on(sockets), name="control http")
    except BaseException:
        _close(sockets)
        raise
    try:
        await asyncio.shield(running)
    finally:
        await _end(server, running)
        _close(sockets)


def listen(address: str) -> list[socket.socket]:
    """The listening sockets of one address (a name may stand for several); raises as `serve`."""
    if number := re.fullmatch(r"fd:([0-9]{1,9})", address):
        return [_inherited(int(number[1]))]
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match["port"]) > 65535:
        raise SettingsError(f"{address!r} is not host:port, [host]:port, :port or fd:N")
    host, port = match["host"].strip("[]"), int(match["port"])
    try:
        if not host:
            return [_on_every_interface(port)]
        places = {
            (family, place)
            for family, _, _, _, place in socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )
        }
        return [
            socket.create_server(place[:2], family=family, backlog=BACKLOG)
            for family, place in sorted(places, key=lambda each: each[0])
        ]
    except OSError as error:
        raise SettingsError(f"cannot listen on {address}: {error.strerror or error}") from error


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, telling when it listens."""

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def run_on(self, sockets: list[socket.socket]) -> None:
        try:
            await self._serve(sockets)
        except SystemExit as end:  # a library's way to say that the application did not start
            raise RuntimeError("the application did not start; the log says why") from end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready.set()


def _config(app: Litestar, tls: TlsFiles | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http="h11",
        ws="wsproto",
        ws_max_size=WEBSOCKET_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # a batch is encoded once for all, not compressed for each
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
        ssl_context_factory=None if tls is None else _tls_13(tls),
    )


def _tls_13(tls: TlsFiles) -> Callable[..., ssl.SSLContext]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    try:
        context.load_cert_chain(tls.certificate, tls.key)
    except OSError as error:  # an SSLError is one too
        raise SettingsError(
            f"the certificate {tls.certificate} with the key {tls.key} cannot be used: {error}"
        ) from error
    return lambda _config, _default: context


async def _end(server: _Server, running: asyncio.Task[None]) -> None:
    """Let requests under way finish, but not for ever."""
    server.should_exit = True
    try:
        _, pending = await asyncio.wait([running], timeout=STOP_TIMEOUT_S)
        if pending:
            log.warning("the server did not end in time; it is cut off", timeout_s=STOP_TIMEOUT_S)
    finally:
        if not running.done():
            running.cancel()
            await asyncio.wait([running], timeout=STOP_TIMEOUT_S)


def _opened(address: str | socket.socket) -> list[socket.socket]:
    return listen(address) if isinstance(address, str) else [address]


def _inherited(number: int) -> socket.socket:
    try:
        inherited = socket.socket(fileno=number)
        listening = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise SettingsError(f"fd:{number} is no socket: {error.strerror}") from error
    if not listening or inherited.type != socket.SOCK_STREAM:
        inherited.detach()
        raise SettingsError(f"fd:{number} is not a listening stream socket")
    return inherited


def _on_every_interface(port: int) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return socket.create_server(
            ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
        )
    return socket.create_server(("", port), backlog=BACKLOG)


def _close(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        each.close()
