"""Traces on their way to a collector: one queue, bounded, the oldest leave first and are counted.

The rule: nobody waits for a collector, and one that is away is asked again, seldomer and seldomer;
whatever goes wrong with one ends nobody's work. The bounds are of spans, since one trace may have
hundreds; a trace goes or is dropped as a whole.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping
from itertools import accumulate, islice, takewhile

import httpx
import structlog
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.core.traces.otlp import CollectorAway, Refused, encode, send
from lpmos.model.trace import Span

WAITING_SPANS = 50_000
"""Of some 650 bytes each."""
SPANS_AT_ONCE = 2_000
"""Of one request; a trace that has more goes by itself."""
RETRY_S = 5.0
LONGEST_RETRY_S = 60.0

log = structlog.get_logger()


class Outgoing:
    """Traces, each the spans that go together."""

    def __init__(self, url: str, *, retry_s: float = RETRY_S) -> None:
        """`url` is the collector's, whole: `http://collector:4318/v1/traces`.

        One that is away is asked again after `retry_s`, then after longer and longer.
        """
        self._url = url
        self._retry_s = retry_s
        self._waiting: deque[tuple[Span, ...]] = deque()
        self._spans = 0
        self._under_way = 0
        """How many of the first are being sent: these are not dropped."""
        self._news = asyncio.Event()
        self.sent = 0
        self.dropped = 0
        """Traces that no collector got: too many waited, or it refused them."""

    @property
    def waiting(self) -> int:
        """How many are on their way."""
        return len(self._waiting)

    def add(self, trace: tuple[Span, ...]) -> None:
        """Send these spans some time."""
        self._waiting.append(trace)
        self._spans += len(trace)
        while self._spans > WAITING_SPANS and len(self._waiting) > self._under_way + 1:
            self._spans -= len(self._waiting[self._under_way])
            del self._waiting[self._under_way]
            self.dropped += 1
        self._news.set()

    async def run(self) -> None:
        """Send until cancelled; what waits then stays."""
        async with httpx.AsyncClient() as client:
            await self._send(client)

    async def _send(self, client: httpx.AsyncClient) -> None:
        retry_s = self._retry_s
        while True:
            self._news.clear()
            if not self._waiting:
                await self._news.wait()
            traces = self._next()
            try:
                await self._hand_over(client, traces)
            except CollectorAway as error:
                log.warning("traces wait", waiting=len(self._waiting), reason=str(error))
                await asyncio.sleep(retry_s)
                retry_s = min(2 * retry_s, LONGEST_RETRY_S)
                continue
            except Refused as error:
                log.error(  # noqa: TRY400 - what it said is all that is known
                    "traces are dropped", count=len(traces), reason=str(error)
                )
                self.dropped += len(traces)
            except Exception:  # a task's boundary: its part serves machines or people
                log.exception("traces are dropped", count=len(traces))
                self.dropped += len(traces)
            else:
                self.sent += len(traces)
            retry_s = self._retry_s
            for trace in traces:
                self._waiting.popleft()
                self._spans -= len(trace)

    def _next(self) -> list[tuple[Span, ...]]:
        """The oldest traces, as many as go at once, and one at least."""
        spans = accumulate(len(trace) for trace in self._waiting)
        fitting = sum(1 for _ in takewhile(lambda sum_: sum_ <= SPANS_AT_ONCE, spans))
        return list(islice(self._waiting, max(1, fitting)))

    async def _hand_over(self, client: httpx.AsyncClient, traces: list[tuple[Span, ...]]) -> None:
        """Send the oldest traces, which nothing displaces meanwhile; raises as `send`."""
        self._under_way = len(traces)
        spans = [span for each in traces for span in each]
        try:
            body = await asyncio.to_thread(encode, spans)  # 2,000 take some 15 ms
            await send(client, self._url, body)
        finally:
            self._under_way = 0


class OutgoingCollector(Collector):
    """How many traces went out, by what they are of."""

    def __init__(self, queues: Mapping[str, Outgoing]) -> None:
        self._queues = queues

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        sent = CounterMetricFamily(
            "lpmos_traces_sent", "Traces that a collector took", labels=["of"]
        )
        dropped = CounterMetricFamily(
            "lpmos_traces_dropped", "Traces that no collector got", labels=["of"]
        )
        waiting = GaugeMetricFamily(
            "lpmos_traces_waiting", "Traces that wait for a collector", labels=["of"]
        )
        for of, queue in self._queues.items():
            sent.add_metric([of], queue.sent)
            dropped.add_metric([of], queue.dropped)
            waiting.add_metric([of], queue.waiting)
        yield from (sent, dropped, waiting)
