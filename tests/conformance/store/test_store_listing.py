"""Ranges and listings: order, limits, and one revision for all pages."""

from lpmos.store.api import KV, Put
from tests.support.stores import Backend


async def _fill(backend: Backend, count: int) -> list[str]:
    keys = [f"{backend.prefix}{number:05}" for number in range(count)]
    for first in range(0, count, 100):
        await backend.store.txn([], [Put(key, key.encode()) for key in keys[first : first + 100]])
    return keys


async def test_range_of_nothing_is_empty_and_has_the_revision(backend: Backend) -> None:
    revision = await backend.store.put(backend.prefix + "a", b"")
    page = await backend.store.range(backend.prefix + "nothing/")
    assert (page.kvs, page.revision, page.more, page.count) == ((), revision, False, 0)


async def test_range_gives_all_keys_in_order(backend: Backend) -> None:
    keys = await _fill(backend, 250)
    page = await backend.store.range(backend.prefix)
    assert [kv.key for kv in page.kvs] == keys
    assert [kv.value for kv in page.kvs] == [key.encode() for key in keys]
    assert (page.more, page.count) == (False, 250)


async def test_range_with_a_limit_says_that_there_is_more(backend: Backend) -> None:
    keys = await _fill(backend, 30)
    page = await backend.store.range(backend.prefix, limit=10)
    assert [kv.key for kv in page.kvs] == keys[:10]
    assert (page.more, page.count) == (True, 30)
    exact = await backend.store.range(backend.prefix, limit=30)
    assert (len(exact.kvs), exact.more) == (30, False)


async def test_range_of_keys_only_leaves_out_values(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    revision = await store.put(prefix + "a", b"value")
    for at in (0, revision):
        (kv,) = (await store.range(prefix, keys_only=True, revision=at)).kvs
        assert (kv.key, kv.value, kv.mod_revision) == (prefix + "a", b"", revision)
    await store.put(prefix + "a", b"again")
    (kv,) = (await store.range(prefix, keys_only=True, revision=revision)).kvs
    assert (kv.value, kv.mod_revision) == (b"", revision)


async def test_range_at_a_revision_gives_the_keys_as_they_were(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    await store.put(prefix + "changed", b"old")
    await store.put(prefix + "deleted", b"old")
    await store.put(prefix + "recreated", b"old")
    then = await store.delete(prefix + "recreated") and (await store.status()).revision
    before = await store.range(prefix)
    await store.put(prefix + "changed", b"new")
    await store.delete(prefix + "deleted")
    await store.put(prefix + "recreated", b"new")
    await store.put(prefix + "added", b"new")
    assert await store.range(prefix, revision=then) == before
    limited = await store.range(prefix, revision=then, limit=1)
    assert (limited.kvs, limited.more, limited.count) == (before.kvs[:1], True, 2)


async def test_list_of_nothing_is_one_empty_page(backend: Backend) -> None:
    revision = await backend.store.put(backend.prefix + "a", b"")
    pages = [page async for page in backend.store.list(backend.prefix + "nothing/")]
    assert [(page.kvs, page.revision, page.more) for page in pages] == [((), revision, False)]


async def test_list_gives_every_key_once_in_pages(backend: Backend) -> None:
    keys = await _fill(backend, 250)
    pages = [page async for page in backend.store.list(backend.prefix, page=100)]
    assert [len(page.kvs) for page in pages] == [100, 100, 50]
    assert [page.more for page in pages] == [True, True, False]
    assert [kv.key for page in pages for kv in page.kvs] == keys
    exact = [page async for page in backend.store.list(backend.prefix, page=250)]
    assert [len(page.kvs) for page in exact] == [250]


async def test_list_under_writes_stays_at_one_revision(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    await _fill(backend, 100)
    expected = await store.range(prefix)
    seen: list[KV] = []
    async for page in store.list(prefix, page=7):
        assert page.revision == expected.revision
        seen += page.kvs
        await store.put(prefix + "00000", b"changed")
        await store.put(prefix + "zzz", b"added")
        await store.put(f"{prefix}{len(seen):05}x", b"added between")
        await store.delete(f"{prefix}{len(seen) + 3:05}")
    assert tuple(seen) == expected.kvs
