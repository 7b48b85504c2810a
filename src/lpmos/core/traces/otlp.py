"""Spans on the wire: OTLP 1.x over HTTP with protobuf bodies (opentelemetry.io/docs/specs/otlp).

A collector's answer decides: 429, 502, 503 and 504 are tried again later, anything else that is no
success is not (section "Failures"): the same bytes would be refused again.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import httpx
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from lpmos import __version__
from lpmos.model.trace import Attributes, Span

SERVICE = "lpmos"
TIMEOUT_S = 10.0
RETRYABLE = frozenset({429, 502, 503, 504})
_KINDS = {
    "internal": trace_pb2.Span.SPAN_KIND_INTERNAL,
    "server": trace_pb2.Span.SPAN_KIND_SERVER,
    "client": trace_pb2.Span.SPAN_KIND_CLIENT,
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class CollectorAway(Exception):
    """The collector cannot be reached or takes nothing now: try again. No call ends with it."""


class Refused(Exception):
    """The collector does not take these spans, now or later. No call ends with it."""


def encode(spans: Sequence[Span]) -> bytes:
    """The body of `POST /v1/traces`."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource.resource.attributes.extend(
        _attributes({"service.name": SERVICE, "service.version": __version__})
    )
    scope = resource.scope_spans.add()
    scope.scope.name = SERVICE
    scope.scope.version = __version__
    scope.spans.extend(_span(span) for span in spans)
    return bytes(request.SerializeToString())


async def send(client: httpx.AsyncClient, url: str, body: bytes) -> None:
    """Hand spans to a collector.

    Raises:
        CollectorAway: it is not there or busy.
        Refused: it does not take them.
    """
    headers = {"Content-Type": "application/x-protobuf"}
    try:
        async with asyncio.timeout(TIMEOUT_S):  # httpx's own is of each piece of an answer
            answer = await client.post(url, content=body, headers=headers, timeout=TIMEOUT_S)
    except (httpx.HTTPError, TimeoutError) as error:
        raise CollectorAway(f"the collector {url} cannot be reached: {error!r}") from error
    if answer.status_code in RETRYABLE:
        raise CollectorAway(f"the collector {url} answered {answer.status_code}")
    if not answer.is_success:
        raise Refused(f"the collector {url} answered {answer.status_code}: {answer.text[:200]}")


def _span(span: Span) -> trace_pb2.Span:
    made = trace_pb2.Span(
        trace_id=bytes.fromhex(span.trace_id),
        span_id=bytes.fromhex(span.span_id),
        parent_span_id=bytes.fromhex(span.parent_id or ""),
        name=span.name,
        kind=_KINDS[span.kind],
        start_time_unix_nano=_nanoseconds(span.start),
        end_time_unix_nano=_nanoseconds(span.end),
        attributes=_attributes(span.attributes),
    )
    if span.error is not None:
        made.status.code = trace_pb2.Status.STATUS_CODE_ERROR
        made.status.message = span.error
    return made


def _attributes(values: Attributes) -> list[KeyValue]:
    return [KeyValue(key=key, value=_any(value)) for key, value in values.items()]


def _any(value: str | float | bool) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(string_value=value)


def _nanoseconds(at: datetime) -> int:
    since = at - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
