"""Sends the trace of each task that ends; one of the duties of the elected control plane.

The rule: nobody waits for a collector. Tasks that ended wait in memory, bounded, the oldest leave
first and are counted; a new leader begins with those of the last minutes, which may be sent twice
and are one all the same, for their ids are.
"""

import asyncio
from collections import deque
from datetime import timedelta

import httpx
import structlog

from lpmos.control.traces.otlp import CollectorAway, Refused, encode, send
from lpmos.core.clock import Clock
from lpmos.core.evidence import seen_of
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.core.taskindex import TaskQuery
from lpmos.model.lifecycle import FINAL
from lpmos.model.task import Task
from lpmos.model.trace import Span, spans
from lpmos.store.api import Leadership

WAITING_LIMIT = 10_000
AT_ONCE = 100
AGAIN = timedelta(minutes=10)
"""What ended so long before a control plane began to lead is sent once more."""
AGAIN_LIMIT = 1_000
RETRY_S = 5.0
LONGEST_RETRY_S = 60.0

log = structlog.get_logger()


class TraceDuty:
    """Keeps one collector told."""

    def __init__(self, fleet: Fleet, clock: Clock, url: str, *, retry_s: float = RETRY_S) -> None:
        """`url` is the collector's, whole: `http://collector:4318/v1/traces`.

        One that is away is asked again after `retry_s`, then after longer and longer.
        """
        self._fleet = fleet
        self._clock = clock
        self._url = url
        self._retry_s = retry_s
        self._waiting: deque[tuple[Span, ...]] = deque()
        self._news = asyncio.Event()
        self.sent = 0
        self.dropped = 0
        """Traces that no collector got: too many waited, or it refused them."""

    async def lead(self, leadership: Leadership) -> None:
        """Do it until cancelled."""
        unsubscribe = self._fleet.subscribe(self._take)
        try:
            self._take_latest()
            async with httpx.AsyncClient() as client:
                await self._send(client)
        finally:
            unsubscribe()

    def _take(self, change: TaskChange) -> None:
        before, row = change.row_before, change.row
        if row is None or before is None or before.task_id != row.task_id:
            return
        ended = row.finished and not before.finished
        if ended and (task := self._fleet.task(row.task_id)):
            self._add(task)

    def _take_latest(self) -> None:
        query = TaskQuery(statuses=FINAL, sort="-updated_at", limit=AGAIN_LIMIT)
        since = self._clock() - AGAIN
        for row in reversed(self._fleet.tasks(query)[0]):
            if row.updated_at >= since and (task := self._fleet.task(row.task_id)):
                self._add(task)

    def _add(self, task: Task) -> None:
        if len(self._waiting) >= WAITING_LIMIT:
            self._waiting.popleft()
            self.dropped += 1
        self._waiting.append(spans(task, seen_of(self._fleet, task)))
        self._news.set()

    async def _send(self, client: httpx.AsyncClient) -> None:
        retry_s = self._retry_s
        while True:
            self._news.clear()
            if not self._waiting:
                await self._news.wait()
            traces = [self._waiting[number] for number in range(min(AT_ONCE, len(self._waiting)))]
            try:
                await send(client, self._url, encode([span for each in traces for span in each]))
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
            else:
                self.sent += len(traces)
            retry_s = self._retry_s
            self._forget(traces)

    def _forget(self, traces: list[tuple[Span, ...]]) -> None:
        """Those that were handled; the oldest may have been dropped meanwhile."""
        for trace in traces:
            if self._waiting and self._waiting[0] is trace:
                self._waiting.popleft()
