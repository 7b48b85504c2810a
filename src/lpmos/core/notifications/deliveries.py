"""Deliveries: made from events in the very transaction that takes the event, then sent and kept.

`DeliverySink` is asked for each event by whoever takes events into the audit log; so an event has
its deliveries exactly once, whichever control plane leads. `DeliveryIndex` has them by webhook, in
memory. What sends them is `lpmos.core.notifications.duty`.
"""

from collections.abc import Iterator, Sequence

import structlog

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.notifications.failing import Lines
from lpmos.core.notifications.payload import Payloads
from lpmos.model.audit import Actor, AuditEvent
from lpmos.model.errors import Conflict, NotFound
from lpmos.model.webhook import Delivery, DeliveryState, Webhook, new_delivery, pending_again
from lpmos.store import keys, records
from lpmos.store.api import Operation, Put, Store
from lpmos.store.mirror import Mirror

log = structlog.get_logger()

PREFIX = keys.control("deliveries")
OPERATIONS_LIMIT = 50
"""The most deliveries of one event; webhooks are limited so that it is never reached."""

WAITING_LIMIT = 5_000
"""How many may wait for one webhook; what comes then is failed at once, and may be sent by hand."""


class DeliveryIndex:
    """Every delivery by its webhook, and how many of them wait."""

    def __init__(self, documents: Documents[Delivery]) -> None:
        self._by_webhook: dict[str, dict[str, Held[Delivery]]] = {}
        self._waiting: dict[str, set[str]] = {}
        documents.subscribe(self._apply)

    def of(self, webhook_id: str, state: DeliveryState | None = None) -> list[Held[Delivery]]:
        """The deliveries of a webhook, all or those in one state, the newest event first."""
        found = self._by_webhook.get(webhook_id, {})
        names = sorted(found, reverse=True)
        return [found[name] for name in names if state in (None, found[name].document.state)]

    def webhooks(self) -> list[str]:
        """The ids of all webhooks that have deliveries."""
        return list(self._by_webhook)

    def waiting(self, webhook_id: str) -> int:
        """How many deliveries of a webhook are pending."""
        return len(self._waiting.get(webhook_id, ()))

    def all_waiting(self) -> Iterator[Held[Delivery]]:
        """Every pending delivery."""
        return iter(
            [self._by_webhook[key][name] for key, names in self._waiting.items() for name in names]
        )

    def _apply(self, name: str, held: Held[Delivery] | None) -> None:
        webhook_id = name.partition("/")[0]
        found = self._by_webhook.setdefault(webhook_id, {})
        waiting = self._waiting.setdefault(webhook_id, set())
        found.pop(name, None)
        waiting.discard(name)
        if held is not None:
            found[name] = held
            if held.document.state is DeliveryState.PENDING:
                waiting.add(name)
        if not found:
            del self._by_webhook[webhook_id]
        if not waiting:
            del self._waiting[webhook_id]


class DeliverySink:
    """Makes the deliveries of an event, as operations of the transaction that takes the event."""

    def __init__(
        self,
        webhooks: Documents[Webhook],
        index: DeliveryIndex,
        payloads: Payloads,
        clock: Clock,
    ) -> None:
        """`payloads` makes what receivers get of an event."""
        self._webhooks = webhooks
        self._index = index
        self._payloads = payloads
        self._clock = clock
        self._lines = Lines()
        webhooks.subscribe(self._forget_deleted)

    def operations(self, event: AuditEvent) -> Sequence[Operation]:
        """One delivery for each webhook that wants the event."""
        wanting = [held.document for held in self._webhooks.all() if held.document.wants(event)]
        if not wanting:
            return ()
        payload = self._payloads(event)
        return [self._operation(webhook, event, payload) for webhook in wanting[:OPERATIONS_LIMIT]]

    def _operation(self, webhook: Webhook, event: AuditEvent, payload: bytes) -> Put:
        full = self._index.waiting(webhook.webhook_id) >= WAITING_LIMIT
        now = self._clock()
        if full and (count := self._lines.count(webhook.webhook_id, now)) is not None:
            log.warning(
                "too many deliveries wait",
                webhook=webhook.name,
                event_id=event.event_id,
                not_tried=count,
            )
        delivery = new_delivery(
            webhook, event, payload, now, full=full, traceparent=self._payloads.traceparent(event)
        )
        return Put(PREFIX + delivery_name(delivery), records.encode(delivery))

    def _forget_deleted(self, webhook_id: str, held: Held[Webhook] | None) -> None:
        if held is None:
            self._lines.forget(webhook_id)


class Deliveries:
    """All deliveries; people see and repeat those of the webhooks that they may see."""

    def __init__(self, store: Store, mirror: Mirror, clock: Clock) -> None:
        self.documents: Documents[Delivery] = Documents(
            store, mirror, clock, prefix=PREFIX, kind=Delivery, noun="delivery"
        )
        self.index = DeliveryIndex(self.documents)
        self._clock = clock

    def page(
        self, webhook_id: str, state: DeliveryState | None, limit: int, offset: int
    ) -> tuple[list[Held[Delivery]], int]:
        """One page of a webhook's deliveries, the newest event first, and how many there are."""
        found = self.index.of(webhook_id, state)
        return found[offset : offset + limit], len(found)

    async def redeliver(self, webhook: Webhook, event_id: str, *, by: Actor) -> Held[Delivery]:
        """Send it again, or now where it waits, with the id that it had.

        Raises:
            NotFound: the webhook has no delivery of this event (any more).
            Conflict: the webhook is disabled.
        """
        if not webhook.enabled:
            raise Conflict("the webhook is disabled; enable it first")
        if "/" in event_id or not event_id:
            raise NotFound(f"there is no delivery {event_id[:64]}")
        now = self._clock()
        return await self.documents.change(
            f"{webhook.webhook_id}/{event_id}",
            lambda delivery: pending_again(delivery, now),
            by=by,
            verb="redelivered",
        )


def delivery_name(delivery: Delivery) -> str:
    """The name of a delivery in its collection."""
    return f"{delivery.webhook_id}/{delivery.event_id}"
