"""Every error as problem JSON: ours by the table of `lpmos.core.problems`, the framework's here.

Whatever ends as 500 is logged with its traceback under the request's id, which the answer names.
"""

from typing import Any

import msgspec
import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, InternalServerException, ValidationException
from litestar.openapi import ResponseSpec

from lpmos.control.http.bodies import UnsupportedMediaType
from lpmos.control.http.observation import request_id
from lpmos.core.field_words import plain_words
from lpmos.core.problems import MEDIA_TYPE, Problem, problem, problem_for
from lpmos.model.errors import (
    FieldProblem,
    Forbidden,
    InvalidInput,
    LpmosError,
    NotFound,
    TooBusy,
    TooLarge,
    Unauthenticated,
)

log = structlog.get_logger()

OURS: dict[int, tuple[type[LpmosError], str]] = {
    401: (Unauthenticated, "send a token: 'Authorization: Bearer …'"),
    403: (Forbidden, "this is not allowed"),
    404: (NotFound, "there is nothing under this path"),
    413: (TooLarge, "the body has more bytes than this call takes"),
    429: (TooBusy, "too many requests; try again later"),
}
"""What the framework refuses by itself and we have an error for, with what there is to say."""

OTHERS = {400: "malformed", 405: "method-not-allowed", 415: "unsupported-media-type"}
"""The codes of what the framework refuses and no error of ours stands for."""


CUT_OFF = "client disconnected prematurely"
"""What the framework says of a body that did not come whole; it is no fault of ours."""


class ProblemDocument(msgspec.Struct, frozen=True):
    """Every error's shape (RFC 9457); `instance` is the request's id, as in the log."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    errors: list[FieldProblem]
    instance: str


def _response(description: str) -> ResponseSpec:
    return ResponseSpec(
        ProblemDocument, description=description, media_type=MEDIA_TYPE, generate_examples=False
    )


PROBLEMS: dict[int, ResponseSpec] = {
    400: _response("The body is not JSON."),
    401: _response("No valid token came with the request."),
    403: _response("The token does not allow this, or another site's page sent it."),
    404: _response("There is no such thing."),
    409: _response("This contradicts what is there."),
    412: _response("It has changed since it was read; read it again."),
    413: _response("The body is too large."),
    415: _response("The body is of a media type that this call does not take."),
    422: _response("A field is wrong; every wrong one is named."),
    429: _response("Too many requests; see Retry-After."),
    500: _response("A defect; the log has the cause under the request's id."),
    503: _response("The store is away; see Retry-After."),
}


def answer_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, object]]:
    """The answer to a request that ended with `error`."""
    instance = request_id(request.scope)
    answer = _problem(error, instance)
    if answer.status >= 500 and answer.status != 503:
        log.error("request failed", request_id=instance, path=request.url.path, exc_info=error)
    return Response(
        answer.document,
        status_code=answer.status,
        headers=answer.headers,
        media_type=MEDIA_TYPE,
    )


def _problem(error: Exception, instance: str) -> Problem:
    if isinstance(error, ValidationException):
        return problem_for(_invalid_parameters(error), instance=instance)
    if isinstance(error, InternalServerException) and error.detail == CUT_OFF:
        return problem(400, OTHERS[400], "the connection ended before the body", instance=instance)
    if isinstance(error, UnsupportedMediaType):
        return problem(415, OTHERS[415], str(error), instance=instance)
    if isinstance(error, HTTPException) and error.status_code in OURS:
        kind, detail = OURS[error.status_code]
        return problem_for(kind(detail), instance=instance)
    if isinstance(error, HTTPException) and error.status_code in OTHERS:
        return _framework_problem(error, instance)
    return problem_for(error, instance=instance)


def _invalid_parameters(error: ValidationException) -> InvalidInput:
    """The parameters of query, path and headers that could not be converted."""
    extra = error.extra if isinstance(error.extra, list) else []
    problems = [
        FieldProblem(_parameter(each), plain_words(str(each.get("message")), text_only=True))
        for each in extra
    ]
    return InvalidInput(*(problems or [FieldProblem("request", error.detail)]))


def _parameter(wrong: dict[str, Any]) -> str:
    """The parameter's name as callers write it."""
    name = str(wrong.get("key", "request"))
    return name.replace("_", "-").title() if wrong.get("source") == "header" else name


def _framework_problem(error: HTTPException, instance: str) -> Problem:
    headers = {name.title(): value for name, value in (error.headers or {}).items()}
    allowed = headers.get("Allow")
    detail = f"this path takes only {allowed}" if allowed else error.detail
    code = OTHERS[error.status_code]
    return problem(error.status_code, code, detail, headers=headers, instance=instance)
