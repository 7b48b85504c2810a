"""What a webhook wants, and the life of a delivery: pure rules, every time given."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.audit import SYSTEM, AuditEvent
from lpmos.model.errors import InvalidInput
from lpmos.model.webhook import (
    ATTEMPTS_KEPT,
    GIVE_UP_AFTER,
    JITTER,
    LONGEST_RETRY_S,
    Attempt,
    Delivery,
    DeliveryState,
    NewWebhook,
    Outcome,
    Webhook,
    after_attempt,
    check_webhook,
    matches,
    new_delivery,
    parse_retry_after,
    pending_again,
    redacted,
    retry_delay_s,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EVENT = AuditEvent(
    event_id="20260102T030405.000000Z-0123456789ab",
    at=NOW,
    action="task.completed",
    actor=SYSTEM,
    target="task/1",
    idc="dc1",
    tenant="blue",
)


def webhook(**fields: Any) -> Webhook:
    whole = Webhook(
        webhook_id="ab" * 16,
        name="chat",
        url="sealed",
        shown_url="https://example.com/…",
        events=("task.*",),
        url_set_at=NOW,
        created_at=NOW,
        created_by="admin",
    )
    return msgspec.structs.replace(whole, **fields)


def delivery() -> Delivery:
    return new_delivery(webhook(), EVENT, b'{"type":"task.completed"}', NOW)


def outcome(at: datetime, **fields: Any) -> Outcome:
    return Outcome(attempt=Attempt(at=at, duration_ms=3, status=500), **fields)


@pytest.mark.parametrize(
    ("pattern", "action", "expected"),
    [
        ("task.completed", "task.completed", True),
        ("task.completed", "task.failed", False),
        ("task.*", "task.failed", True),
        ("task.*", "tasks.failed", False),
        ("task.*", "task", False),
        ("task.*", "task.bulk.created", True),
        ("*", "task.failed", True),
        ("*", "region.offline", True),
        ("*.created", "user.created", True),
        ("*.created", "user.deleted", False),
        ("task", "task.failed", False),
    ],
)
def test_pattern_names_actions_part_by_part(pattern: str, action: str, expected: bool) -> None:
    assert matches([pattern], action) is expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, True),
        ({"tenant": "blue"}, True),
        ({"tenant": "red"}, False),
        ({"idc": "dc1"}, True),
        ({"idc": "dc2"}, False),
        ({"enabled": False}, False),
        ({"events": ("task.failed", "region.*")}, False),
    ],
)
def test_webhook_wants_what_its_filters_let_through(fields: Any, expected: bool) -> None:
    assert webhook(**fields).wants(EVENT) is expected


def test_webhook_does_not_want_what_was_refused() -> None:
    assert not webhook(events=("*",)).wants(msgspec.structs.replace(EVENT, outcome="refused"))


def test_webhook_of_a_tenant_does_not_want_what_is_the_providers() -> None:
    assert not webhook(tenant="blue").wants(msgspec.structs.replace(EVENT, tenant=None))


def test_webhook_audited_has_nothing_sealed() -> None:
    shown = webhook(url="SEALED-A", secret="SEALED-B", previous_secret="SEALED-C").audited()
    assert "SEALED" not in repr(shown)
    assert shown["shown_url"] == "https://example.com/…"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:pass@example.com/hook/T0KEN?key=1", "https://example.com/…"),
        ("http://[2001:db8::1]:8080/x", "http://[2001:db8::1]:8080/…"),
        ("slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ", "slack://…"),
        ("mailto://me:secret@mail.example.com", "mailto://…"),
    ],
)
def test_redacted_shows_only_the_host_of_http(url: str, shown: str) -> None:
    assert redacted(url) == shown


@given(st.text(max_size=80))
def test_redacted_any_text_is_shown_cut_or_refused(text: str) -> None:
    for url in (text, f"https://{text}", f"https://host/{text}"):
        try:
            shown = redacted(url)
        except ValueError:
            continue
        assert shown.endswith("://…") or shown.endswith("/…")


def test_check_names_every_wrong_field() -> None:
    new = NewWebhook(name=" x", url="https://example.com", events=["task.x\n"], idc="tasks")
    with pytest.raises(InvalidInput) as refused:
        check_webhook(new)
    assert [problem.field for problem in refused.value.problems] == ["name", "events.0", "idc"]


def test_delivery_accepted_is_sent() -> None:
    sent = after_attempt(delivery(), outcome(NOW, accepted=True), NOW, 0.5)
    assert (sent.state, sent.tries, sent.done_at) == (DeliveryState.SENT, 1, NOW)


def test_delivery_refused_again_and_again_waits_longer_and_fails_after_a_day() -> None:
    now, waiting, waits = NOW, delivery(), []
    while waiting.state is DeliveryState.PENDING:
        waiting = after_attempt(waiting, outcome(now), now, 0.5)
        waits.append((waiting.next_at - now).total_seconds())
        now = max(waiting.next_at, now)
    assert waits[:7] == [5, 15, 45, 135, 405, 1215, 3645]
    assert max(waits) <= LONGEST_RETRY_S
    assert waiting.state is DeliveryState.FAILED
    assert waiting.done_at == NOW + GIVE_UP_AFTER
    assert waiting.tries == len(waits) == 14
    assert len(waiting.attempts) == ATTEMPTS_KEPT


def test_delivery_refused_by_one_who_is_gone_is_failed_at_once() -> None:
    failed = after_attempt(delivery(), outcome(NOW, gone=True), NOW, 0.5)
    assert failed.state is DeliveryState.FAILED


def test_delivery_asked_to_wait_longer_waits_so_long() -> None:
    waiting = after_attempt(delivery(), outcome(NOW, retry_after_s=600.0), NOW, 0.5)
    assert waiting.next_at == NOW + timedelta(minutes=10)


def test_delivery_asked_to_wait_less_keeps_its_own_pace() -> None:
    waiting = after_attempt(delivery(), outcome(NOW, retry_after_s=0.0), NOW, 0.5)
    assert waiting.next_at == NOW + timedelta(seconds=5)


def test_delivery_asked_to_wait_for_days_is_tried_a_last_time_before_it_is_given_up() -> None:
    waiting = after_attempt(delivery(), outcome(NOW, retry_after_s=1e6), NOW, 0.5)
    assert waiting.next_at == NOW + GIVE_UP_AFTER


def test_delivery_pending_again_has_a_day_and_keeps_what_was_tried() -> None:
    failed = after_attempt(delivery(), outcome(NOW, gone=True), NOW, 0.5)
    later = NOW + timedelta(days=3)
    again = pending_again(failed, later)
    assert (again.state, again.tries, again.next_at) == (DeliveryState.PENDING, 0, later)
    assert again.give_up_at == later + GIVE_UP_AFTER
    assert (again.attempts, again.event_id) == (failed.attempts, failed.event_id)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_retry_delay_any_try_is_within_its_bounds(tries: int, chance: float) -> None:
    wait_s = retry_delay_s(tries, chance)
    assert 5 * (1 - JITTER) <= wait_s <= LONGEST_RETRY_S * (1 + JITTER)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("999999999", GIVE_UP_AFTER.total_seconds()),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        (format_datetime(NOW - timedelta(days=9), usegmt=True), 0.0),
        ("soon", None),
        ("-1", None),
        ("1e9", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_both_forms_are_read(text: str | None, expected: float | None) -> None:
    assert parse_retry_after(text, NOW) == expected


@given(st.text(max_size=40))
def test_retry_after_any_text_is_a_bounded_wait_or_none(text: str) -> None:
    wait_s = parse_retry_after(text, NOW)
    assert wait_s is None or 0 <= wait_s <= GIVE_UP_AFTER.total_seconds()


def test_delivery_decoded_is_what_was_encoded() -> None:
    tried = after_attempt(delivery(), outcome(NOW), NOW, 0.1)
    assert msgspec.json.decode(msgspec.json.encode(tried), type=Delivery) == tried
