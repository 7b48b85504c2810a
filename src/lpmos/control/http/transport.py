"""What is written in one turn of the event loop goes out in one piece.

An answer's head and its body are two writes. As two system calls, and two packets, they cost a
fifth of all that is done for an answer that is kept.
"""

import asyncio
from typing import Any

JOINED_BYTES = 262_144
"""So much is not held back any longer: the peer's pace must be felt by who writes."""


class JoiningTransport:
    """A transport whose writes are joined; all else is that of the one inside."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._loop = asyncio.get_running_loop()
        self._waiting: list[bytes] = []
        self._size_bytes = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send before the loop's next turn."""
        if not self._waiting:
            self._loop.call_soon(self._send)
        self._waiting.append(data)
        self._size_bytes += len(data)
        if self._size_bytes >= JOINED_BYTES:
            self._send()

    def close(self) -> None:
        """Send what waits, then close."""
        self._send()
        self._transport.close()

    def released(self) -> asyncio.Transport:
        """The transport inside, for a protocol that takes the connection over."""
        self._send()
        return self._transport

    def _send(self) -> None:
        waiting, self._waiting, self._size_bytes = self._waiting, [], 0
        if waiting and not self._transport.is_closing():
            self._transport.write(b"".join(waiting))
