"""Revisions: what makes one, what a key knows of them, and reading the past."""

import pytest

from lpmos.store.api import (
    CasConflict,
    Compacted,
    Compare,
    Delete,
    FutureRevision,
    Get,
    InvalidRequest,
    Put,
)
from tests.support.stores import Backend


async def test_put_each_time_adds_one_to_the_revision(backend: Backend) -> None:
    first = await backend.store.put(backend.prefix + "a", b"1")
    second = await backend.store.put(backend.prefix + "b", b"2")
    third = await backend.store.put(backend.prefix + "a", b"3")
    assert (second, third) == (first + 1, first + 2)
    assert (await backend.store.status()).revision == third


async def test_txn_with_many_writes_adds_one_to_the_revision(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    before = await store.put(prefix + "gone", b"")
    result = await store.txn(
        [], [Put(prefix + "a", b"1"), Put(prefix + "b", b"2"), Delete(prefix + "gone")]
    )
    assert result.revision == before + 1
    assert [kv.mod_revision for kv in (await store.range(prefix)).kvs] == [before + 1] * 2


async def test_txn_that_changes_nothing_keeps_the_revision(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    before = await store.put(prefix + "a", b"1")
    read = await store.txn([], [Get(prefix + "a")])
    deleted = await store.txn([], [Delete(prefix + "missing")])
    refused = await store.txn([Compare(prefix + "a", "version", "=", 9)], [Put(prefix + "a", b"")])
    assert read.revision == deleted.revision == refused.revision == before
    assert (await store.status()).revision == before


async def test_delete_of_a_missing_key_counts_none_and_keeps_the_revision(backend: Backend) -> None:
    before = await backend.store.put(backend.prefix + "a", b"1")
    assert await backend.store.delete(backend.prefix + "missing") == 0
    assert await backend.store.delete(backend.prefix + "missing", prefix=True) == 0
    assert (await backend.store.status()).revision == before


async def test_key_written_again_keeps_its_create_revision_and_counts_versions(
    backend: Backend,
) -> None:
    store, key = backend.store, backend.prefix + "a"
    created = await store.put(key, b"1")
    changed = await store.put(key, b"2")
    kv = await store.get(key)
    assert kv is not None
    assert (kv.key, kv.value) == (key, b"2")
    assert (kv.create_revision, kv.mod_revision, kv.version) == (created, changed, 2)


async def test_key_recreated_starts_over_with_version_one(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    await store.put(key, b"1")
    await store.put(key, b"2")
    assert await store.delete(key) == 1
    assert await store.get(key) is None
    created = await store.put(key, b"3")
    kv = await store.get(key)
    assert kv is not None
    assert (kv.create_revision, kv.mod_revision, kv.version) == (created, created, 1)


async def test_get_of_a_missing_key_is_none(backend: Backend) -> None:
    assert await backend.store.get(backend.prefix + "missing") is None


async def test_get_does_not_take_a_longer_key(backend: Backend) -> None:
    await backend.store.put(backend.prefix + "ab", b"")
    assert await backend.store.get(backend.prefix + "a") is None


async def test_value_empty_and_binary_comes_back_as_it_was(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    for name, value in (("empty", b""), ("binary", bytes(range(256)))):
        await store.put(prefix + name, value)
        kv = await store.get(prefix + name)
        assert kv is not None
        assert kv.value == value


async def test_key_with_unusual_characters_comes_back_as_it_was(backend: Backend) -> None:
    store = backend.store
    names = ["sp ace", "ü", "漢", "\U0001f5a5", "a%_*?[", "q'\"", "n\nl", "nul\0nul"]
    for name in names:
        await store.put(backend.prefix + name, name.encode())
    page = await store.range(backend.prefix)
    expected = sorted((backend.prefix + name for name in names), key=str.encode)
    assert [kv.key for kv in page.kvs] == expected
    assert await store.delete(backend.prefix + "nul\0nul") == 1


async def test_get_at_a_revision_gives_the_key_as_it_was(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    before = await store.put(backend.prefix + "other", b"")
    first = await store.put(key, b"1")
    second = await store.put(key, b"2")
    await store.delete(key)
    last = await store.put(key, b"3")
    assert await store.get(key, revision=before) is None
    for revision, value in ((first, b"1"), (second, b"2"), (last, b"3")):
        kv = await store.get(key, revision=revision)
        assert kv is not None
        assert (kv.value, kv.mod_revision) == (value, revision)
    assert await store.get(key, revision=second + 1) is None


async def test_read_of_a_future_revision_is_refused(backend: Backend) -> None:
    revision = await backend.store.put(backend.prefix + "a", b"1")
    with pytest.raises(FutureRevision):
        await backend.store.get(backend.prefix + "a", revision=revision + 1000)
    with pytest.raises(FutureRevision):
        await backend.store.range(backend.prefix, revision=revision + 1000)


async def test_read_of_a_compacted_revision_names_the_oldest(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    first = await store.put(key, b"1")
    second = await store.put(key, b"2")
    await store.put(key, b"3")
    await store.compact(second)
    with pytest.raises(Compacted) as of_get:
        await store.get(key, revision=first)
    with pytest.raises(Compacted) as of_range:
        await store.range(backend.prefix, revision=first)
    assert of_get.value.compact_revision == of_range.value.compact_revision == second
    kv = await store.get(key, revision=second)
    assert kv is not None
    assert kv.value == b"2"


async def test_compact_keeps_present_values_and_their_revisions(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    for round_ in range(3):
        for name in "abc":
            await store.put(prefix + name, f"{name}{round_}".encode())
    await store.delete(prefix + "b")
    revision = await store.put(prefix + "d", b"d0")
    before = await store.range(prefix)
    await store.compact(revision)
    assert await store.range(prefix) == before
    assert await store.range(prefix, revision=revision) == before


async def test_compact_of_a_future_revision_is_refused(backend: Backend) -> None:
    revision = await backend.store.put(backend.prefix + "a", b"1")
    with pytest.raises(FutureRevision):
        await backend.store.compact(revision + 1000)


async def test_compact_a_second_time_says_so(backend: Backend) -> None:
    revision = await backend.store.put(backend.prefix + "a", b"1")
    await backend.store.compact(revision)
    with pytest.raises(Compacted):
        await backend.store.compact(revision)


async def test_cas_writes_only_at_the_revision_given(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    created = await store.cas(key, 0, b"1")
    changed = await store.cas(key, created, b"2")
    for stale in (0, created, changed + 1):
        with pytest.raises(CasConflict):
            await store.cas(key, stale, b"lost")
    kv = await store.get(key)
    assert kv is not None
    assert (kv.value, kv.mod_revision, kv.version) == (b"2", changed, 2)


async def test_cas_of_a_deleted_key_conflicts(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    created = await store.put(key, b"1")
    await store.delete(key)
    with pytest.raises(CasConflict):
        await store.cas(key, created, b"2")
    await store.cas(key, 0, b"3")


@pytest.mark.parametrize("key", ["", "a", "os/x"])
async def test_key_without_a_leading_slash_is_refused(backend: Backend, key: str) -> None:
    store = backend.store
    with pytest.raises(InvalidRequest):
        await store.put(key, b"")
    with pytest.raises(InvalidRequest):
        await store.get(key)
    with pytest.raises(InvalidRequest):
        await store.delete(key, prefix=True)
    with pytest.raises(InvalidRequest):
        await store.range(key)
    with pytest.raises(InvalidRequest):
        await store.txn([Compare(key, "mod", "=", 0)], [])
    with pytest.raises(InvalidRequest):
        await anext(store.watch(key, from_revision=1))
