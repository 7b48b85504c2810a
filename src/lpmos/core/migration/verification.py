"""Whether v3 has what the older layout had, and the deletion of what was found to be so.

What is expected is made anew from the old entries, at the moment that was noted then; nothing of
what the writer remembers is believed. A task that was to go on may have gone on since.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from lpmos.core.migration.conversion import convert, differing, gone_on
from lpmos.core.migration.entries import Entry, Finding
from lpmos.core.migration.identities import refused
from lpmos.core.migration.plan import Plan, PlannedTask
from lpmos.core.migration.standing import Done, Found
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import KV, MAX_TXN_OPERATIONS, Compare, Delete, Get, Operation, Store

T = TypeVar("T")

TASKS_AT_ONCE = 16
"""Three documents each, of which two may have 64 KiB."""

KEYS_AT_ONCE = 60


class Verified(msgspec.Struct, kw_only=True):
    """Task ids by what was found of them; `findings` name what is not as it should be."""

    equal: set[str] = set()
    gone_on: set[str] = set()
    documents: set[str] = set()
    findings: list[Finding] = []


async def verify(
    store: Store, plan: Plan, aside: set[str], told: Callable[[int], None] | None = None
) -> Verified:
    """Compare every task of the plan with v3, but for those that the writer put `aside`.

    `told` hears how many tasks were compared.
    """
    verified = Verified()
    wanted = [planned for planned in plan.tasks if planned.old.task_id not in aside]
    for number, batch in enumerate(_batches(wanted, TASKS_AT_ONCE)):
        gets = [Get(key) for planned in batch for key in _places(planned)]
        found = iter([_first(each) for each in (await store.txn([], gets)).results])
        for planned, note, present, past in zip(batch, found, found, found, strict=False):
            _compare(planned, note, (present, past), verified)
        if told is not None:
            told(min(len(wanted), (number + 1) * TASKS_AT_ONCE))
    for puts in _batches(plan.others.puts, KEYS_AT_ONCE):
        notes = [Get(name) for put in puts for name in (put.key, keys.migrated_key(put.key))]
        there = iter([_first(each) for each in (await store.txn([], notes)).results])
        for put, document, note in zip(puts, there, there, strict=False):
            if document is None and note is None:
                reason = f"{put.key} is not there"
                key = put.sources[0] if put.sources else put.key
                verified.findings.append(Finding(key=key, kind="missing", reason=reason))
            else:
                verified.documents.add(put.key)
    return verified


async def delete_old(store: Store, found: Found, plan: Plan, verified: Verified) -> tuple[int, int]:
    """Delete the entries of which all was carried over and verified; how many went and stayed.

    An entry that is named in a finding stays, and one that changed since it was read.
    """
    kept = _kept(found, plan, verified)
    notes: dict[str, list[str]] = defaultdict(list)
    for planned in plan.tasks:
        for source in planned.old.sources:
            notes[source].append(keys.migrated(planned.old.task_id))
    for put in plan.others.puts:
        for source in put.sources:
            notes[source].append(keys.migrated_key(put.key))
    over = {*notes, *plan.others.lists} - kept
    leaving = [each for key, each in found.entries.items() if key in over]
    leaving += [found.entries[key] for key in plan.replaced if key in found.entries]
    gone = await _delete(store, leaving)
    left = {note for key, names in notes.items() if key not in gone for note in names}
    spent = {note for key in gone for note in notes.get(key, ())} - left
    for names in _batches(sorted(spent), MAX_TXN_OPERATIONS):
        await store.txn([], [Delete(name) for name in names])
    return len(gone), len(found.entries) - len(gone)


def _kept(found: Found, plan: Plan, verified: Verified) -> set[str]:
    """The entries that stay: all of a task stays where a part of it does."""
    named = {finding.key.partition("#")[0] for finding in (*plan.findings, *verified.findings)}
    kept = {key for key in found.entries if key in named or _folder(key) in named}
    good = verified.equal | verified.gone_on
    for planned in plan.tasks:
        sources = planned.old.sources
        if planned.old.task_id not in good or not kept.isdisjoint(sources):
            kept.update(sources)
    return kept


async def _delete(store: Store, entries: Sequence[Entry]) -> set[str]:
    """The keys of the entries that could be deleted."""
    gone: set[str] = set()
    for batch in _batches(entries, KEYS_AT_ONCE):
        compare = [Compare(each.key, "mod", "=", each.mod_revision) for each in batch]
        operations: list[Operation] = [Delete(each.key) for each in batch]
        if (await store.txn(compare, operations)).succeeded:
            gone |= {each.key for each in batch}
            continue
        for each in batch:
            one = [Compare(each.key, "mod", "=", each.mod_revision)]
            if (await store.txn(one, [Delete(each.key)])).succeeded:
                gone.add(each.key)
    return gone


def _compare(
    planned: PlannedTask, note: KV | None, places: tuple[KV | None, KV | None], verified: Verified
) -> None:
    task_id = planned.old.task_id
    documents = [kv for kv in places if kv is not None]
    found = next((task for kv in documents if (task := _mine(kv, task_id))), None)
    if note is None or found is None:
        reason = "v3 does not have it" if found is None else "the note of its migration is gone"
        verified.findings.append(refused(planned.old, "missing", reason))
        return
    try:
        done = records.decode(note, Done)
    except records.DamagedRecord as error:
        verified.findings.append(refused(planned.old, "missing", f"the note of it: {error}"))
        return
    if done.source_sha256 != planned.old.digest:
        return  # the writer told of it: v3 has what the source was before
    expected, _ = convert(planned.old, done.sn, done.at)
    if fields := differing(expected, found):
        if gone_on(expected, found):
            verified.gone_on.add(task_id)
            return
        reason = f"v3 has other values of {', '.join(fields)}"
        verified.findings.append(refused(planned.old, "differs", reason))
        return
    verified.equal.add(task_id)


def _mine(kv: KV, task_id: str) -> Task | None:
    """The task, where the document is the one that is looked for."""
    try:
        task = records.decode(kv, Task)
    except records.DamagedRecord:
        return None
    return task if task.task_id == task_id else None


def _places(planned: PlannedTask) -> tuple[str, str, str]:
    old = planned.old
    past = keys.history(old.idc, planned.sn, old.task_id)
    return keys.migrated(old.task_id), keys.task(old.idc, planned.sn), past


def _folder(key: str) -> str:
    """What a finding names where it is about a whole task."""
    return key[: key.rfind("/") + 1]


def _batches(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _first(result: int | tuple[KV, ...] | None) -> KV | None:
    return result[0] if isinstance(result, tuple) and result else None
