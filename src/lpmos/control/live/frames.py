"""WebSocket frames as bytes (RFC 6455 section 5.2), and the protocol of uvicorn that takes them.

What goes to a thousand browsers is made into a frame once; each connection only writes it. The
connection is in the ASGI scope's `extensions` under `EXTENSION`, as a `FrameSink`.
"""

import asyncio
import socket
import struct
from typing import Protocol, cast

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import events

EXTENSION = "lpmos.frames"
LINGER_S = 5.0
"""How long a peer that reads nothing may leave the last words to it unread."""

KERNEL_UNSENT_BYTES = 32 << 10
"""How much the kernel takes beyond what is on its way to the peer.

Left alone it takes megabytes for one that reads slowly, and no more until a third of that is read:
what such a peer hears is long past, and it looks as if it took nothing.
"""

_FINAL_TEXT = 0x81
_LENGTH_16, _LENGTH_64 = 126, 127


def text_frame(payload: bytes) -> bytes:
    """One whole, unmasked text message; `payload` is UTF-8."""
    length = len(payload)
    if length < _LENGTH_16:
        return bytes((_FINAL_TEXT, length)) + payload
    if length < 1 << 16:
        return struct.pack("!BBH", _FINAL_TEXT, _LENGTH_16, length) + payload
    return struct.pack("!BBQ", _FINAL_TEXT, _LENGTH_64, length) + payload


class FrameSink(Protocol):
    """Where whole frames go; nothing here waits."""

    def write_frames(self, frames: bytes) -> None:
        """Write whole frames; a connection that is not open takes none."""
        ...

    def unsent_bytes(self) -> int:
        """How much was written that the kernel has not taken yet."""
        ...

    def end(self, code: int, reason: str) -> None:
        """Close with a code; a peer that does not read it is cut off after `LINGER_S`."""
        ...


class FrameProtocol(WSProtocol):
    """One WebSocket connection; it is its own `FrameSink`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bound what the kernel takes (tcp(7), `TCP_NOTSENT_LOWAT`)."""
        super().connection_made(transport)
        connection: socket.socket = transport.get_extra_info("socket")
        if connection.family in (socket.AF_INET, socket.AF_INET6):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, KERNEL_UNSENT_BYTES)

    def handle_connect(self, event: events.Request) -> None:
        """Put the sink into the scope, before the application's task begins."""
        super().handle_connect(event)
        extensions = cast(dict[str, object], self.scope["extensions"])
        extensions[EXTENSION] = self

    def write_frames(self, frames: bytes) -> None:
        """As `FrameSink`."""
        if self.handshake_complete and not (self.close_sent or self.transport.is_closing()):
            self.transport.write(frames)

    def unsent_bytes(self) -> int:
        """As `FrameSink`."""
        return self.transport.get_write_buffer_size()

    def end(self, code: int, reason: str) -> None:
        """As `FrameSink`."""
        if self.close_sent or self.transport.is_closing():
            return
        self.close_sent = True
        self.stop_keepalive()
        self.transport.write(self.conn.send(events.CloseConnection(code=code, reason=reason)))
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.abort)

    def keepalive_timeout(self) -> None:
        """Close to a peer that answers no ping, and do not wait until it reads."""
        super().keepalive_timeout()
        self.loop.call_later(LINGER_S, self.transport.abort)
