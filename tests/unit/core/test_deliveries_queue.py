"""Which delivery is next: webhooks take turns, and one that fails holds no other up."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import msgspec

from lpmos.core.documents import Held
from lpmos.core.notifications.failing import LINE_EVERY, Backoffs, Lines
from lpmos.core.notifications.queue import AT_ONCE, PER_WEBHOOK, DeliveryQueue
from lpmos.model.webhook import (
    LONGEST_PAUSE_S,
    Attempt,
    Delivery,
    DeliveryState,
    Outcome,
    after_attempt,
)

NOW = datetime(2026, 1, 2, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
SECOND = timedelta(seconds=1)


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


def outcome(*, accepted: bool, retry_after_s: float | None = None) -> Outcome:
    attempt = Attempt(at=NOW, duration_ms=1)
    return Outcome(attempt=attempt, accepted=accepted, retry_after_s=retry_after_s)


ARRIVED, REFUSED = outcome(accepted=True), outcome(accepted=False)


def queue_of(*deliveries: Held[Delivery]) -> DeliveryQueue:
    queue = DeliveryQueue(Backoffs(lambda: 0.5))
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
    queue.done(first, REFUSED, LATER)
    assert queue.next(LATER, {"a"}) is None
    assert queue.due_at({"a"}) == LATER + SECOND
    second = queue.next(LATER + SECOND, {"a"})
    assert second is not None
    assert queue.next(LATER + SECOND, {"a"}) is None
    queue.done(second, ARRIVED, LATER + SECOND)
    assert len(taken(queue, {"a"})) == PER_WEBHOOK


def test_queue_all_webhooks_have_only_so_many_on_their_way() -> None:
    queue = queue_of(*(held(f"w{number}", 1) for number in range(AT_ONCE + 50)))
    enabled = {f"w{number}" for number in range(AT_ONCE + 50)}
    assert len(taken(queue, enabled)) == AT_ONCE


def test_queue_tried_delivery_is_next_again_only_in_a_newer_version() -> None:
    queue = queue_of(held("a", 1))
    first = queue.next(LATER, {"a"})
    assert first is not None
    queue.done(first, REFUSED, NOW)
    assert queue.next(LATER, {"a"}) is None
    queue.put("a/0001", held("a", 1, revision=2))
    assert taken(queue, {"a"}) == ["a/0001"]


def test_queue_newer_version_that_came_during_the_try_is_next_after_it() -> None:
    queue = queue_of(held("a", 1))
    first = queue.next(LATER, {"a"})
    assert first is not None
    queue.put("a/0001", held("a", 1, revision=2))
    assert queue.next(LATER, {"a"}) is None
    queue.done(first, ARRIVED, LATER)
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


def test_queue_dead_webhook_is_tried_few_times_in_an_hour_and_all_arrive_after_it() -> None:
    queue = queue_of(*(held("a", number) for number in range(1_000)))
    now, tried_at = NOW, []
    while now < LATER:
        while (each := queue.next(now, {"a"})) is not None:
            tried_at.append(now)
            after = after_attempt(each.document, REFUSED, now, 0.5)
            queue.put(each.name, Held(each.name, after, each.revision + 1))
            queue.done(each, REFUSED, now)
        due_at = queue.due_at({"a"})
        assert due_at is not None
        now = due_at
    waits_s = [(b - a).total_seconds() for a, b in pairwise(tried_at)]
    assert waits_s[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert set(waits_s[9:]) == {LONGEST_PAUSE_S}
    assert len(tried_at) <= 21
    arrived = set()
    while (each := queue.next(now, {"a"})) is not None:
        arrived.add(each.name)
        queue.put(each.name, None)
        queue.done(each, ARRIVED, now)
    assert len(arrived) == 1_000


def test_queue_retry_after_counts_for_the_whole_webhook() -> None:
    queue = queue_of(held("a", 1), held("a", 2))
    first = queue.next(NOW, {"a"})
    assert first is not None
    queue.done(first, outcome(accepted=False, retry_after_s=900), NOW)
    assert queue.due_at({"a"}) == NOW + timedelta(seconds=900)


def test_queue_tries_begun_before_a_failure_neither_count_nor_reset() -> None:
    queue = queue_of(*(held("a", number) for number in range(9)))
    begun = [each for _ in range(PER_WEBHOOK) if (each := queue.next(NOW, {"a"}))]
    for each, result in zip(begun, (REFUSED, REFUSED, ARRIVED, REFUSED), strict=True):
        queue.done(each, result, NOW)
    assert queue.due_at({"a"}) == NOW + SECOND


def test_queue_late_retry_after_moves_the_time_on() -> None:
    queue = queue_of(*(held("a", number) for number in range(9)))
    first, second = queue.next(NOW, {"a"}), queue.next(NOW, {"a"})
    assert first is not None
    assert second is not None
    queue.done(first, REFUSED, NOW)
    queue.done(second, outcome(accepted=False, retry_after_s=60), NOW)
    assert queue.due_at({"a"}) == NOW + timedelta(seconds=60)


def test_queue_try_that_was_not_made_says_nothing() -> None:
    queue = queue_of(held("a", 1), held("a", 2), held("a", 3))
    first = queue.next(NOW, {"a"})
    assert first is not None
    queue.done(first, REFUSED, NOW)
    second = queue.next(NOW + SECOND, {"a"})
    assert second is not None
    queue.done(second, None, NOW + SECOND)
    assert taken(queue, {"a"}, NOW + SECOND) == ["a/0003"]


def test_queue_started_anew_by_a_person_has_one_tried_at_once() -> None:
    queue = queue_of(held("a", 1), held("a", 2), held("a", 3))
    first = queue.next(NOW, {"a"})
    assert first is not None
    queue.done(first, REFUSED, NOW)
    anew = msgspec.structs.replace(first.document, attempts=(REFUSED.attempt,))
    queue.put(first.name, Held(first.name, anew, 2))
    assert len(taken(queue, {"a"}, NOW)) == 1


def test_lines_are_one_a_minute_with_the_count_of_what_they_left_out() -> None:
    lines = Lines()
    assert lines.count("a", NOW) == 1
    assert [lines.count("a", NOW + SECOND) for _ in range(3)] == [None] * 3
    assert lines.count("b", NOW) == 1
    assert lines.count("a", NOW + LINE_EVERY) == 4
    lines.forget("a")
    assert lines.count("a", NOW + LINE_EVERY) == 1
