"""One member of the etcd cluster: its address and the channels to it.

Watches have a channel of their own, so that a large watch answer never delays a call. A call is
handed to a channel only once that is connected or has failed to connect: one that waits in a
connecting channel could time out with nobody knowing whether it was sent.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import grpc
import grpc.aio

from lpmos.store.api import InvalidRequest, Unavailable
from lpmos.store.etcd.wire import Method

CONNECT_TIMEOUT_S = 3.0
CLOSE_GRACE_S = 0.5

_State = grpc.ChannelConnectivity
_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),  # else both channels would share one connection
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.http2.ping_timeout_ms", 5_000),  # a dead peer is seen in 15 s, not in 70
    ("grpc.http2.max_pings_without_data", 0),
)


@dataclass(frozen=True)
class Tls:
    """PEM bytes for `https://` endpoints; without `ca` the system's authorities are trusted."""

    ca: bytes | None = None
    cert: bytes | None = None
    key: bytes | None = None


class Endpoint:
    """The channels to one member; they connect when first used and reconnect by themselves."""

    def __init__(self, url: str, tls: Tls) -> None:
        """Raises InvalidRequest for a URL that is not `http(s)://host:port`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
            raise InvalidRequest(f"an etcd endpoint is http(s)://host:port, not {url!r}")
        self.url = url
        self.accepted = False  # whether the server's version was asked and found good
        self._target = parts.netloc
        self._credentials = (
            grpc.ssl_channel_credentials(tls.ca, tls.key, tls.cert)
            if parts.scheme == "https"
            else None
        )
        self._closed = False
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._calls: dict[str, Any] = {}

    def _channel(self, name: str) -> grpc.aio.Channel:
        if self._closed:
            raise Unavailable(f"{self.url}: this client of the store was closed")
        if name not in self._channels:
            self._channels[name] = (
                grpc.aio.insecure_channel(self._target, options=_OPTIONS)
                if self._credentials is None
                else grpc.aio.secure_channel(self._target, self._credentials, options=_OPTIONS)
            )
        return self._channels[name]

    @property
    def ready(self) -> bool:
        """Whether a call can be sent without waiting."""
        channel = self._channels.get("calls")
        return self.accepted and channel is not None and channel.get_state() is _State.READY

    async def connect(self, name: str = "calls") -> None:
        """Wait until the channel is connected or has failed to connect (a call tells why).

        Raises:
            Unavailable: neither has happened in `CONNECT_TIMEOUT_S`.
        """
        channel = self._channel(name)
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                while (state := channel.get_state(try_to_connect=True)) in (
                    _State.IDLE,
                    _State.CONNECTING,
                ):
                    await channel.wait_for_state_change(state)
        except TimeoutError:
            raise Unavailable(f"{self.url}: no connection in {CONNECT_TIMEOUT_S:g} s") from None

    def unary(self, method: Method) -> Callable[..., Any]:
        """The call of one request and one answer."""
        return self._call("calls", method, "unary_unary")

    def server_stream(self, method: Method) -> Callable[..., Any]:
        """The call of one request and a stream of answers."""
        return self._call("calls", method, "unary_stream")

    def watch_stream(self, method: Method) -> Callable[..., Any]:
        """The call of two streams, on the channel for watches."""
        return self._call("watches", method, "stream_stream")

    def _call(self, channel: str, method: Method, shape: str) -> Callable[..., Any]:
        call = self._calls.get(method.path)
        if call is None:
            call = getattr(self._channel(channel), shape)(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            self._calls[method.path] = call
        return call  # type: ignore[no-any-return]

    async def close(self) -> None:
        """Cancel what is under way and let go of the connections."""
        self._closed = True
        channels, self._channels, self._calls = self._channels, {}, {}
        await asyncio.gather(*(channel.close(CLOSE_GRACE_S) for channel in channels.values()))
