"""Which delivery is next: webhooks take turns, and one that fails holds no other up."""

from datetime import UTC, datetime, timedelta

import msgspec

from lpmos.core.documents import Held
from lpmos.core.notifications.queue import AT_ONCE, PER_WEBHOOK, DeliveryQueue
from lpmos.model.webhook import Delivery, DeliveryState

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)


def held(webhook_id: str, number: int, *, due_s: float = 0, revision: int = 1) -> Held[Delivery]:
    delivery = Delivery(
        webhook_id=webhook_id,
        event_id=f"{number:04}",
        type="task.failed",
        payload=msgspec.Raw(b"{}"),
        created_at=NOW,
        next_at=NOW + timedelta(seconds=due_s),
        give_up_at=LATER,
    )
    return Held(f"{webhook_id}/{number:04}", delivery, revision)


def queue_of(*deliveries: Held[Delivery]) -> DeliveryQueue:
    queue = DeliveryQueue()
    for each in deliveries:
        queue.put(each.name, each)
    return queue


def taken(queue: DeliveryQueue, enabled: set[str], now: datetime = LATER) -> list[str]:
    names = []
    while (each := queue.next(now, enabled)) is not None:
        names.append(each.name)
    return names


def test_queue_webhooks_take_turns_and_the_longest_due_goes_first() -> None:
    queue = queue_of(held("a", 2, due_s=2), held("a", 1, due_s=1), held("b", 1, due_s=5))
    assert taken(queue, {"a", "b"}) == ["a/0001", "b/0001", "a/0002"]


def test_queue_what_is_not_due_waits() -> None:
    queue = queue_of(held("a", 1, due_s=30))
    assert queue.next(NOW, {"a"}) is None
    assert queue.due_at({"a"}) == NOW + timedelta(seconds=30)


def test_queue_disabled_webhook_waits() -> None:
    queue = queue_of(held("a", 1))
    assert queue.next(LATER, set()) is None
    assert queue.due_at(set()) is None
    assert taken(queue, {"a"}) == ["a/0001"]


def test_queue_one_webhook_has_only_so_many_on_their_way() -> None:
    queue = queue_of(*(held("a", number) for number in range(20)), held("b", 1))
    assert len(taken(queue, {"a", "b"})) == PER_WEBHOOK + 1


def test_queue_webhook_that_failed_has_one_on_its_way_until_one_arrives() -> None:
    queue = queue_of(*(held("a", number) for number in range(20)))
    first = queue.next(LATER, {"a"})
    assert first is not None
    queue.done(first, failed=True)
    second = queue.next(LATER, {"a"})
    assert second is not None
    assert queue.next(LATER, {"a"}) is None
    queue.done(second, failed=False)
    assert len(taken(queue, {"a"})) == PER_WEBHOOK


def test_queue_all_webhooks_have_only_so_many_on_their_way() -> None:
    queue = queue_of(*(held(f"w{number}", 1) for number in range(AT_ONCE + 50)))
    enabled = {f"w{number}" for number in range(AT_ONCE + 50)}
    assert len(taken(queue, enabled)) == AT_ONCE


def test_queue_tried_delivery_is_next_again_only_in_a_newer_version() -> None:
    queue = queue_of(held("a", 1))
    first = queue.next(LATER, {"a"})
    assert first is not None
    queue.done(first, failed=True)
    assert queue.next(LATER, {"a"}) is None
    queue.put("a/0001", held("a", 1, revision=2))
    assert taken(queue, {"a"}) == ["a/0001"]


def test_queue_newer_version_that_came_during_the_try_is_next_after_it() -> None:
    queue = queue_of(held("a", 1))
    first = queue.next(LATER, {"a"})
    assert first is not None
    queue.put("a/0001", held("a", 1, revision=2))
    assert queue.next(LATER, {"a"}) is None
    queue.done(first, failed=False)
    again = queue.next(LATER, {"a"})
    assert again is not None
    assert again.revision == 2


def test_queue_delivery_that_was_sent_or_is_gone_is_left_out() -> None:
    one, two = held("a", 1), held("a", 2)
    queue = queue_of(one, two)
    sent = msgspec.structs.replace(one.document, state=DeliveryState.SENT)
    queue.put(one.name, Held(one.name, sent, 2))
    queue.put(two.name, None)
    assert taken(queue, {"a"}) == []
