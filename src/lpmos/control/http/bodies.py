"""Request bodies: JSON only, bounded, and checked in full before a handler sees them.

The framework converts a body too, but leniently (`"true"` for `true`) and it stops at the first
wrong field; this check is strict and names them all. A handler whose fields have rules beyond their
types names the function that knows them: `opt={CHECK: check_match}`. One that takes larger
bodies says so in its decorator: `request_max_body_size=BULK_LIMIT_BYTES`.
"""

import re
from itertools import accumulate
from typing import Any

import msgspec
from litestar import Request

from lpmos.core.problems import decode_body

BODY_LIMIT_BYTES = 262_144
BULK_LIMIT_BYTES = 16 * 1024 * 1024
"""For calls that take many rows at once: 10,000 of them with everything that a row can say."""

DEPTH = 32
"""How deep a body may be nested; what the API knows is nested four deep."""

CHECK = "check_body"
TAKES = "takes"
"""In the `opt` of a handler that reads its body itself: says the type of each media type."""

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
"""It matches from every quote on, closed or not: so the time grows with the body's size alone."""

_STEPS = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

AnyRequest = Request[Any, Any, Any]


class UnsupportedMediaType(Exception):
    """The body is of a media type that the call does not take."""


async def check_body(request: AnyRequest) -> None:
    """Check the body of a handler that takes one, before it is converted.

    Raises:
        UnsupportedMediaType: it is not declared to be JSON.
        msgspec.DecodeError: it is not JSON, or nested too deeply.
        InvalidInput: it is JSON of another shape, or breaks the handler's own rules.
    """
    field = request.route_handler.parsed_data_field
    if field is None:
        return
    body = await json_body(request)
    decode_body(body, field.annotation, request.route_handler.opt.get(CHECK))


async def json_body(request: AnyRequest) -> bytes:
    """The body of a request that must be JSON, not parsed yet.

    Raises:
        UnsupportedMediaType: it is not declared to be JSON.
        msgspec.DecodeError: it is nested too deeply.
    """
    media_type = request.content_type[0]
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"send the body as 'Content-Type: application/json', not {media_type or 'nothing'!r}"
        )
    body = await request.body()
    check_depth(body)
    return body


def check_depth(body: bytes) -> None:
    """Refuse JSON that is nested deeper than `DEPTH`, in time that grows with its size alone.

    Text that is not JSON may pass; whoever parses it refuses it.

    Raises:
        msgspec.DecodeError: it is nested deeper (RFC 8259 section 9 lets a parser set this limit).
    """
    if body.count(b"[") + body.count(b"{") <= DEPTH:
        return
    brackets = _STRING.sub(b"", body).translate(None, _NO_BRACKETS)
    if any(depth > DEPTH for depth in accumulate(map(_STEPS.__getitem__, brackets))):
        raise msgspec.DecodeError(f"it is nested deeper than {DEPTH}")
