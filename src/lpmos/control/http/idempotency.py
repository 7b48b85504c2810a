"""The header `Idempotency-Key`: a call that is sent again does not do its work again."""

from typing import Annotated

from litestar.datastructures import ResponseHeader
from litestar.params import HeaderParameter

REPLAYED = {"Idempotency-Replayed": "true"}
"""What an answer carries whose work an earlier call with the same key did."""

REPLAYS = ResponseHeader(
    name="Idempotency-Replayed",
    description="`true` where an earlier call with the same key did the work.",
    documentation_only=True,
)

IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern="^[ -~]+$",
        description="Of the caller's choosing; the same key makes the same thing only once.",
    ),
]
