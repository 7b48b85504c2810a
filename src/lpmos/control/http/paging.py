"""Pages of lists: their limits, and where the next and the previous page are."""

from typing import Annotated, Any
from urllib.parse import urlencode

from litestar import Request
from litestar.params import QueryParameter

from lpmos.control.views.tasks import PageLinks
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.lifecycle import Status

LIMIT = 50
SEARCH_CHARACTERS = 128
STATUSES_PATTERN = "^({0})(,({0}))*$".format("|".join(status.value for status in Status))

Limit = Annotated[int, QueryParameter(ge=1, le=500)]
Offset = Annotated[int, QueryParameter(ge=0, le=10_000_000)]
Search = Annotated[str | None, QueryParameter(min_length=1, max_length=SEARCH_CHARACTERS)]
Name = Annotated[str | None, QueryParameter(min_length=1, max_length=SEARCH_CHARACTERS)]
Statuses = Annotated[
    str | None,
    QueryParameter(
        max_length=256,
        description="One status, or several with commas between them.",
        schema_extra={"pattern": STATUSES_PATTERN},
    ),
]


def page_links(request: Request[Any, Any, Any], limit: int, offset: int, total: int) -> PageLinks:
    """The pages beside this one, with the same filters."""
    following, preceding = offset + limit, max(0, offset - limit)
    return PageLinks(
        next=_link(request, following) if following < total else None,
        prev=_link(request, preceding) if offset > 0 else None,
    )


def statuses(text: str | None, field: str = "status") -> frozenset[Status] | None:
    """The statuses of a list with commas; None where none is given.

    Raises:
        InvalidInput: one of them is none.
    """
    if text is None:
        return None
    known = {status.value: status for status in Status}
    unknown = [name for name in text.split(",") if name not in known]
    if unknown:
        problem = f"{unknown[0][:40]!r} is no status; known: {', '.join(known)}"
        raise InvalidInput(FieldProblem(field, problem))
    return frozenset(known[name] for name in text.split(","))


def only_own(given: str | None, own: str | None) -> str | None:
    """Whose things to list for a user of the tenant `own`, who asks for those of `given`.

    Raises:
        InvalidInput: a tenant's user asks for another's.
    """
    if own is not None and given not in (None, own):
        raise InvalidInput(FieldProblem("tenant", f"must be {own}"))
    return own if own is not None else given


def _link(request: Request[Any, Any, Any], offset: int) -> str:
    given = [
        (name, value) for name, value in request.query_params.multi_items() if name != "offset"
    ]
    return f"{request.url.path}?{urlencode([*given, ('offset', offset)])}"
