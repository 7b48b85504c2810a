"""Which delivery is to be tried next, of many webhooks that shall not hold each other up.

The rule: at most `AT_ONCE` deliveries are on their way, at most `PER_WEBHOOK` to one webhook. Of a
webhook whose newest try was in vain none is begun before the time that `Backoffs` says, and then
only one. Webhooks take turns; within one what is due longest goes first: order is not promised.
"""

import heapq
from collections import Counter
from datetime import datetime

from lpmos.core.documents import Held
from lpmos.core.notifications.failing import Backoffs, Failing
from lpmos.model.webhook import Delivery, DeliveryState, Outcome

AT_ONCE = 128
PER_WEBHOOK = 4


class DeliveryQueue:
    """The pending deliveries of one term of leadership."""

    def __init__(self, backoffs: Backoffs) -> None:
        """`backoffs` knows which webhooks fail; it is told what comes of each try."""
        self._backoffs = backoffs
        self._heaps: dict[str, list[tuple[datetime, str, int]]] = {}
        self._newest: dict[str, Held[Delivery]] = {}
        self._in_flight: dict[str, tuple[int, Failing | None]] = {}
        self._per_webhook: Counter[str] = Counter()
        self._turn = 0

    def put(self, name: str, held: Held[Delivery] | None) -> None:
        """Take in a delivery as it is now; None: it is gone."""
        if held is None or held.document.state is not DeliveryState.PENDING:
            self._newest.pop(name, None)
            return
        self._newest[name] = held
        if _started_anew(held.document):
            self._backoffs.ask(held.document.webhook_id)
        if name not in self._in_flight:
            self._push(held)

    def next(self, now: datetime, enabled: set[str]) -> Held[Delivery] | None:
        """A delivery to be tried now, of an enabled webhook; it is in flight until `done`."""
        if len(self._in_flight) >= AT_ONCE:
            return None
        webhooks = list(self._heaps)
        for number in range(len(webhooks)):
            webhook_id = webhooks[(self._turn + number) % len(webhooks)]
            at = self._due_at(webhook_id) if webhook_id in enabled else None
            if at is not None and at <= now:
                self._turn += number + 1
                return self._take(webhook_id)
        return None

    def done(self, held: Held[Delivery], outcome: Outcome | None, now: datetime) -> None:
        """A try has ended, or was not made (None).

        Where its delivery is pending in a newer version, that one is queued.
        """
        webhook_id = held.document.webhook_id
        tried, before = self._in_flight.pop(held.name)
        self._per_webhook[webhook_id] -= 1
        if outcome is not None:
            self._backoffs.ended(webhook_id, before, outcome, now)
        newest = self._newest.get(held.name)
        if newest is not None and newest.revision != tried:
            self._push(newest)
            if _started_anew(newest.document):
                self._backoffs.ask(webhook_id)

    def due_at(self, enabled: set[str]) -> datetime | None:
        """When the first of those that may be tried is due; None where there is none."""
        times = [
            at
            for webhook_id in list(self._heaps)
            if webhook_id in enabled and (at := self._due_at(webhook_id)) is not None
        ]
        return min(times, default=None)

    def _due_at(self, webhook_id: str) -> datetime | None:
        """When the webhook's next try may be; None: it has nothing, or enough on its way."""
        at = None if self._is_busy(webhook_id) else self._head(webhook_id)
        until = self._backoffs.until(webhook_id)
        return at if at is None or until is None else max(at, until)

    def _is_busy(self, webhook_id: str) -> bool:
        allowed = 1 if self._backoffs.of(webhook_id) else PER_WEBHOOK
        return self._per_webhook[webhook_id] >= allowed

    def _push(self, held: Held[Delivery]) -> None:
        heap = self._heaps.setdefault(held.document.webhook_id, [])
        heapq.heappush(heap, (held.document.next_at, held.name, held.revision))

    def _head(self, webhook_id: str) -> datetime | None:
        """When the webhook's first delivery is due; rows that are out of date are dropped."""
        heap = self._heaps.get(webhook_id, [])
        while heap:
            at, name, revision = heap[0]
            newest = self._newest.get(name)
            if newest and newest.revision == revision and name not in self._in_flight:
                return at
            heapq.heappop(heap)
        self._heaps.pop(webhook_id, None)
        return None

    def _take(self, webhook_id: str) -> Held[Delivery]:
        _, name, revision = heapq.heappop(self._heaps[webhook_id])
        self._in_flight[name] = (revision, self._backoffs.begun(webhook_id))
        self._per_webhook[webhook_id] += 1
        return self._newest[name]


def _started_anew(delivery: Delivery) -> bool:
    """Whether a person made it pending again, and it was not tried since."""
    return delivery.tries == 0 and bool(delivery.attempts)
