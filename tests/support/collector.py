"""A real receiver of OTLP over HTTP, which keeps the spans that came."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.support.served import served


class Collector:
    """Takes what it is sent; `answers` are the statuses of the next answers, then 200."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1/traces"
        self.port = port
        self.answers: list[int] = []
        self.asked = 0
        self.spans: dict[bytes, list[Span]] = {}

    async def take(self, request: web.Request) -> web.Response:
        self.asked += 1
        assert request.content_type == "application/x-protobuf"
        if self.answers and (status := self.answers.pop(0)) != 200:
            return web.Response(status=status)
        sent = ExportTraceServiceRequest.FromString(await request.read())
        for resource in sent.resource_spans:
            names = {each.key: each.value.string_value for each in resource.resource.attributes}
            assert names["service.name"] == "lpmos"
            for span in resource.scope_spans[0].spans:
                self.spans.setdefault(span.trace_id, []).append(span)
        return web.Response()

    @asynccontextmanager
    async def receiving(self) -> AsyncIterator["Collector"]:
        app = web.Application()
        app.add_routes([web.post("/v1/traces", self.take)])
        async with served(app, port=self.port):
            yield self
