"""How a call can end: what it answers, and with which problems it is refused.

A handler's `responses` name what calls of the API are refused with; `Ends` leaves to each call
those that it can end with. The problems are the same for all, so they stand in `components`.
"""

import inspect
from collections.abc import Mapping
from types import NoneType
from typing import Any, NamedTuple, get_args, get_origin

import msgspec
from litestar import MediaType, Response
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import ResponseSpec
from litestar.routes import HTTPRoute

from lpmos.control.http.parameters import API
from lpmos.control.http.problems import PROBLEMS, ProblemDocument
from lpmos.control.openapi.answers import ANSWERS
from lpmos.control.openapi.schemas import Schema, Schemas
from lpmos.core.problems import MEDIA_TYPE, Problem, problem_for
from lpmos.model import errors
from lpmos.store.api import CasConflict, Unavailable

TEXT: Schema = {"type": "string"}
EMPTY = (None, NoneType)

_RETRY = {"Retry-After": "In how many seconds to try again."}
PROBLEM_HEADERS: Mapping[int, Mapping[str, str]] = {
    401: {"WWW-Authenticate": "How to show a token (RFC 6750)."},
    429: _RETRY,
    503: _RETRY,
}
"""The headers that every problem of a status has."""

_SAMPLES = (
    errors.Unauthenticated("send a token: 'Authorization: Bearer …'"),
    errors.Forbidden("this needs task:approve; bob has not got it"),
    errors.NotFound("there is no such task"),
    errors.ImpossibleTransition("a task that is pending cannot be approved"),
    CasConflict("it has changed since it was read"),
    errors.TooLarge("the body has more bytes than this call takes"),
    errors.InvalidInput(errors.FieldProblem("mac", "'x' is not a MAC address")),
    errors.TooBusy("too many requests; try again in 2 s", retry_after_s=2),
    Unavailable("the store cannot be reached"),
)
INSTANCE = "5f0c2d9be1f04d7d8a0c4be1a2f3c4d5"


class Ends(NamedTuple):
    """A call as far as it decides how it can end; `given` are its parameters, `takes` a body."""

    route: HTTPRoute
    method: str
    handler: HTTPRouteHandler
    given: frozenset[str]
    takes: bool

    def with_status(self, status: int) -> bool:
        """Whether the call can end with the problem that has this status."""
        permission = self.handler.opt.get("permission")
        changes = self.method != "GET"
        reads = permission is not None and permission.value.endswith(":read")
        names_something = bool(self.route.path_parameters) or "user" in self.given
        can = {
            **dict.fromkeys((400, 413, 415), self.takes),
            401: permission is not None or self.takes,
            403: permission is not None or changes,
            404: names_something or (permission is None and self.takes),
            409: changes and not reads,
            412: "If-Match" in self.given,
            422: self.route.path.startswith(API),
        }
        return can.get(status, True)


def responses(ends: Ends, schemas: Schemas) -> dict[str, Any]:
    """All ways in which a call can end, by status."""
    handler = ends.handler
    found = {handler.status_code: _answer(handler, schemas, _headers(ends, handler.status_code))}
    for status, spec in (handler.responses or {}).items():
        if spec.data_container is not ProblemDocument:
            found[status] = _other_answer(spec, schemas, _headers(ends, status))
        elif ends.with_status(status):
            found[status] = {"$ref": f"#/components/responses/{_name(status)}"}
    return {str(status): found[status] for status in sorted(found)}


def problems(schemas: Schemas) -> dict[str, Any]:
    """The problems that calls are refused with, by the name of their status."""
    samples = {each.status: each.document for each in map(_sample, _SAMPLES)}
    return {
        _name(status): {
            "description": spec.description,
            "headers": _always(PROBLEM_HEADERS.get(status, {})),
            "content": {
                MEDIA_TYPE: {
                    "schema": schemas.of(spec.data_container),
                    **({"example": samples[status]} if status in samples else {}),
                }
            },
        }
        for status, spec in PROBLEMS.items()
    }


def _sample(error: errors.LpmosError) -> Problem:
    return problem_for(error, instance=INSTANCE)


def _headers(ends: Ends, status: int) -> dict[str, Any]:
    """The headers of an answer that is no problem."""
    always = dict(PROBLEM_HEADERS.get(status, {}))
    if ends.route.path.startswith(API):
        always["Lpmos-Revision"] = "The answer is at least as new as this revision of the store."
    own = {
        each.name: {"description": each.description, "required": each.required, "schema": TEXT}
        for each in ends.handler.resolve_response_headers()
        if each.documentation_only
    }
    return dict(sorted((own | _always(always)).items()))


def _always(headers: Mapping[str, str]) -> dict[str, Any]:
    return {
        name: {"description": text, "required": True, "schema": TEXT}
        for name, text in headers.items()
    }


def _answer(handler: HTTPRouteHandler, schemas: Schemas, headers: Schema) -> dict[str, Any]:
    """What a call answers that did what it shall."""
    kind = handler.parsed_return_field.annotation
    if get_origin(kind) is Response:
        (kind,) = get_args(kind)
    answer: dict[str, Any] = {"description": _meaning(kind)}
    if headers:
        answer["headers"] = headers
    if kind not in EMPTY:
        media_type = _written(handler.media_type or MediaType.JSON)
        answer["content"] = {media_type: _media(kind, schemas)}
    return answer


def _other_answer(spec: ResponseSpec, schemas: Schemas, headers: Schema) -> dict[str, Any]:
    """An answer that is no problem and has another status than the handler's own."""
    kind = spec.data_container
    answer: dict[str, Any] = {"description": spec.description, "headers": headers}
    if kind not in EMPTY:
        answer["content"] = {_written(spec.media_type): _media(kind, schemas)}
    return answer


def _written(media_type: str) -> str:
    return media_type.value if isinstance(media_type, MediaType) else media_type


def _media(kind: Any, schemas: Schemas) -> dict[str, Any]:
    if kind is bytes:
        return {"schema": TEXT}
    example = {"example": ANSWERS[kind]} if kind in ANSWERS else {}
    return {"schema": schemas.of(kind), **example}


def _meaning(kind: Any) -> str:
    """The first sentence of what the answer's type says of itself."""
    if kind in EMPTY:
        return "Done; there is no body."
    said = kind.__doc__ if isinstance(kind, type) and issubclass(kind, msgspec.Struct) else None
    return inspect.cleandoc(said).partition("\n\n")[0] if said else "As asked for."


def _name(status: int) -> str:
    return f"Problem{status}"
