"""Tokens: what was signed is read back whole, and nothing else is."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.errors import SettingsError
from lpmos.region.signing import TOKEN_LIMIT_CHARACTERS, BadToken, PublicKey, Signer, Signers
from lpmos.store import keys, records
from lpmos.store.api import KV
from lpmos.store.sqlite import SqliteStore


class Known:
    """Public keys as a mirror has them."""

    def __init__(self, *signers: Signer) -> None:
        self.kvs: dict[str, KV] = {}
        for signer in signers:
            self.put(signer.key_id, signer.public)

    def put(self, key_id: str, public: PublicKey) -> None:
        key = keys.signer("dc1", key_id)
        self.kvs[key] = KV(key, records.encode(public), 1, 1, 1)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signing")


@pytest.fixture(scope="module")
def a(place: Path) -> Signer:
    return Signer.load(place / "a.key", "a")


@pytest.fixture(scope="module")
def b(place: Path) -> Signer:
    return Signer.load(place / "b.key", "b")


@pytest.fixture(scope="module")
def signers(a: Signer, b: Signer) -> Signers:
    return Signers(a, Known(a, b).kvs.get, idc="dc1")


@given(payload=st.binary(min_size=1, max_size=400))
def test_token_of_any_payload_is_read_back_by_both_clients(
    a: Signer, b: Signer, signers: Signers, payload: bytes
) -> None:
    for signer in (a, b):
        token = signer.sign("nonce", payload)
        assert token == signer.sign("nonce", payload)
        assert signers.verify("nonce", token) == payload


@given(payload=st.binary(min_size=1, max_size=100), kind=st.text(max_size=9))
def test_token_of_one_kind_is_nothing_as_another(
    a: Signer, signers: Signers, payload: bytes, kind: str
) -> None:
    if kind != "nonce":
        with pytest.raises(BadToken):
            signers.verify(kind, a.sign("nonce", payload))


@given(text=st.text(max_size=300) | st.from_regex(r"[0-9a-f]{16}\.[\w-]{1,20}\.[\w-]{86}"))
def test_token_of_any_text_is_refused_as_no_token(signers: Signers, text: str) -> None:
    with pytest.raises(BadToken):
        signers.verify("nonce", text)


@given(data=st.data(), payload=st.binary(min_size=1, max_size=60))
def test_token_with_any_character_changed_is_refused(
    a: Signer, signers: Signers, data: st.DataObject, payload: bytes
) -> None:
    token = a.sign("nonce", payload)
    at = data.draw(st.integers(0, len(token) - 1))
    other = data.draw(st.characters(codec="ascii").filter(lambda char: char != token[at]))
    with pytest.raises(BadToken):
        signers.verify("nonce", token[:at] + other + token[at + 1 :])


def test_token_of_a_key_that_the_store_does_not_have_is_refused(a: Signer, b: Signer) -> None:
    with pytest.raises(BadToken, match="not of this region"):
        Signers(a, Known(a).kvs.get, idc="dc1").verify("nonce", b.sign("nonce", b"x"))


def test_token_is_refused_from_when_its_key_is_removed_though_it_was_taken_before(
    a: Signer, b: Signer
) -> None:
    known = Known(a, b)
    signers, token = Signers(a, known.kvs.get, idc="dc1"), b.sign("nonce", b"x")
    assert signers.verify("nonce", token) == b"x"
    known.kvs.clear()
    with pytest.raises(BadToken, match="not of this region"):
        signers.verify("nonce", token)


def test_token_is_refused_from_when_another_key_stands_for_it_though_it_was_taken_before(
    a: Signer, b: Signer
) -> None:
    known = Known(a, b)
    signers, token = Signers(a, known.kvs.get, idc="dc1"), b.sign("nonce", b"x")
    assert signers.verify("nonce", token) == b"x"
    known.put(b.key_id, a.public)
    with pytest.raises(BadToken, match="not of this region"):
        signers.verify("nonce", token)


def test_own_token_needs_no_store(a: Signer) -> None:
    assert Signers(a, Known().kvs.get, idc="dc1").verify("x", a.sign("x", b"y")) == b"y"


@pytest.mark.parametrize("public", ["", "AA", "=", "A" * 43])
def test_token_of_a_key_that_is_damaged_in_the_store_is_refused(
    a: Signer, b: Signer, public: str
) -> None:
    known = Known(a)
    known.put(b.key_id, PublicKey("b", public))
    with pytest.raises(BadToken):
        Signers(a, known.kvs.get, idc="dc1").verify("nonce", b.sign("nonce", b"x"))


def test_token_beyond_the_limit_is_refused_unread(a: Signer, signers: Signers) -> None:
    with pytest.raises(BadToken):
        signers.verify("nonce", a.sign("nonce", b"x" * TOKEN_LIMIT_CHARACTERS))


def test_key_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    first = Signer.load(path, "a")
    assert path.stat().st_mode & 0o777 == 0o600
    assert Signer.load(path, "a").key_id == first.key_id
    assert list(tmp_path.iterdir()) == [path]


def test_key_that_is_there_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    first = Signer.load(path, "a")
    (tmp_path / f"agent.key.{os.getpid()}.new").mkdir()  # what a write would go through
    assert Signer.load(path, "a").key_id == first.key_id


def test_key_that_others_may_read_is_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "agent.key"
    Signer.load(path, "a")
    path.chmod(0o640)
    with pytest.raises(SettingsError, match="chmod 600"):
        Signer.load(path, "a")


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33])
def test_key_of_another_length_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "agent.key"
    path.touch(0o600)
    path.write_bytes(content)
    with pytest.raises(SettingsError, match="is no key"):
        Signer.load(path, "a")


def test_key_in_a_directory_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot use the key"):
        Signer.load(tmp_path / "none" / "agent.key", "a")


async def test_publishing_replaces_the_own_older_key_only(
    tmp_path: Path, a: Signer, b: Signer
) -> None:
    store = await SqliteStore.open(tmp_path / "store.db")
    try:
        for signer in (a, b):
            await Signers(signer, Known().kvs.get, idc="dc1").publish(store)
        newer = Signer.load(tmp_path / "newer.key", "a")
        for _ in range(2):
            await Signers(newer, Known().kvs.get, idc="dc1").publish(store)
        page = await store.range(keys.signer("dc1", ""))
        assert {kv.key for kv in page.kvs} == {
            keys.signer("dc1", newer.key_id),
            keys.signer("dc1", b.key_id),
        }
        assert {kv.version for kv in page.kvs} == {1}
    finally:
        await store.close()
