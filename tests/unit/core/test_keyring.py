"""Rings of keys: what they take, and that they never show a key."""

from datetime import UTC, datetime

import pytest

from lpmos.core.secrets.keyring import KEYS, KeyRing, new_key
from lpmos.model.errors import SettingsError, UnknownKey

KEY = b"k" * 32


def test_ring_keeps_the_order_in_which_keys_came() -> None:
    ring = KeyRing({"b": KEY, "a": KEY}, "here").with_key("0", KEY)
    assert (ring.key_ids, ring.oldest, ring.newest) == (("b", "a", "0"), "b", "0")
    assert ring.without("a").key_ids == ("b", "0")


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({}, "has 0 keys"),
        ({f"k{n}": KEY for n in range(KEYS + 1)}, "has 101 keys"),
        ({"a:b": KEY}, "is no key id"),
        ({"": KEY}, "is no key id"),
        ({"a": b"short"}, "the key a has 5 bytes; it needs 32"),
    ],
)
def test_ring_of_another_form_is_refused(keys: dict[str, bytes], text: str) -> None:
    with pytest.raises(SettingsError, match=text):
        KeyRing(keys, "here")


def test_ring_never_shows_a_key() -> None:
    ring = KeyRing({"a": b"calvin-calvin-calvin-calvin-calv"}, "here")
    assert "calvin" not in repr(ring)
    assert "calvin" not in str(vars(ring).get("source"))


def test_ring_without_the_key_asked_for_names_it_and_its_place() -> None:
    with pytest.raises(UnknownKey, match="the key b is not in here"):
        KeyRing({"a": KEY}, "here").key("b")


def test_new_keys_differ_and_say_when_they_were_made() -> None:
    at = datetime(2026, 11, 21, 3, 17, tzinfo=UTC)
    (one, key), (other, another) = new_key(at), new_key(at)
    assert one.startswith("k20261121T031700Z-")
    assert one != other
    assert key != another
    assert len(key) == 32
    assert KeyRing({one: key}, "here").newest == one
