"""The header `Idempotency-Key`: a call that is sent again does not do its work again."""

from typing import Annotated, TypeVar

from litestar import Response
from litestar.datastructures import ResponseHeader
from litestar.params import HeaderParameter

T = TypeVar("T")

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


def made_once(view: T, place: str, *, replayed: bool) -> Response[T]:
    """The answer to what was made: by this call, or by an earlier one with the same key."""
    headers = {"Location": place, **(REPLAYED if replayed else {})}
    return Response(view, status_code=201, headers=headers)
