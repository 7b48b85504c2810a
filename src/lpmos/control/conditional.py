"""Conditional requests (RFC 9110 section 13): the store's revision of a resource is its ETag.

Who sends it back in `If-Match` changes only what they saw; else the answer is 412.
"""

import re
from typing import Annotated, Any, TypeVar

from litestar import Request, Response
from litestar.params import HeaderParameter

from lpmos.model.errors import FieldProblem, InvalidInput

T = TypeVar("T")

IfMatch = Annotated[
    str | None,
    HeaderParameter(
        name="If-Match", description="The ETag of what shall be changed, as it was last seen."
    ),
]

_ETAG = re.compile(r'"([0-9]{1,19})"')


def tagged(view: T, revision: int, *, status_code: int = 200) -> Response[T]:
    """An answer that carries the revision of what it shows."""
    return Response(view, status_code=status_code, headers={"ETag": f'"{revision}"'})


def expected_revision(request: Request[Any, Any, Any]) -> int | None:
    """The revision that `If-Match` names; None where the request is not conditional.

    Raises:
        InvalidInput: the header is neither one strong entity tag of ours nor `*`.
    """
    return named_revision(request.headers.get("if-match"))


def named_revision(if_match: str | None) -> int | None:
    """As `expected_revision`, of the header itself."""
    if if_match is None or if_match.strip() == "*":
        return None
    match = _ETAG.fullmatch(if_match.strip())
    if match is None:
        text = 'must be the ETag of the resource as it was sent, as "123"'
        raise InvalidInput(FieldProblem("If-Match", text))
    return int(match[1])
