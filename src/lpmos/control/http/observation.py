"""What is seen of every request: an id, metrics, and the headers that bind the browser.

One hook on every message that leaves the application, so that no answer, error or not, is without.
"""

import secrets
import time
from collections.abc import Collection, Iterable
from typing import Any, cast

from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.registry import Collector

from lpmos.store.calls import COLLECTORS

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}
HSTS = "max-age=31536000"

Header = tuple[bytes, bytes]
_HEADERS: list[Header] = [
    (name.encode(), value.encode())
    for name, value in {**HEADERS, "cache-control": "no-store"}.items()
]
_SECURE_HEADERS: list[Header] = [*_HEADERS, (b"strict-transport-security", HSTS.encode())]
_NAMES = frozenset(name for name, _ in _SECURE_HEADERS)


def request_id(scope: Scope) -> str:
    """The id of this request, made when it is first asked for."""
    return str(cast(dict[str, Any], scope).setdefault("lpmos.request_id", secrets.token_hex(16)))


def timed(app: ASGIApp) -> ASGIApp:
    """A middleware that notes when a request came."""

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        cast(dict[str, Any], scope)["lpmos.started"] = time.perf_counter()
        await app(scope, receive, send)

    return note


class Observation:
    """The metrics of one control plane, and the hook that feeds them."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        for collector in COLLECTORS:
            self._registry.register(collector)
        self._requests = Counter(
            "lpmos_http_requests",
            "Requests answered",
            ("method", "path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "lpmos_http_request_seconds",
            "Time from a request to its answer's first byte",
            ("method", "path"),
            registry=self._registry,
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
        )
        self._metrics: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}

    def add(self, *collectors: Collector) -> None:
        """Have other collectors' metrics among these."""
        for collector in collectors:
            self._registry.register(collector)

    async def before_send(self, message: Message, scope: Scope) -> None:
        """Complete an answer's headers and count it."""
        if message["type"] != "http.response.start":
            return
        headers = list(message["headers"])
        present = {name.lower() for name, _ in headers}
        headers.append((b"x-request-id", request_id(scope).encode()))
        added = _SECURE_HEADERS if scope["scheme"] == "https" else _HEADERS
        headers += added if present.isdisjoint(_NAMES) else _missing(added, present)
        message["headers"] = headers
        self._count(message["status"], scope)

    def text(self) -> bytes:
        """All metrics in the text format of Prometheus."""
        return generate_latest(self._registry)

    def _count(self, status: int, scope: Scope) -> None:
        method = str(scope.get("method", ""))
        if method not in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
            method = "other"
        path = str(scope.get("path_template", "")) or "unknown"
        metrics = self._metrics.get((method, path, status))
        if metrics is None:  # bounded: paths are templates
            metrics = (
                self._requests.labels(method, path, str(status)),
                self._seconds.labels(method, path),
            )
            self._metrics[method, path, status] = metrics
        requests, seconds = metrics
        requests.inc()
        started = cast(dict[str, Any], scope).get("lpmos.started")
        if started is not None:
            seconds.observe(time.perf_counter() - started)


def _missing(headers: Iterable[Header], present: Collection[bytes]) -> list[Header]:
    return [header for header in headers if header[0] not in present]
