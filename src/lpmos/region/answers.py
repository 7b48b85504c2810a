"""Answers of the region's HTTP: JSON, and every error as one problem document (RFC 9457)."""

import uuid
from collections.abc import Awaitable, Callable, Mapping

import msgspec
import structlog
from aiohttp import web

from lpmos.core.problems import MEDIA_TYPE, Problem, problem, problem_for
from lpmos.region.metrics import Metrics
from lpmos.store.fenced import NotActive

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_CODES = {404: "no-such-path", 405: "method-not-allowed", 413: "too-large"}


def json_answer(
    body: object,
    *,
    status: int = 200,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
) -> web.Response:
    """A body as JSON; nothing on the way may keep it."""
    return web.Response(
        status=status,
        body=msgspec.json.encode(body),
        content_type=content_type,
        headers={"Cache-Control": "no-store", **(headers or {})},
    )


def error_middleware(*, idc: str) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Turns whatever a handler raises into its problem document."""
    log = structlog.get_logger().bind(idc=idc)

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _problem_answer(_of_framework(error))
        except Exception as error:
            instance = uuid.uuid4().hex
            found = problem_for(error, instance=instance)
            if found.status >= 500:
                log.warning("request failed", path=_path(request), error=str(error), id=instance)
            if found.document["code"] == "internal":
                log.exception("unforeseen error", path=_path(request), id=instance)
            return _problem_answer(found)

    return answer


def _path(request: web.Request) -> str:
    """The path as it is written in the table of routes: what stands in it may be a secret."""
    resource = request.match_info.route.resource
    return resource.canonical if resource else request.path


ALWAYS_ANSWERED = frozenset(
    {
        "/health",
        "/api/health",
        "/api/v1/health",
        "/metrics",
        "/api/v1/tasks/{task_id}/log",
        "/api/v1/peer/promise",
    }
)
"""What people, monitors, control planes and other clients ask each client of a region."""


def only_while(active: Callable[[], bool]) -> Callable[..., Awaitable[web.StreamResponse]]:
    """Answers machines only while this client is the active one, before and after the work."""

    @web.middleware
    async def answer(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        always = resource is not None and resource.canonical in ALWAYS_ANSWERED
        if not (always or active()):
            raise NotActive("this client of the region stands by; another one is active")
        response = await handler(request)
        if not (always or active()):
            raise NotActive("this client of the region is no longer active; repeat the call")
        return response

    return answer


def _problem_answer(found: Problem) -> web.Response:
    return json_answer(
        found.document, status=found.status, content_type=MEDIA_TYPE, headers=found.headers
    )


def _of_framework(error: web.HTTPException) -> Problem:
    code = _CODES.get(error.status, "http-error")
    allow = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return problem(error.status, code, error.reason, headers=allow)


def counting(metrics: Metrics) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    """Counts each answer as it is begun; a file's length is not known before."""

    async def count(request: web.Request, response: web.StreamResponse) -> None:
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "none"
        metrics.requests.labels(route, response.status).inc()
        if response.content_length and request.method != "HEAD":
            metrics.bytes_sent.labels(route).inc(response.content_length)

    return count
