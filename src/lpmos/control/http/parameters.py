"""Query parameters: each is checked before a handler sees any, and every wrong one is named.

One that no call knows is refused, too: a misspelt filter must not show everything. What is wrong
with the body is named in the same answer.
"""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, NamedTuple
from weakref import WeakKeyDictionary

import msgspec
from litestar import Request, Response
from litestar.handlers import HTTPRouteHandler
from litestar.params import QueryParameter
from litestar.routes import HTTPRoute

from lpmos.control.http.bodies import check_body
from lpmos.control.http.paging import STATUSES_PATTERN, statuses
from lpmos.core.field_words import plain_words
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
_KNOWN: WeakKeyDictionary[HTTPRouteHandler, Mapping[str, "Known"]] = WeakKeyDictionary()


class Known(NamedTuple):
    """A query parameter that a handler takes; `check` is what its type does not say."""

    kind: Any
    any_text: bool
    check: Callable[[str, str], object] | None


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
        InvalidInput: names every query parameter that the handler does not take, or that is wrong,
            and every wrong field of the body.
        Exception: as `check_body`.
    """
    if request.method == "OPTIONS":
        return _methods(request)
    wrong = _query_problems(request) if request.url.path.startswith(API) else []
    try:
        await check_body(request)
    except InvalidInput as error:
        raise InvalidInput(*wrong, *error.problems) from error
    if wrong:
        raise InvalidInput(*wrong)
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


def _query_problems(request: Request[Any, Any, Any]) -> list[FieldProblem]:
    """Parameters that are unknown, come twice, or have a value that the handler does not take."""
    known = known_parameters(request.route_handler)
    given = list(request.query_params.multi_items())
    wrong = _unknown(request, known)
    wrong += [
        FieldProblem(name[:64], "is given more than once")
        for name, count in Counter(name for name, _ in given).items()
        if count > 1
    ]
    for name, value in given:
        if name in known:
            wrong += _value_problems(name, value, known[name])
    return wrong


def _value_problems(name: str, value: str, known: Known) -> Sequence[FieldProblem]:
    if value.lower() == "null" and not known.any_text:  # the word that lenient parsers skip
        return [FieldProblem(name, "null is no value; leave it out")]
    try:
        msgspec.convert(value, known.kind, strict=False)
        if known.check is not None:
            known.check(value, name)
    except msgspec.ValidationError as error:
        return [FieldProblem(name, plain_words(str(error), known.kind, text_only=True))]
    except InvalidInput as error:
        return error.problems
    return ()


def known_parameters(handler: HTTPRouteHandler) -> Mapping[str, Known]:
    """The query parameters that a handler takes."""
    known = _KNOWN.get(handler)
    if known is None:
        model = handler.create_kwargs_model(path_parameters={})
        fields = handler.parsed_fn_signature.parameters
        kinds = {each.name: each.type for each in msgspec.structs.fields(handler.signature_model)}
        known = {
            each.field_alias: Known(
                kinds[each.field_name],
                fields[each.field_name].annotation in (str, str | None),
                _check_of(fields[each.field_name].kwarg_definition),
            )
            for each in model.expected_query_params
        }
        _KNOWN[handler] = known
    return known


def _check_of(definition: object) -> Callable[[str, str], object] | None:
    """The check of a parameter that is described as something more than its type."""
    schema = getattr(definition, "schema_extra", None) or {}
    if schema.get("format") == "date-time":
        return moment
    return statuses if schema.get("pattern") == STATUSES_PATTERN else None
