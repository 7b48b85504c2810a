"""Reading the body of a call: bounded in bytes and in time, whoever sends it."""

import asyncio

from aiohttp import web

from lpmos.model.errors import TooLarge
from lpmos.store.api import Unavailable

BODY_TIMEOUT_S = 30.0


async def read_body(request: web.Request, limit_bytes: int) -> bytes:
    """The whole body.

    Raises:
        TooLarge: it has more than `limit_bytes`; the rest is not read.
        Unavailable: it did not come within `BODY_TIMEOUT_S`.
    """
    too_large = TooLarge(f"the body has more than {limit_bytes} bytes")
    if (request.content_length or 0) > limit_bytes:
        raise too_large
    if request.content.is_eof():  # it came with the head, as nearly all do
        whole = request.content.read_nowait()
        if len(whole) > limit_bytes:
            raise too_large
        return whole
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_S):
            async for part in request.content.iter_any():
                body += part
                if len(body) > limit_bytes:
                    raise too_large
    except TimeoutError:
        raise Unavailable(f"the body did not come within {BODY_TIMEOUT_S:.0f} s") from None
    return bytes(body)
