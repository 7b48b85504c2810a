"""Serves the application on sockets: several addresses, inherited sockets, a bounded end.

The server installs no signal handlers: whoever runs it cancels it, and cancellation is shutdown.
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import cast

import structlog
import uvicorn
from litestar import Litestar

from lpmos.control.http.protocol import BoundedHttp, Patience
from lpmos.control.live.frames import FrameProtocol
from lpmos.control.tls import Tls, TlsFiles
from lpmos.core.listening import accept_no_more
from lpmos.model.errors import SettingsError

log = structlog.get_logger()

BACKLOG = 1024
DRAIN_TIMEOUT_S = 5
"""How long requests that are under way may take once the server ends."""

STOP_TIMEOUT_S = DRAIN_TIMEOUT_S + 5.0
TICK_S = 1.0
"""How often the `Date` of answers is written anew."""

WEBSOCKET_MESSAGE_BYTES = 16_384

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%a-z]+\]|[^:\[\]]*):(?P<port>[0-9]{1,5})")


async def serve(
    app: Litestar,
    *,
    addresses: Sequence[str | socket.socket],
    tls: TlsFiles | None = None,
    hung_up: asyncio.Event | None = None,
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
    patience: Patience | None = None,
    ready: asyncio.Event | None = None,
) -> None:
    """Serve until cancelled; open WebSockets are then closed with 1012 (service restart).

    Args:
        app: the application.
        addresses: `host:port`, `[host]:port`, `:port` (every interface), `fd:N` (a listening socket
            inherited from the parent, as systemd passes it), or a listening socket.
        tls: speak TLS 1.3 with this certificate, and with a new one once it is in the files; plain
            HTTP without.
        hung_up: when it is set, the files are looked at once, not at the next time.
        trusted_proxies: networks of balancers whose `X-Forwarded-For` and `-Proto` are believed.
        patience: how long a peer may take to send and to receive.
        ready: set when every address is being listened on.

    Raises:
        SettingsError: an address, certificate or key cannot be used.
    """
    sockets = [opened for address in addresses for opened in _opened(address)]
    try:
        _send_at_once(sockets)
        secured = None if tls is None else Tls(tls)
        if secured is None:
            _warn_of_plain(sockets)
        config = _config(app, secured, trusted_proxies, patience or Patience())
        server = _Server(config, ready)
        running = asyncio.create_task(server.run_on(sockets), name="control http")
    except BaseException:
        _close(sockets)
        raise
    try:
        async with _renewed(secured, hung_up):
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
    """uvicorn's server without its signal handlers, telling when it listens.

    It ends when it is told to; uvicorn's own looks ten times a second whether it was.
    """

    def __init__(self, config: uvicorn.Config, ready: asyncio.Event | None) -> None:
        super().__init__(config)
        self._ready = ready
        self._ending = asyncio.Event()

    def end(self) -> None:
        """Take no more connections, and let requests under way finish."""
        self.should_exit = True
        self._ending.set()

    async def run_on(self, sockets: list[socket.socket]) -> None:
        try:
            await self._serve(sockets)
        except SystemExit as end:  # a library's way to say that the application did not start
            raise RuntimeError("the application did not start; the log says why") from end

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started and self._ready is not None:
            self._ready.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await accept_no_more(sockets or ())
        await super().shutdown(sockets)


def _config(
    app: Litestar,
    tls: Tls | None,
    trusted_proxies: Sequence[IPv4Network | IPv6Network],
    patience: Patience,
) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=cast(type[asyncio.Protocol], partial(BoundedHttp, patience=patience)),
        ws=FrameProtocol,
        ws_max_size=WEBSOCKET_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # a batch is encoded once for all, not compressed for each
        ws_ping_interval=20.0,
        ws_ping_timeout=20.0,
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=[str(network) for network in trusted_proxies],
        backlog=BACKLOG,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_S,
        ssl_context_factory=None if tls is None else lambda _config, _default: tls.context,
    )


def _warn_of_plain(sockets: Sequence[socket.socket]) -> None:
    for each in sockets:
        if each.family not in (socket.AF_INET, socket.AF_INET6):
            continue
        host, port = each.getsockname()[:2]
        if not ip_address(host.partition("%")[0]).is_loopback:
            log.warning(
                "plain HTTP beyond this machine: tokens can be read on the way; give --tls-cert and"
                " --tls-key, or let a balancer on this machine speak TLS",
                address=host,
                port=port,
            )


@asynccontextmanager
async def _renewed(tls: Tls | None, hung_up: asyncio.Event | None) -> AsyncIterator[None]:
    """Keep the certificate as it is in its files until the block ends."""
    if tls is None:
        yield
        return
    renewing = asyncio.create_task(tls.run(hung_up), name="control tls")
    try:
        yield
    finally:
        renewing.cancel()
        await asyncio.wait([renewing])


async def _end(server: _Server, running: asyncio.Task[None]) -> None:
    """Let requests under way finish, but not for ever."""
    server.end()
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


def _send_at_once(sockets: Sequence[socket.socket]) -> None:
    """Switch Nagle's algorithm off, for what is accepted too (Linux: it inherits, tcp(7)).

    asyncio does it only for sockets that say IPPROTO_TCP, and these say 0; an answer of two writes
    would wait 40 ms for the client's delayed acknowledgement.
    """
    for each in sockets:
        if each.family in (socket.AF_INET, socket.AF_INET6):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


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
