"""The links of the audit log: digests, and events that are too long."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.audit import (
    EVENT_LIMIT_BYTES,
    FIRST_PREVIOUS,
    AuditEntry,
    AuditEvent,
    chained,
    fitted,
    holds,
    new_event_id,
)
from tests.support.audit import make_event
from tests.support.builders import NOW, actor

TEXT = st.text(st.characters(codec="utf-8"))
PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.none() | st.dictionaries(st.sampled_from(["a", "b", "é", "a b"]), PLAIN)


@given(before=FIELDS, after=FIELDS, reason=st.none() | TEXT)
def test_entry_read_back_from_its_json_holds(
    before: dict[str, object] | None, after: dict[str, object] | None, reason: str | None
) -> None:
    event = make_event(before=before, after=after, reason=reason)
    stored = msgspec.json.decode(msgspec.json.encode(event), type=AuditEvent)
    entry = chained(stored, 7, FIRST_PREVIOUS)

    read = msgspec.json.decode(msgspec.json.encode(entry), type=AuditEntry)

    assert holds(read)


@pytest.mark.parametrize(
    "changed",
    [
        {"seq": 8},
        {"previous": "1" * 64},
        {"digest": "1" * 64},
        {"event": make_event(actor=actor("mallory"))},
        {"event": make_event(outcome="refused")},
        {"event": make_event(reason="another")},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_entry_with_anything_changed_does_not_hold(changed: dict[str, object]) -> None:
    entry = chained(make_event(), 7, FIRST_PREVIOUS)
    assert holds(entry)
    assert not holds(msgspec.structs.replace(entry, **changed))


def test_digest_does_not_depend_on_the_order_of_fields() -> None:
    one = chained(make_event(after={"a": 1, "b": {"c": 2, "d": 3}}), 1, FIRST_PREVIOUS)
    other = chained(make_event(after={"b": {"d": 3, "c": 2}, "a": 1}), 1, FIRST_PREVIOUS)
    assert one.digest == other.digest


def test_event_ids_sort_by_time() -> None:
    later = NOW.replace(second=NOW.second + 1)
    assert new_event_id(NOW) < new_event_id(later)
    assert new_event_id(NOW) != new_event_id(NOW)


def test_event_that_fits_stays_as_it_is() -> None:
    event = make_event(before={"text": "x" * 5000}, after={"text": "y" * 5000})
    assert fitted(event) is event


@pytest.mark.parametrize(
    "fields",
    [
        {"after": {"name": "kept", "content": "x" * 40_000}},
        {"before": {"content": "x" * 20_000}, "after": {"content": "y" * 20_000}},
        {"after": {f"field {number}": "x" * 900 for number in range(100)}},
        {"reason": "x" * 40_000},
        {"before": {"a": list(range(20_000))}, "after": {"a": []}},
    ],
)
def test_event_too_long_names_what_is_left_out(fields: dict[str, object]) -> None:
    event = fitted(make_event(**fields))
    text = msgspec.json.encode(event)
    assert len(text) <= EVENT_LIMIT_BYTES
    assert "reason" in fields or b"bytes with SHA-256" in text
    if fields.get("after", {}).get("name"):  # type: ignore[attr-defined]
        assert event.after is not None
        assert event.after["name"] == "kept"


def test_values_left_out_are_told_apart() -> None:
    event = fitted(make_event(before={"a": "x" * 40_000}, after={"a": "y" * 40_000}))
    assert event.before != event.after
