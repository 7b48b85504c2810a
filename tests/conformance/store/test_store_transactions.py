"""Transactions: which branch is taken, what it gives, and what is refused."""

import asyncio
from typing import Literal

import pytest

from lpmos.store.api import (
    MAX_TXN_OPERATIONS,
    Compare,
    Delete,
    Get,
    InvalidRequest,
    LeaseNotFound,
    Put,
)
from tests.support.stores import Backend

Target = Literal["mod", "create", "version", "value"]
Operator = Literal["=", "!=", "<", ">"]
NO_SUCH_LEASE = 4_611_686_018_427_387_905
TOO_LARGE = 1_600_000
LARGE = 1_400_000

HOLDS_FOR_A_NUMBER: list[tuple[Operator, int, bool]] = [
    ("=", 0, True),
    ("=", 1, False),
    ("!=", 1, True),
    ("!=", 0, False),
    ("<", 1, True),
    ("<", 0, False),
    (">", -1, True),
    (">", 0, False),
]


@pytest.mark.parametrize("target", ["mod", "create", "version"])
@pytest.mark.parametrize(("operator", "offset", "holds"), HOLDS_FOR_A_NUMBER)
@pytest.mark.parametrize("exists", [True, False])
async def test_compare_of_a_number_holds_as_its_operator_says(
    backend: Backend, target: Target, operator: Operator, offset: int, holds: bool, exists: bool
) -> None:
    store, key = backend.store, backend.prefix + "a"
    actual = 0
    if exists:
        created = await store.put(key, b"1")
        changed = await store.put(key, b"2")
        actual = {"mod": changed, "create": created, "version": 2}[target]
    result = await store.txn([Compare(key, target, operator, actual + offset)], [])
    assert result.succeeded is holds


@pytest.mark.parametrize(
    ("operator", "operand", "holds"),
    [
        ("=", b"m", True),
        ("=", b"n", False),
        ("!=", b"n", True),
        ("!=", b"m", False),
        ("<", b"n", True),
        ("<", b"m", False),
        (">", b"l", True),
        (">", b"ma", False),
    ],
)
async def test_compare_of_a_value_holds_as_its_operator_says(
    backend: Backend, operator: Operator, operand: bytes, holds: bool
) -> None:
    key = backend.prefix + "a"
    await backend.store.put(key, b"m")
    result = await backend.store.txn([Compare(key, "value", operator, operand)], [])
    assert result.succeeded is holds


@pytest.mark.parametrize("operator", ["=", "!=", "<", ">"])
@pytest.mark.parametrize("operand", [b"", b"m"])
async def test_compare_of_a_missing_keys_value_never_holds(
    backend: Backend, operator: Operator, operand: bytes
) -> None:
    compare = Compare(backend.prefix + "missing", "value", operator, operand)
    assert not (await backend.store.txn([compare], [])).succeeded


