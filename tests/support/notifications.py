"""A sender that answers as it is told, and all of webhooks over a store."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from lpmos.core.audit.chain import AuditChain
from lpmos.core.clock import Clock
from lpmos.core.duties import Duty
from lpmos.core.fleet import Fleet
from lpmos.core.notifications.deliveries import Deliveries, DeliverySink
from lpmos.core.notifications.duty import DeliveryDuty
from lpmos.core.notifications.payload import Payloads
from lpmos.core.notifications.webhooks import Letter, Sender, Webhooks, webhook_documents
from lpmos.core.secrets.box import SecretBox
from lpmos.model.audit import AuditEvent, new_event_id
from lpmos.model.webhook import Attempt, Outcome
from lpmos.store import keys, records
from lpmos.store.api import Leadership, Store
from lpmos.store.mirror import Mirror
from tests.support.builders import actor
from tests.support.polling import until
from tests.support.secret_keys import KeptKeys

C = TypeVar("C", bound=Clock)

TIMEOUT_S = 20.0
LOOK_S = 0.01


class ToldSender:
    """Takes every letter; `answer` says what comes of each, `hold` keeps them on their way."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.letters: list[Letter] = []
        self.answer: Callable[[Letter], Outcome] = self.accepted
        self.hold: asyncio.Event | None = None
        self.on_their_way = 0
        self.most_on_their_way = 0
        self.refused_urls: frozenset[str] = frozenset()

    def accepted(self, letter: Letter | None = None) -> Outcome:
        """The receiver has it."""
        return Outcome(attempt=Attempt(at=self._clock(), duration_ms=1, status=200), accepted=True)

    def refused(self, status: int = 500, *, retry_after_s: float | None = None) -> Outcome:
        """The receiver has it not."""
        attempt = Attempt(at=self._clock(), duration_ms=1, status=status)
        return Outcome(attempt=attempt, gone=status == 410, retry_after_s=retry_after_s)

    async def refusal(self, url: str, tenant: str | None) -> str | None:
        return "is refused" if url in self.refused_urls else None

    async def send(self, letter: Letter) -> Outcome:
        self.letters.append(letter)
        self.on_their_way += 1
        self.most_on_their_way = max(self.most_on_their_way, self.on_their_way)
        try:
            if self.hold:
                await self.hold.wait()
            return self.answer(letter)
        finally:
            self.on_their_way -= 1

    @property
    def message_ids(self) -> list[str]:
        """The id of each letter, as they were sent."""
        return [letter.message_id for letter in self.letters]


class Notifications(Generic[C]):
    """Webhooks, deliveries and who sends them, as one control plane has them."""

    def __init__(self, store: Store, clock: C, sender: Sender | None = None) -> None:
        self.store = store
        self.clock = clock
        self.told = ToldSender(clock)
        self.mirror = Mirror(store, keys.ROOT)
        self.fleet = Fleet(self.mirror)
        box = SecretBox(KeptKeys().ring)
        documents = webhook_documents(store, self.mirror, clock)
        self.webhooks = Webhooks(documents, sender or self.told, box, clock)
        self.deliveries = Deliveries(store, self.mirror, clock)
        payloads = Payloads(self.fleet, "https://lpmos.example.com")
        self.sink = DeliverySink(documents, self.deliveries.index, payloads, clock)
        self.chain = AuditChain(store, self.mirror, clock, sinks=[self.sink])
        self.duty = DeliveryDuty(
            store, self.deliveries, self.webhooks, clock, chance=lambda: 0.5, look_s=LOOK_S
        )

    @property
    def duties(self) -> list[Duty]:
        """What the elected one does."""
        return [self.chain, self.duty]

    async def tell(self, action: str = "task.completed", **fields: object) -> AuditEvent:
        """Store an event as a change does."""
        now = self.clock()
        event = AuditEvent(
            event_id=new_event_id(now), at=now, action=action, actor=actor(),
            target=str(fields.pop("target", "task/1")), **fields,  # type: ignore[arg-type]
        )  # fmt: skip
        await self.store.put(keys.event(event.event_id), records.encode(event))
        return event

    async def deliver(self, webhook_id: str, action: str = "task.completed") -> AuditEvent:
        """Make a delivery of a new event, without the audit log in between."""
        event = AuditEvent(
            event_id=new_event_id(self.clock()), at=self.clock(), action=action, actor=actor(),
            target="task/1",
        )  # fmt: skip
        operations = [each for each in self.sink.operations(event) if f"/{webhook_id}/" in each.key]
        done = await self.store.txn([], operations)
        await self.mirror.wait_for(done.revision)
        return event

    async def until_waiting(self, webhook_id: str, count: int) -> None:
        """Wait until this many deliveries of a webhook wait."""

        async def reached() -> bool:
            return self.deliveries.index.waiting(webhook_id) == count

        await until(reached, TIMEOUT_S)

    async def until_sent(self, count: int) -> None:
        """Wait until the sender was given this many letters."""

        async def reached() -> bool:
            return len(self.told.letters) >= count

        await until(reached, TIMEOUT_S)


async def leading(store: Store, name: str = "one", ttl_s: int = 10) -> Leadership:
    """The leadership of the control planes."""
    async with asyncio.timeout(TIMEOUT_S):
        return await store.elect("control-plane", name, ttl_s)
