"""What a machine's call does and logs belongs to the trace that its agent names; calls are spans.

A call that names none is of its task's trace, as soon as it is known whose it is: a boot script's,
and those of a distribution's own installer. The rule: machines call all the time, so only calls
that were slow or failed are sent, and no machine waits for that.
"""

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from aiohttp import web
from prometheus_client.registry import Collector

from lpmos.core.clock import Clock
from lpmos.core.traces.calls import Call, CallTraces, asked_and_in_trouble
from lpmos.core.tracing import called
from lpmos.model.errors import LpmosError
from lpmos.model.tracecontext import HEADER
from lpmos.region.answers import Handler
from lpmos.region.tftp_server import Find

_SERVER_ERROR = 500


class MachineTraces:
    """The traces of one region's calls; `run` sends them."""

    def __init__(self, url: str | None, clock: Clock, *, idc: str) -> None:
        """`url` is the collector's; without one nothing is made."""
        self._idc = idc
        self._outgoing = None
        self.collectors: Sequence[Collector] = ()
        """What is counted of them."""
        if url:
            from lpmos.core.traces.outgoing import (  # few regions send, and it loads much
                Outgoing,
                OutgoingCollector,
            )

            self._outgoing = Outgoing(url)
            self.collectors = (OutgoingCollector({"calls": self._outgoing}),)
        self._calls = CallTraces(clock, self._outgoing, worth=asked_and_in_trouble)

    async def run(self) -> None:
        """Send until cancelled; without a collector there is nothing to do."""
        if self._outgoing:
            await self._outgoing.run()

    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """Reads `traceparent`, a malformed one is ignored, and tells of each call."""

        @web.middleware
        async def join(request: web.Request, handler: Handler) -> web.StreamResponse:
            with called(request.headers.getall(HEADER, [])), self._calls.call() as call:
                if call is None:
                    return await handler(request)
                self._name(call, request)
                response = await handler(request)
                call.attributes["http.response.status_code"] = response.status
                if response.status >= _SERVER_ERROR:
                    call.error = str(response.status)
                return response

        return join

    def find(self, find: Find) -> Find:
        """What is found for who asks by TFTP, which has no headers."""

        async def join(name: str, ip: str, at: str) -> bytes | Path:
            with self._calls.call() as call:
                if call is None:
                    return await find(name, ip, at)
                call.name = "TFTP read"
                call.attributes = {"network.protocol.name": "tftp", "lpmos.idc": self._idc}
                try:
                    return await find(name, ip, at)
                except LpmosError as error:
                    call.error = error.code
                    raise

        return join

    def _name(self, call: Call, request: web.Request) -> None:
        """By the route, never by the path: what stands in it may be a secret."""
        resource = request.match_info.route.resource
        route = resource.canonical if resource else "unknown"
        call.name = f"{request.method} {route}"
        call.attributes = {
            "http.request.method": request.method,
            "http.route": route,
            "lpmos.idc": self._idc,
        }