async def test_txn_takes_the_failure_branch_where_any_compare_fails(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    await store.put(prefix + "a", b"1")
    result = await store.txn(
        [Compare(prefix + "a", "version", "=", 1), Compare(prefix + "b", "version", "=", 1)],
        [Put(prefix + "success", b"")],
        [Put(prefix + "failure", b""), Get(prefix + "a")],
    )
    assert not result.succeeded
    assert result.results == (None, (await store.get(prefix + "a"),))
    assert await store.get(prefix + "success") is None
    assert await store.get(prefix + "failure") is not None


async def test_txn_gives_a_result_for_each_operation(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    for name in ("x/1", "x/2", "y"):
        await store.put(prefix + name, b"old")
    result = await store.txn(
        [],
        [
            Get(prefix + "x/", prefix=True),
            Get(prefix + "missing"),
            Delete(prefix + "x/", prefix=True),
            Delete(prefix + "missing"),
            Put(prefix + "z", b"new"),
        ],
    )
    before, missing, deleted, none_deleted, put = result.results
    assert isinstance(before, tuple)
    assert [kv.key for kv in before] == [prefix + "x/1", prefix + "x/2"]
    assert (missing, deleted, none_deleted, put) == ((), 2, 0, None)


async def test_txn_reads_what_it_wrote_before(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    await store.put(key, b"old")
    result = await store.txn([], [Get(key), Put(key, b"new"), Get(key)])
    old, _, new = result.results
    assert isinstance(old, tuple)
    assert isinstance(new, tuple)
    assert (old[0].value, new[0].value) == (b"old", b"new")
    assert (new[0].mod_revision, new[0].version) == (result.revision, 2)


async def test_delete_of_a_prefix_leaves_its_neighbours(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    for name in ("a", "a/1", "a/2", "a0", "b"):
        await store.put(prefix + name, b"")
    before = (await store.status()).revision
    assert await store.delete(prefix + "a/", prefix=True) == 2
    page = await store.range(prefix)
    assert [kv.key for kv in page.kvs] == [prefix + name for name in ("a", "a0", "b")]
    assert page.revision == before + 1


@pytest.mark.parametrize("second", ["put", "delete", "delete prefix"])
async def test_key_written_twice_in_one_txn_is_refused(backend: Backend, second: str) -> None:
    store, key = backend.store, backend.prefix + "a"
    again: Put | Delete = Put(key, b"2")
    if second == "delete":
        again = Delete(key)
    elif second == "delete prefix":
        again = Delete(backend.prefix, prefix=True)
    with pytest.raises(InvalidRequest):
        await store.txn([], [Put(key, b"1"), again])
    assert await store.get(key) is None


async def test_key_in_both_branches_is_allowed(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"
    result = await store.txn(
        [Compare(key, "mod", "=", 0)], [Put(key, b"created")], [Put(key, b"changed")]
    )
    assert result.succeeded


async def test_txn_of_the_most_operations_is_done(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    puts = [Put(f"{prefix}{number:03}", b"") for number in range(MAX_TXN_OPERATIONS)]
    await store.txn([], puts)
    assert len((await store.range(prefix)).kvs) == MAX_TXN_OPERATIONS


@pytest.mark.parametrize("branch", ["compare", "success", "failure"])
async def test_txn_of_one_operation_more_is_refused(backend: Backend, branch: str) -> None:
    keys = [f"{backend.prefix}{number:03}" for number in range(MAX_TXN_OPERATIONS + 1)]
    puts = [Put(key, b"") for key in keys]
    compares = [Compare(key, "mod", "=", 0) for key in keys]
    with pytest.raises(InvalidRequest):
        await backend.store.txn(
            compares if branch == "compare" else [],
            puts if branch == "success" else [],
            puts if branch == "failure" else [],
        )
    assert (await backend.store.range(backend.prefix)).kvs == ()


async def test_value_large_but_within_the_limit_is_stored(backend: Backend) -> None:
    value = b"\xa5" * LARGE
    await backend.store.put(backend.prefix + "a", value)
    kv = await backend.store.get(backend.prefix + "a")
    assert kv is not None
    assert kv.value == value


async def test_request_too_large_is_refused(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    with pytest.raises(InvalidRequest):
        await store.put(prefix + "a", bytes(TOO_LARGE))
    with pytest.raises(InvalidRequest):
        await store.cas(prefix + "a", 0, bytes(TOO_LARGE))
    halves = [Put(prefix + name, bytes(TOO_LARGE // 2)) for name in "ab"]
    with pytest.raises(InvalidRequest):
        await store.txn([], halves)
    assert (await store.range(prefix)).kvs == ()


async def test_put_with_an_unknown_lease_is_refused_and_changes_nothing(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    before = await store.put(prefix + "a", b"1")
    with pytest.raises(LeaseNotFound):
        await store.put(prefix + "b", b"", lease=NO_SUCH_LEASE)
    with pytest.raises(LeaseNotFound):
        await store.cas(prefix + "b", 0, b"", lease=NO_SUCH_LEASE)
    with pytest.raises(LeaseNotFound):
        await store.txn([], [Put(prefix + "c", b""), Put(prefix + "b", b"", lease=NO_SUCH_LEASE)])
    page = await store.range(prefix)
    assert [kv.key for kv in page.kvs] == [prefix + "a"]
    assert page.revision == before


async def test_txn_never_taken_branch_may_name_an_unknown_lease(backend: Backend) -> None:
    store, prefix = backend.store, backend.prefix
    result = await store.txn(
        [Compare(prefix + "a", "mod", "=", 0)],
        [Put(prefix + "a", b"")],
        [Put(prefix + "b", b"", lease=NO_SUCH_LEASE)],
    )
    assert result.succeeded


async def test_cas_by_many_at_once_has_one_winner(backend: Backend) -> None:
    store, key = backend.store, backend.prefix + "a"

    async def attempt(number: int) -> bool:
        compare = Compare(key, "mod", "=", 0)
        return (await store.txn([compare], [Put(key, str(number).encode())])).succeeded

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(attempt(number)) for number in range(50)]
    winners = [number for number, task in enumerate(tasks) if task.result()]
    kv = await store.get(key)
    assert kv is not None
    assert [str(number).encode() for number in winners] == [kv.value]
