"""Request bodies: JSON only, bounded, and checked in full before a handler sees them.

The framework converts a body too, but leniently (`"true"` for `true`) and it stops at the first
wrong field; this check is strict and names them all. A handler whose fields have rules beyond their
types names the function that knows them: `opt={CHECK: check_new_task}`.
"""

from typing import Any

from litestar import Request

from lpmos.core.problems import decode_body

BODY_LIMIT_BYTES = 262_144
CHECK = "check_body"

AnyRequest = Request[Any, Any, Any]


class UnsupportedMediaType(Exception):
    """The body is something other than JSON."""


async def check_body(request: AnyRequest) -> None:
    """Check the body of a handler that takes one, before it is converted.

    Raises:
        UnsupportedMediaType: it is not declared to be JSON.
        msgspec.DecodeError: it is not JSON.
        InvalidInput: it is JSON of another shape, or breaks the handler's own rules.
    """
    field = request.route_handler.parsed_data_field
    if field is None:
        return
    media_type = request.content_type[0]
    if media_type != "application/json" and not media_type.endswith("+json"):
        raise UnsupportedMediaType(
            f"send the body as 'Content-Type: application/json', not {media_type or 'nothing'!r}"
        )
    check = request.route_handler.opt.get(CHECK)
    decode_body(await request.body(), field.annotation, check)
