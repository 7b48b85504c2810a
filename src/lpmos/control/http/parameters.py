"""Query parameters that no call knows are refused: a misspelt filter must not show everything."""

from collections import Counter
from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Annotated, Any
from weakref import WeakKeyDictionary

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.routes import HTTPRoute

from lpmos.control.http.bodies import check_body
from lpmos.model.errors import FieldProblem, InvalidInput

API = "/api/"
MOMENT_CHARACTERS = 64

Moment = Annotated[
    str | None,
    QueryParameter(
        max_length=MOMENT_CHARACTERS,
        description="A time (RFC 3339) with its zone.",
        schema_extra={"format": "date-time", "examples": ["2026-01-02T03:04:05Z"]},
    ),
]
_KNOWN: WeakKeyDictionary[HTTPRouteHandler, Mapping[str, bool]] = WeakKeyDictionary()


def refuse_unknown(request: Request[Any, Any, Any], known: Collection[str]) -> None:
    """Let a request pass whose query parameters are all `known`.

    Raises:
        InvalidInput: names every other one.
    """
    if unknown := _unknown(request, known):
        raise InvalidInput(*unknown)


def _unknown(request: Request[Any, Any, Any], known: Collection[str]) -> list[FieldProblem]:
    text = f"is unknown; known: {', '.join(sorted(known))}"
    return [
        FieldProblem(name[:64], text) for name in sorted(set(request.query_params) - set(known))
    ]


def moment(text: str | None, field: str) -> datetime | None:
    """The time that a parameter names; None where it is not given.

    Raises:
        InvalidInput: it is no time, or one without a zone.
    """
    if text is None:
        return None
    try:
        time = msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        time = None
    if time is None or time.tzinfo is None:
        wrong = "must be a time with its zone (RFC 3339), as 2026-01-02T03:04:05Z"
        raise InvalidInput(FieldProblem(field, wrong))
    return time


async def check_request(request: Request[Any, Any, Any]) -> Response[None] | None:
    """Check the parameters and the body of a call of the API before its handler sees them.

    Returns:
        The answer to `OPTIONS`; otherwise nothing, and the handler is called.

    Raises:
        InvalidInput: names every query parameter that the handler does not take.
        Exception: as `check_body`.
    """
    if request.method == "OPTIONS":
        return _methods(request)
    if request.url.path.startswith(API):
        _check_query(request)
    await check_body(request)
    return None


def _methods(request: Request[Any, Any, Any]) -> Response[None]:
    """What may be done with a path: the framework's own answer names one handler's methods only."""
    path = request.scope["path_template"]
    methods = {
        method
        for route in request.app.routes
        if isinstance(route, HTTPRoute) and route.path_format == path
        for method in route.methods
    }
    return Response(None, status_code=204, headers={"Allow": ", ".join(sorted(methods))})


def _check_query(request: Request[Any, Any, Any]) -> None:
    """Refuse parameters that are unknown, come twice, or are the word that lenient parsers skip."""
    known = known_parameters(request.route_handler)
    given = list(request.query_params.multi_items())
    wrong = _unknown(request, known)
    wrong += [
        FieldProblem(name[:64], "is given more than once")
        for name, count in Counter(name for name, _ in given).items()
        if count > 1
    ]
    wrong += [
        FieldProblem(name, "null is no value; leave it out")
        for name, value in given
        if value.lower() == "null" and not known.get(name, True)
    ]
    if wrong:
        raise InvalidInput(*wrong)


def known_parameters(handler: HTTPRouteHandler) -> Mapping[str, bool]:
    """The query parameters that a handler takes, and whether each may be any text."""
    known = _KNOWN.get(handler)
    if known is None:
        model = handler.create_kwargs_model(path_parameters={})
        fields = handler.parsed_fn_signature.parameters
        known = {
            each.field_alias: fields[each.field_name].annotation in (str, str | None)
            for each in model.expected_query_params
        }
        _KNOWN[handler] = known
    return known
