"""Conditional requests (RFC 9110 section 13): the store's revision of a resource is its ETag.

Who sends it back in `If-Match` changes only what they saw; else the answer is 412.
"""

import re
from typing import Annotated, TypeVar

from litestar import Response
from litestar.datastructures import ResponseHeader
from litestar.params import HeaderParameter

from lpmos.model.errors import FieldProblem, InvalidInput

T = TypeVar("T")

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match",
        description="The ETag of what shall be changed, as it was last seen; `*` is any.",
        schema_extra={
            "anyOf": [{"const": "*"}, {"pattern": '^"[0-9]{1,18}"$'}],
            "examples": ['"4711"'],
        },
    ),
]

ETAG = ResponseHeader(
    name="ETag",
    description="The revision of what is shown, for `If-Match`.",
    required=True,
    documentation_only=True,
)
LOCATION = ResponseHeader(
    name="Location",
    description="Where what was made is.",
    required=True,
    documentation_only=True,
)

_ETAG = re.compile(r'"([0-9]{1,18})"')
"""No more digits than every store can count."""


def tagged(view: T, revision: int, *, status_code: int = 200) -> Response[T]:
    """An answer that carries the revision of what it shows."""
    return Response(view, status_code=status_code, headers={"ETag": f'"{revision}"'})


def named_revision(if_match: str | None) -> int | None:
    """The revision that `If-Match` names; None where the request is not conditional.

    Raises:
        InvalidInput: the header is neither one strong entity tag of ours nor `*`.
    """
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        text = 'must be the ETag of the resource as it was sent, as "123"'
        raise InvalidInput(FieldProblem("If-Match", text))
    return int(match[1])
