"""Query parameters that no call knows are refused: a misspelt filter must not show everything."""

from collections.abc import Set
from typing import Any
from weakref import WeakKeyDictionary

from litestar import Request
from litestar.handlers import HTTPRouteHandler

from lpmos.control.bodies import check_body
from lpmos.model.errors import FieldProblem, InvalidInput

API = "/api/"
_KNOWN: WeakKeyDictionary[HTTPRouteHandler, frozenset[str]] = WeakKeyDictionary()


def refuse_unknown(request: Request[Any, Any, Any], known: Set[str]) -> None:
    """Let a request pass whose query parameters are all `known`.

    Raises:
        InvalidInput: names every other one.
    """
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        text = f"is unknown; known: {', '.join(sorted(known))}"
        raise InvalidInput(*(FieldProblem(name[:64], text) for name in unknown))


async def check_request(request: Request[Any, Any, Any]) -> None:
    """Check the parameters and the body of a call of the API before its handler sees them.

    Raises:
        InvalidInput: names every query parameter that the handler does not take.
        Exception: as `check_body`.
    """
    if request.url.path.startswith(API) and request.method != "OPTIONS":  # the framework's own
        refuse_unknown(request, known_parameters(request.route_handler))
    await check_body(request)


def known_parameters(handler: HTTPRouteHandler) -> frozenset[str]:
    """The query parameters that a handler takes, by the names that callers use."""
    known = _KNOWN.get(handler)
    if known is None:
        model = handler.create_kwargs_model(path_parameters={})
        known = frozenset(each.field_alias for each in model.expected_query_params)
        _KNOWN[handler] = known
    return known
