"""HTTP/1.1 on one connection, bounded in what a peer may send and how long it may take.

uvicorn's parser (llhttp) has no limit on a request's head, and no timeout but for the pause between
two requests. Here a head has a size and a deadline, a body must come at a least rate, and an answer
must be taken at one; who keeps to none of it is cut off, so that slow peers do not pile up.
"""

import asyncio
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, cast

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from lpmos.control.http.transport import JoiningTransport

HEAD_LIMIT_BYTES = 32_768
HEADERS = 100
BODY_LEAST_BYTES = 10_000


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long a peer may take."""

    head_s: float = 10.0
    """From the connection, or the first byte of a further request, to the end of its head."""

    body_window_s: float = 10.0
    """In each such time `BODY_LEAST_BYTES` of a body must come, unless the application waits."""

    take_s: float = 30.0
    """How long a full send buffer (64 KiB) may stay as it is."""


class _Reading(Enum):
    NOTHING = auto()
    HEAD = auto()
    BODY = auto()


class BoundedHttp(HttpToolsProtocol):
    """One connection. There is at most one timer for what is read and one for what is sent."""

    def __init__(self, *arguments: Any, patience: Patience, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._patience = patience
        self._reading = _Reading.HEAD
        self._head_bytes = self._header_bytes = 0
        self._window_bytes = 0
        self._refusal = HTTPStatus.BAD_REQUEST
        self._read_timer: asyncio.TimerHandle | None = None
        self._take_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        self._joining = JoiningTransport(transport)
        super().connection_made(cast(asyncio.Transport, self._joining))
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """End all waiting."""
        self._stop_reading_timer()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the limits."""
        if self._reading is _Reading.NOTHING:
            self._reading, self._head_bytes = _Reading.HEAD, 0
        self._window_bytes += len(data)
        if self._reading is _Reading.HEAD:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            self._stop_reading_timer()
        elif self._reading is _Reading.HEAD:
            self._check_head()
        elif self._reading is _Reading.BODY:
            self._await_body()
        else:
            self._stop_reading_timer()

    def on_message_begin(self) -> None:
        """A head begins; what came with it counts from `data_received` on."""
        super().on_message_begin()
        self._reading = _Reading.HEAD
        self._header_bytes = 0

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        super().on_url(url)
        self._count_head(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One whole header."""
        super().on_header(name, value)
        self._count_head(len(name) + len(value))

    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._reading = _Reading.BODY
        self._stop_reading_timer()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._reading = _Reading.NOTHING
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Give the connection to the WebSocket protocol, which has timeouts of its own."""
        self._stop_reading_timer()
        self.transport = self._joining.released()
        super().handle_websocket_upgrade()

    def pause_writing(self) -> None:
        """The peer does not take what is sent."""
        super().pause_writing()
        if self._take_timer is None:
            self._take_timer = self.loop.call_later(self._patience.take_s, self.transport.abort)

    def resume_writing(self) -> None:
        """The peer took most of it."""
        super().resume_writing()
        if self._take_timer is not None:
            self._take_timer.cancel()
            self._take_timer = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be parsed, or is over a limit, and close."""
        self._refuse(self._refusal)

    def _count_head(self, size_bytes: int) -> None:
        self._header_bytes += size_bytes
        if self._header_bytes > HEAD_LIMIT_BYTES or len(self.headers) > HEADERS:
            self._refusal = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise ValueError("the head is too large")

    def _check_head(self) -> None:
        """A header that does not end is not told of by the parser: what came is counted here."""
        if self._head_bytes > HEAD_LIMIT_BYTES:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif self._read_timer is None:
            self._await_head()

    def _await_head(self) -> None:
        self._read_timer = self.loop.call_later(self._patience.head_s, self._head_too_late)

    def _head_too_late(self) -> None:
        self._read_timer = None
        if self._head_bytes:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT)
        else:
            self.transport.close()

    def _await_body(self) -> None:
        if self._read_timer is None:
            self._window_bytes = 0
            self._read_timer = self.loop.call_later(
                self._patience.body_window_s, self._body_window_over
            )

    def _body_window_over(self) -> None:
        self._read_timer = None
        if self._window_bytes < BODY_LEAST_BYTES and not self.flow.read_paused:
            self.transport.abort()
        else:
            self._await_body()

    def _stop_reading_timer(self) -> None:
        if self._read_timer is not None:
            self._read_timer.cancel()
            self._read_timer = None

    def _refuse(self, status: HTTPStatus) -> None:
        self._stop_reading_timer()
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\ncontent-length: 0\r\n"
            "x-content-type-options: nosniff\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode())
        self.transport.close()
