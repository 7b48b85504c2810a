"""Sealed text: what comes out is what went in, and nothing else opens."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.core.secrets.box import MARK, SecretBox, context, key_id
from lpmos.core.secrets.keyring import KeyRing
from lpmos.model.errors import DamagedSecret, UnknownKey

RING = KeyRing({"old": b"o" * 32, "new": b"n" * 32}, "the test")
PLACE = context("/os/control/bmc/dc1/SN-1", "password")

texts = st.text(max_size=200)


@given(text=texts, place=texts)
def test_secret_box_opens_what_it_sealed(text: str, place: str) -> None:
    box = SecretBox(RING)
    assert box.open(box.seal(text, place), place) == text


@given(text=texts, place=texts)
def test_rewrapped_text_opens_and_keeps_its_ciphertext(text: str, place: str) -> None:
    box = SecretBox(RING)
    before = box.seal(text, place)
    box.current = "new"
    after = box.rewrap(before, place)
    assert (key_id(before), key_id(after)) == ("old", "new")
    assert _parts(before)[60:] == _parts(after)[60:]
    assert box.open(after, place) == text
    assert box.rewrap(after, place) == after


def test_sealed_text_names_version_and_key_and_shows_nothing() -> None:
    sealed = SecretBox(RING).seal("calvin-2026", PLACE)
    assert sealed.startswith("sealed:v1:old:")
    assert "calvin" not in sealed
    assert b"calvin" not in _parts(sealed)


def test_same_secret_sealed_twice_differs_everywhere() -> None:
    box = SecretBox(RING)
    one, other = (_parts(box.seal("calvin", PLACE)) for _ in range(2))
    assert one[:12] != other[:12]
    assert one[12:60] != other[12:60]
    assert one[60:] != other[60:]


@given(data=st.data())
def test_any_changed_byte_is_refused(data: st.DataObject) -> None:
    box = SecretBox(RING)
    sealed = box.seal("secret", PLACE)
    parts = bytearray(_parts(sealed))
    at = data.draw(st.integers(0, len(parts) - 1))
    parts[at] ^= data.draw(st.integers(1, 255))
    changed = f"{MARK}old:{base64.urlsafe_b64encode(bytes(parts)).decode()}"
    with pytest.raises(DamagedSecret):
        box.open(changed, PLACE)


@given(rest=st.text(max_size=300), mark=st.sampled_from([MARK, "", "sealed:v2:"]))
def test_text_that_was_never_sealed_is_an_error_of_ours(rest: str, mark: str) -> None:
    with pytest.raises((DamagedSecret, UnknownKey)):
        SecretBox(RING).open(mark + rest, PLACE)


def test_text_under_another_key_id_is_refused() -> None:
    box = SecretBox(RING)
    moved = box.seal("secret", PLACE).replace(":old:", ":new:")
    with pytest.raises(DamagedSecret):
        box.open(moved, PLACE)


@pytest.mark.parametrize("call", ["open", "rewrap"])
def test_text_that_was_moved_elsewhere_is_refused(call: str) -> None:
    box = SecretBox(RING)
    sealed = box.seal("secret", PLACE)
    box.current = "new"
    with pytest.raises(DamagedSecret, match="SN-2") as refused:
        getattr(box, call)(sealed, context("/os/control/bmc/dc1/SN-2", "password"))
    assert "secret" not in str(refused.value).replace("#", "")


@pytest.mark.parametrize("call", ["open", "rewrap"])
def test_missing_key_is_named_and_wakes_the_keeper(call: str) -> None:
    sealed = SecretBox(RING).seal("secret", PLACE)
    box = SecretBox(KeyRing({"new": b"n" * 32}, "/var/lib/lpmos/secrets.key"))
    with pytest.raises(UnknownKey, match=r"the key old is not in /var/lib/lpmos/secrets\.key"):
        getattr(box, call)(sealed, PLACE)
    assert box.unknown.is_set()


def test_sealing_with_a_key_that_is_missing_is_refused() -> None:
    box = SecretBox(RING, "gone")
    with pytest.raises(UnknownKey, match="gone"):
        box.seal("secret", PLACE)


def test_key_id_of_other_text_is_empty() -> None:
    assert key_id("hello") == ""


def _parts(sealed: str) -> bytes:
    return base64.urlsafe_b64decode(sealed.rpartition(":")[2])
