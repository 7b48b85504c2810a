"""Sending deliveries: what the elected control plane does, so that nothing is sent twice or lost.

Before a try the store is asked, under the leadership's fence, whether the delivery still stands as
it is known; after it the result is written under the same fence. So a delivery is tried again only
where its result was not written: when a leader ends in the middle of it. It then has the same
message id, by which a receiver knows that it is the same.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.documents import Held
from lpmos.core.journal import told
from lpmos.core.notifications.deliveries import PREFIX, Deliveries
from lpmos.core.notifications.failing import Backoffs, Lines
from lpmos.core.notifications.queue import DeliveryQueue
from lpmos.core.notifications.webhooks import PREFIX as WEBHOOKS
from lpmos.core.notifications.webhooks import Webhooks
from lpmos.model.audit import SYSTEM
from lpmos.model.webhook import (
    Delivery,
    DeliveryState,
    Outcome,
    Webhook,
    after_attempt,
    given_up,
)
from lpmos.store import records
from lpmos.store.api import (
    Ambiguous,
    CasConflict,
    Compare,
    Delete,
    Get,
    Leadership,
    Operation,
    Put,
    Store,
    Unavailable,
)

log = structlog.get_logger()

LOOK_S = 1.0
"""How often the clock is looked at where nothing is heard."""

RETRY_S = 1.0
TIDY_S = 60.0
TIDIED_AT_ONCE = 50
KEPT_FOR = timedelta(days=7)
KEPT_PER_WEBHOOK = 1_000
DISABLED = "not tried: the webhook is disabled"
OVERDUE = "given up: the receiver has failed for too long"
GONE = "the receiver answered 410 Gone: it wants nothing any more"


class DeliveryDuty:
    """Sends what is pending, and deletes what is old."""

    def __init__(
        self,
        store: Store,
        deliveries: Deliveries,
        webhooks: Webhooks,
        clock: Clock,
        *,
        chance: Callable[[], float] = random.random,
        look_s: float = LOOK_S,
    ) -> None:
        """`chance` spreads the tries; `look_s` is how often the clock is looked at."""
        self._store = store
        self._deliveries = deliveries
        self._index = deliveries.index
        self._webhooks = webhooks
        self._clock = clock
        self._chance = chance
        self._look_s = look_s
        self._backoffs = Backoffs(chance)
        self._lines = Lines()
        self._told: set[str] = set()
        self.results: Counter[tuple[str, str]] = Counter()
        """How many tries of this control plane had which result: (http or service, result)."""

    async def lead(self, leadership: Leadership) -> None:
        """Send and tidy until cancelled.

        Raises:
            CasConflict: another control plane leads.
        """
        sending = asyncio.create_task(self._send_all(leadership))
        tidying = asyncio.create_task(self._tidy_all(leadership))
        await _all_or_none((sending, tidying))

    async def _send_all(self, leadership: Leadership) -> None:
        self._backoffs = Backoffs(self._chance)
        queue = DeliveryQueue(self._backoffs)
        changed = asyncio.Event()

        def heard(name: str, held: Held[Delivery] | None) -> None:
            queue.put(name, held)
            changed.set()

        def webhook_changed(webhook_id: str, held: Held[Webhook] | None) -> None:
            self._backoffs.forget(webhook_id)
            if held is None:
                self._lines.forget(webhook_id)
                self._told.discard(webhook_id)
            changed.set()

        unsubscribe = (
            self._deliveries.documents.subscribe(heard),
            self._webhooks.documents.subscribe(webhook_changed),
        )
        for held in self._index.all_waiting():
            queue.put(held.name, held)
        tries: set[asyncio.Task[None]] = set()
        try:
            while True:
                changed.clear()
                enabled = self._enabled()
                while (due := queue.next(self._clock(), enabled)) is not None:
                    tries.add(asyncio.create_task(self._try(leadership, queue, due)))
                tries = await self._wait(queue, enabled, tries, changed)
        finally:
            for end in unsubscribe:
                end()
            await _cancelled(tries)

    async def _wait(
        self,
        queue: DeliveryQueue,
        enabled: set[str],
        tries: set[asyncio.Task[None]],
        changed: asyncio.Event,
    ) -> set[asyncio.Task[None]]:
        """Wait until there may be something to do; the tries that go on."""
        wait_s = self._look_s
        if (due_at := queue.due_at(enabled)) is not None:
            wait_s = min(max((due_at - self._clock()).total_seconds(), 0.0), wait_s)
        hearing = asyncio.create_task(changed.wait())
        try:
            done, _ = await asyncio.wait(
                (hearing, *tries), timeout=wait_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            hearing.cancel()
            await asyncio.gather(hearing, return_exceptions=True)
        for ended in done - {hearing}:
            ended.result()
        return tries - done

    def _enabled(self) -> set[str]:
        return {held.name for held in self._webhooks.documents.all() if held.document.enabled}

    async def _try(
        self, leadership: Leadership, queue: DeliveryQueue, held: Held[Delivery]
    ) -> None:
        outcome: Outcome | None = None
        try:
            webhook = self._webhooks.documents.get(held.document.webhook_id)
            if webhook is None or not await self._stands(leadership, held):
                return
            delivery = held.document
            outcome = await self._webhooks.send(
                webhook.document,
                delivery.event_id,
                bytes(delivery.payload),
                traceparent=delivery.traceparent,
            )
            await self._record(leadership, held.name, webhook.document, outcome)
        finally:
            queue.done(held, outcome, self._clock())

    async def _stands(self, leadership: Leadership, held: Held[Delivery]) -> bool:
        """Whether the store has the delivery as it is known here, and this one leads.

        Raises:
            CasConflict: another control plane leads.
        """
        key = PREFIX + held.name
        unchanged = Compare(key, "mod", "=", held.revision)
        while True:
            try:
                done = await self._store.txn([*leadership.fence, unchanged], [Get(key)])
                if not done.succeeded:
                    await self._check_leading(leadership)
                return done.succeeded and not leadership.lost.is_set()
            except (Unavailable, Ambiguous) as error:
                log.warning("cannot send now", reason=str(error), wait_s=RETRY_S)
                await asyncio.sleep(RETRY_S)

    async def _record(
        self, leadership: Leadership, name: str, webhook: Webhook, outcome: Outcome
    ) -> None:
        """Write what came of a try, however often the store has to be asked."""
        while True:
            try:
                after = await self._written(leadership, name, outcome)
                break
            except (Unavailable, Ambiguous) as error:
                log.warning("cannot write a result now", reason=str(error), wait_s=RETRY_S)
                await asyncio.sleep(RETRY_S)
        if after is None:
            return
        result = "retry" if after.state is DeliveryState.PENDING else after.state.value
        self.results["http" if webhook.is_http else "service", result] += 1
        self._tell(webhook, after, outcome)

    def _tell(self, webhook: Webhook, after: Delivery, outcome: Outcome) -> None:
        """Log that a webhook begins to fail, goes on failing (not often), and has recovered."""
        if outcome.accepted:
            if webhook.webhook_id in self._told:
                self._told.discard(webhook.webhook_id)
                log.info("notifications arrive again", webhook=webhook.name)
            return
        count = self._lines.count(webhook.webhook_id, self._clock())
        if count is None:
            return
        self._told.add(webhook.webhook_id)
        log.warning(
            "notifications do not arrive",
            webhook=webhook.name,
            event_id=after.event_id,
            status=outcome.attempt.status,
            reason=outcome.attempt.error,
            failed_tries=count,
            waiting=self._index.waiting(webhook.webhook_id),
        )

    async def _written(
        self, leadership: Leadership, name: str, outcome: Outcome
    ) -> Delivery | None:
        """The delivery with the try in it; None where it is gone, or has it already."""
        key = PREFIX + name
        while True:
            kv = await self._store.get(key)
            if kv is None:
                return None
            before = records.decode(kv, Delivery)
            if outcome.attempt in before.attempts:
                return None
            after = after_attempt(before, outcome, self._clock(), self._chance())
            compare = [*leadership.fence, Compare(key, "mod", "=", kv.mod_revision)]
            operations: list[Operation] = [Put(key, records.encode(after, kv.value))]
            if outcome.gone:
                await self._add_disabling(after.webhook_id, compare, operations)
            if (await self._store.txn(compare, operations)).succeeded:
                return after
            await self._check_leading(leadership)

    async def _add_disabling(
        self, webhook_id: str, compare: list[Compare], operations: list[Operation]
    ) -> None:
        """Have the transaction disable the webhook too, and tell of it."""
        key = WEBHOOKS + webhook_id
        kv = await self._store.get(key)
        if kv is None or not (before := records.decode(kv, Webhook)).enabled:
            return
        after = msgspec.structs.replace(before, enabled=False, disabled_reason=GONE)
        event = told(
            "webhook.disabled",
            f"webhook/{webhook_id}",
            SYSTEM,
            self._clock(),
            tenant=before.tenant,
            before=before.audited(),
            after=after.audited(),
            reason=GONE,
        )
        compare.append(Compare(key, "mod", "=", kv.mod_revision))
        operations += [Put(key, records.encode(after, kv.value)), event]

    async def _check_leading(self, leadership: Leadership) -> None:
        (first, *_) = leadership.fence
        if not (await self._store.txn(leadership.fence, [Get(first.key)])).succeeded:
            raise CasConflict("another control plane leads; it sends the notifications")

    async def _tidy_all(self, leadership: Leadership) -> None:
        while True:
            try:
                await self.tidy(leadership)
            except (Unavailable, Ambiguous) as error:
                log.warning("cannot tidy deliveries now", reason=str(error))
            await asyncio.sleep(TIDY_S)

    async def tidy(self, leadership: Leadership) -> None:
        """Delete what is old or has no webhook; give up what waited too long in vain.

        Raises:
            CasConflict: another control plane leads.
        """
        for webhook_id in self._index.webhooks():
            webhook = self._webhooks.documents.get(webhook_id)
            if webhook is None:
                await self._delete_orphans(leadership, webhook_id)
                continue
            await self._delete(leadership, self._outlived(webhook_id))
            if not webhook.document.enabled:
                await self._give_up(leadership, webhook_id, DISABLED)
            elif self._backoffs.until(webhook_id) is not None:
                await self._give_up(leadership, webhook_id, OVERDUE)

    def _outlived(self, webhook_id: str) -> list[Held[Delivery]]:
        ended = [
            held
            for held in self._index.of(webhook_id)
            if held.document.state is not DeliveryState.PENDING
        ]
        oldest = self._clock() - KEPT_FOR
        return [
            held
            for number, held in enumerate(ended)
            if number >= KEPT_PER_WEBHOOK or (held.document.done_at or oldest) <= oldest
        ]

    async def _delete_orphans(self, leadership: Leadership, webhook_id: str) -> None:
        """Delete the deliveries of a webhook that the store has not got either."""
        none = Compare(WEBHOOKS + webhook_id, "mod", "=", 0)
        deliveries = Delete(f"{PREFIX}{webhook_id}/", prefix=True)
        if not (await self._store.txn([*leadership.fence, none], [deliveries])).succeeded:
            await self._check_leading(leadership)

    async def _delete(self, leadership: Leadership, outlived: Sequence[Held[Delivery]]) -> None:
        for first in range(0, len(outlived), TIDIED_AT_ONCE):
            part = outlived[first : first + TIDIED_AT_ONCE]
            compare = [Compare(PREFIX + held.name, "mod", "=", held.revision) for held in part]
            deletes = [Delete(PREFIX + held.name) for held in part]
            if not (await self._store.txn([*leadership.fence, *compare], deletes)).succeeded:
                await self._check_leading(leadership)

    async def _give_up(self, leadership: Leadership, webhook_id: str, why: str) -> None:
        now = self._clock()
        for held in self._index.of(webhook_id, DeliveryState.PENDING):
            if held.document.give_up_at > now:
                continue
            key = PREFIX + held.name
            after = given_up(held.document, why, now)
            unchanged = Compare(key, "mod", "=", held.revision)
            done = await self._store.txn(
                [*leadership.fence, unchanged], [Put(key, records.encode(after))]
            )
            if not done.succeeded:
                await self._check_leading(leadership)


async def _all_or_none(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Run all until one ends, then end the others; raises what ended it."""
    tasks = set(tasks)
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancelled(tasks)
    for task in done:
        task.result()


async def _cancelled(tasks: Iterable[asyncio.Task[None]]) -> None:
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
