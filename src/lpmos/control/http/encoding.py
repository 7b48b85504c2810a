"""Content codings of answers (RFC 9110 section 8.4): zstd (RFC 8878) and gzip, as callers ask.

An answer that has `Vary` or its coding already, as one that is kept, is sent as it is. Short ones,
and those whose media type is packed in itself, go out plain.
"""

import zlib
from collections.abc import Callable, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Literal

from backports import zstd
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPResponseStartEvent, Message, Receive, Scope, Send

Coding = Literal["zstd", "gzip"]

LEAST_BYTES = 1000
"""Shorter answers fit one packet of a network as they are."""

GZIP_LEVEL = 5
ZSTD_LEVEL = 3
ACCEPT_CHARACTERS = 256
"""A longer `Accept-Encoding` is taken for none."""

VARY = (b"vary", b"Accept-Encoding")

_TEXT = (b"text/", b"application/json", b"application/problem+json", b"image/svg+xml")


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, GZIP_LEVEL, wbits=31)


def _zstd(body: bytes) -> bytes:
    return zstd.compress(body, ZSTD_LEVEL)


_CODINGS: Mapping[Coding, Callable[[bytes], bytes]] = MappingProxyType(
    {"zstd": _zstd, "gzip": _gzip}
)
"""The first that the caller takes is used."""


def encoded(body: bytes, coding: Coding) -> bytes:
    """A body in a coding."""
    return _CODINGS[coding](body)


def accepted(scope: Scope) -> Coding | None:
    """The coding for the answer to a request; None where it shall be plain."""
    for name, value in scope["headers"]:
        if name == b"accept-encoding":
            return preferred(value.decode("latin-1")) if len(value) <= ACCEPT_CHARACTERS else None
    return None


@lru_cache(maxsize=256)
def preferred(accept_encoding: str) -> Coding | None:
    """What an `Accept-Encoding` (RFC 9110 section 12.5.3) asks for of what there is.

    Weights only say what is refused: of those that are not, the better one is taken.
    """
    taken: dict[str, bool] = {}
    for entry in accept_encoding.lower().split(","):
        name, *parameters = (part.strip() for part in entry.split(";"))
        taken[name] = not any(_is_zero(each) for each in parameters)
    rest = taken.get("*", False)
    return next((coding for coding in _CODINGS if taken.get(coding, rest)), None)


def encoding(app: ASGIApp) -> ASGIApp:
    """A middleware that compresses what is sent at once."""

    async def around(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.HTTP:
            send = _Sending(send, scope)
        await app(scope, receive, send)

    return around


class _Sending:
    """Holds an answer's start until its body tells whether it is to be compressed."""

    def __init__(self, send: Send, scope: Scope) -> None:
        self._send = send
        self._scope = scope
        self._start: HTTPResponseStartEvent | None = None

    async def __call__(self, message: Message) -> None:
        """Send a message, or hold it."""
        if message["type"] == "http.response.start" and _may_be_encoded(message):
            self._start = message
            return
        if message["type"] == "http.response.body" and self._start is not None:
            start, self._start = self._start, None
            body = message["body"]
            if not message.get("more_body") and len(body) >= LEAST_BYTES:
                body = self._encode(start, body)
                message = {"type": "http.response.body", "body": body, "more_body": False}
            await self._send(start)
        await self._send(message)

    def _encode(self, start: HTTPResponseStartEvent, body: bytes) -> bytes:
        headers = [*start["headers"], VARY]
        if coding := accepted(self._scope):
            body = encoded(body, coding)
            headers = [header for header in headers if header[0].lower() != b"content-length"]
            headers.append((b"content-length", b"%d" % len(body)))
            headers.append((b"content-encoding", coding.encode()))
        start["headers"] = headers
        return body


def _may_be_encoded(start: HTTPResponseStartEvent) -> bool:
    names = {name.lower(): value for name, value in start["headers"]}
    decided = b"content-encoding" in names or b"vary" in names
    return not decided and names.get(b"content-type", b"").startswith(_TEXT)


def _is_zero(parameter: str) -> bool:
    name, _, weight = parameter.partition("=")
    return name.strip() == "q" and not weight.strip().strip("0.")
