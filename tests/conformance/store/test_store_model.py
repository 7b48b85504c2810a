"""Random transactions on a backend and on a model: both must agree on everything, always."""

import uuid
from typing import Literal

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpmos.store.api import Compare, Delete, Get, Operation, Put
from tests.support.store_model import StoreModel
from tests.support.stores import Backend
from tests.support.watching import brief, take_events

NAMES = ("a", "a/1", "a/2", "b", "b/", "ü")
PREFIXES = ("", "a", "a/", "b", "zz")
VALUES = (b"", b"x", b"y")

names = st.sampled_from(NAMES)
operations: st.SearchStrategy[Operation] = st.one_of(
    st.builds(Put, names, st.sampled_from(VALUES)),
    st.builds(Delete, names),
    st.builds(Delete, st.sampled_from(PREFIXES), prefix=st.just(True)),
    st.builds(Get, names),
    st.builds(Get, st.sampled_from(PREFIXES), prefix=st.just(True)),
)
comparisons = st.tuples(
    names,
    st.sampled_from(["mod", "create", "version", "value"]),
    st.sampled_from(["=", "!=", "<", ">"]),
    st.integers(0, 4),
    st.sampled_from(VALUES),
)
Comparison = tuple[
    str, Literal["mod", "create", "version", "value"], Literal["=", "!=", "<", ">"], int, bytes
]


def _without_overlaps(branch: list[Operation]) -> list[Operation]:
    """The operations that may stand together: a key that is put is not written again."""
    kept: list[Operation] = []
    for operation in branch:
        if not any(_clash(operation, other) for other in kept):
            kept.append(operation)
    return kept


def _clash(one: Operation, other: Operation) -> bool:
    if isinstance(one, Put) and isinstance(other, Put):
        return one.key == other.key
    if isinstance(one, Delete) and isinstance(other, Put):
        one, other = other, one
    if isinstance(one, Put) and isinstance(other, Delete):
        return one.key.startswith(other.key) if other.prefix else one.key == other.key
    return False


branches = st.lists(operations, max_size=5).map(_without_overlaps)
steps = st.lists(
    st.tuples(st.lists(comparisons, max_size=2), branches, branches), min_size=1, max_size=25
)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps)
async def test_store_after_random_transactions_agrees_with_the_model(
    backend: Backend, steps: list[tuple[list[Comparison], list[Operation], list[Operation]]]
) -> None:
    store, root = backend.store, f"{backend.prefix}{uuid.uuid4().hex}/"
    start = (await store.status()).revision
    model = StoreModel(start)
    for comparisons_, success, failure in steps:
        compare = [_compare(root, model, one) for one in comparisons_]
        taken = all(model.holds(one) for one in compare)
        success, failure = _under(root, success), _under(root, failure)
        expected = model.apply(success if taken else failure)
        result = await store.txn(compare, success, failure)
        assert (result.succeeded, result.revision) == (taken, model.revision)
        assert result.results == expected
    for revision in range(start, model.revision + 1):
        assert (await store.range(root, revision=revision)).kvs == model.range(root, revision)
        for name in NAMES:
            kv = await store.get(root + name, revision=revision)
            assert kv == model.states[revision].get(root + name)
    listed = [kv async for page in store.list(root, page=2) for kv in page.kvs]
    assert tuple(listed) == model.range(root, model.revision)
    watch = store.watch(root, from_revision=start + 1)
    assert brief(await take_events(watch, len(model.events))) == model.events
    await _check_compacted(backend, model, root)


async def _check_compacted(backend: Backend, model: StoreModel, root: str) -> None:
    """After compaction in the middle, the later half is as before."""
    if model.revision < model.first + 2:
        return
    middle = (model.first + model.revision) // 2
    await backend.store.compact(middle)
    for revision in range(middle, model.revision + 1):
        page = await backend.store.range(root, revision=revision)
        assert page.kvs == model.range(root, revision)


def _compare(root: str, model: StoreModel, one: Comparison) -> Compare:
    """A condition whose operand lies near what is there, so that either outcome is likely."""
    name, target, operator, number, value = one
    if target == "value":
        return Compare(root + name, target, operator, value)
    base = model.revision - 2 if target in ("mod", "create") and number else 0
    return Compare(root + name, target, operator, base + number)


def _under(root: str, branch: list[Operation]) -> list[Operation]:
    moved: list[Operation] = []
    for operation in branch:
        match operation:
            case Put(key, value):
                moved.append(Put(root + key, value))
            case Delete(key, prefix):
                moved.append(Delete(root + key, prefix=prefix))
            case Get(key, prefix):
                moved.append(Get(root + key, prefix=prefix))
    return moved
