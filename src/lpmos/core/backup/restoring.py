"""Restoring a backup into a store: all of it, and nothing that could install a machine by itself.

A backup is older than the world. A task that was approved then may be over by now, and its machine
in use; a rule would approve the tasks that wait, and make new ones for machines that the backup
does not know. So no right to install comes back: a task that was approved or being installed has
failed (its intent is never written), and every rule is disabled, until a person decides anew.

A mark stands in the store for as long as the restore is not over. A control plane that finds it
does not start: half a store would look like one without users.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from lpmos.core.backup.content import PREFIXES
from lpmos.core.backup.form import Manifest, Record
from lpmos.core.backup.kinds import decoded, kind_of
from lpmos.core.backup.loading import load
from lpmos.core.backup.verification import batches, verify
from lpmos.core.clock import Clock
from lpmos.core.fitting import fitted
from lpmos.core.journal import put, told, told_of_task
from lpmos.core.taskstore import logged, moved
from lpmos.model.audit import SYSTEM, AuditEvent, new_event_id
from lpmos.model.errors import Conflict
from lpmos.model.lifecycle import Event, Status
from lpmos.model.machine import ServerEntry
from lpmos.model.task import Task, TaskError
from lpmos.store import keys, records
from lpmos.store.api import MAX_TXN_OPERATIONS, Delete, Put, Store
from lpmos.store.election import ELECTIONS

CODE = "restored"
REASON = "the store was restored from a backup while this task was approved or being installed"
HINT = "look at the machine: it may have been installed since; then approve a new task for it"
ERROR = TaskError(reason=REASON, hint=HINT, code=CODE)
ALLOWED = frozenset({Status.APPROVED, Status.INSTALLING})

Agree = Callable[[dict[str, int]], bool]


class NotEmpty(Conflict):
    """The store has something in it; `counts` by kind."""

    code = "store-not-empty"

    def __init__(self, counts: dict[str, int]) -> None:
        self.counts = counts
        there = ", ".join(f"{number} {kind}" for kind, number in counts.items())
        super().__init__(
            f"the store is not empty ({there}): restore into a new one, or give --replace"
        )


class InUse(Conflict):
    """A control plane or a regional client lives on the store."""

    code = "store-in-use"


class RestoreUnfinished(Conflict):
    """A restore into this store was cut off."""

    code = "store-restore-unfinished"


class Restored(NamedTuple):
    """What a restore did; the tasks are ids, the rules names."""

    manifest: Manifest
    failed: list[str]
    disabled: list[str]


async def restore(
    store: Store, path: Path, clock: Clock, *, agree: Agree | None = None, force: bool = False
) -> Restored | None:
    """Restore the backup in `path`; None where `agree` did not.

    Args:
        store: where to.
        path: the file; all of it is read before anything is written.
        clock: for what is told of it.
        agree: is asked whether what is there, counted by kind, may be deleted; without it the
            store must be empty.
        force: do not look whether anybody lives on the store.

    Raises:
        DamagedBackup: the file is not whole; nothing was written.
        NotEmpty: there is something, and nobody to agree.
        InUse: a control plane or a region lives on the store.
        StoreError: the store failed on the way; do it again, with `agree`.
    """
    verdict = await verify(path)
    if not force:
        await _require_nobody(store)
    counts = await _counts(store)
    if counts and agree is None:
        raise NotEmpty(counts)
    if counts and agree is not None and not await asyncio.to_thread(agree, counts):
        return None
    await store.put(keys.RESTORING, str(path.name).encode())
    for prefix in PREFIXES:
        await _delete(store, prefix)
    made_safe = _MadeSafe(clock())
    async for batch in batches(path):
        await load(store, made_safe.written(batch))
    for held in made_safe.held:
        await _put_failed(store, held)
    for unread in made_safe.unread:
        await _put_unread(store, unread)
    failed = [held.failed.task_id for held in made_safe.held]
    failed += [unread.task_id for unread in made_safe.unread]
    restored = Restored(verdict.manifest, failed, made_safe.disabled)
    await store.txn([], [Delete(keys.RESTORING), _told(restored, path, clock())])
    return restored


async def require_whole(store: Store) -> None:
    """Refuse a store that has only a part of its backup.

    Raises:
        RestoreUnfinished: a restore was cut off, or goes on now.
    """
    kv = await store.get(keys.RESTORING)
    if kv is not None:
        name = kv.value.decode(errors="replace")
        raise RestoreUnfinished(
            f"the restore of {name} into this store is not over: wait for it, or where it was cut"
            " off run `lpmos backup restore --replace` again"
        )


class _Held(NamedTuple):
    """A task as it was, its document, and the task as it is restored."""

    before: Task
    document: bytes
    failed: Task


class _Unread(NamedTuple):
    """A task that this version cannot read, as plain JSON, and the word of its failure."""

    place: keys.KeyName
    task_id: str
    failed: dict[str, Any]
    event: AuditEvent


class _MadeSafe:
    """Passes records on, without what would allow an install by itself."""

    def __init__(self, now: datetime) -> None:
        self._now = now
        self.held: list[_Held] = []
        self.unread: list[_Unread] = []
        self.disabled: list[str] = []

    def written(self, batch: list[Record]) -> list[Record]:
        """The records to write now; tasks that have failed by it are written in the end."""
        return [safe for record in batch if (safe := self._one(record)) is not None]

    def _one(self, record: Record) -> Record | None:
        kind = kind_of(record.key)
        if kind == "rules":
            return self._rule(record)
        if kind != "tasks":
            return record
        try:
            return self._task(record)
        except records.DamagedRecord:
            return self._unread_task(record)

    def _task(self, record: Record) -> Record | None:
        task = decoded(*record, Task)
        if task.status not in ALLOWED:
            return record
        failed = moved(task, Event.FAIL, self._now, error=ERROR, intent=None)
        *earlier, last = failed.status_history
        signed = msgspec.structs.replace(
            failed,
            status_history=(*earlier, msgspec.structs.replace(last, by=SYSTEM.name)),
        )
        self.held.append(_Held(task, record.value, logged(signed, self._now, f"[ERROR] {REASON}")))
        return None

    def _unread_task(self, record: Record) -> Record | None:
        """A task that perhaps a newer version reads, as failed as it can be without reading it."""
        task, place = _members(record.value), keys.parse(record.key)
        task_id, status, history = map(task.get, ("task_id", "status", "status_history"))
        if place is None or str(status) not in ALLOWED:
            return record
        step = {"status": Status.FAILED, "timestamp": self._now, "by": SYSTEM.name}
        changes = {
            "status": Status.FAILED,
            "status_history": [*(history if isinstance(history, list) else ()), step],
            "updated_at": self._now,
            "intent": None,
            "error": ERROR,
        }
        tenant = task.get("tenant")
        event = AuditEvent(
            event_id=new_event_id(self._now),
            at=self._now,
            action="task.failed",
            actor=SYSTEM,
            target=f"task/{task_id}",
            tenant=tenant if isinstance(tenant, str) else None,
            idc=place.idc,
            sn=place.sn,
            before={"status": status},
            after={"status": Status.FAILED},
            reason=REASON,
        )
        self.unread.append(_Unread(place, str(task_id), {**task, **changes}, event))
        return None

    def _rule(self, record: Record) -> Record:
        """The rule, disabled; as plain JSON, for one that only a newer version reads is one too."""
        rule = _members(record.value)
        fields = rule.get("fields")
        if not isinstance(fields, dict) or fields.get("enabled", True) is False:
            return record
        self.disabled.append(record.key.rpartition("/")[2])
        disabled = {**rule, "fields": {**fields, "enabled": False}}
        return Record(record.key, msgspec.json.encode(disabled))


def _members(value: bytes) -> dict[str, Any]:
    """The members of a JSON object; none where it is something else."""
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


async def _require_nobody(store: Store) -> None:
    """Who has an embedded store open is alone with it; in a cluster, leases say who lives."""
    if (await store.status()).backend == "sqlite":
        return
    leaders = (await store.range(ELECTIONS)).kvs
    alive = [kv.value.decode(errors="replace") for kv in leaders if kv.lease]
    regions = (await store.range("/os/region/", keys_only=True)).kvs
    alive += [kv.key for kv in regions if kv.lease]
    if alive:
        raise InUse(
            f"{len(alive)} live on this store ({', '.join(alive[:5])}): stop every control plane"
            " and region, wait 30 s, and try again"
        )


async def _counts(store: Store) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for prefix in PREFIXES:
        async for page in store.list(prefix):
            counts.update(kind_of(kv.key) for kv in page.kvs)
    return dict(sorted(counts.items()))


async def _delete(store: Store, prefix: str) -> None:
    async for page in store.list(prefix, page=MAX_TXN_OPERATIONS):
        if page.kvs:
            await store.txn([], [Delete(kv.key) for kv in page.kvs])


async def _put_failed(store: Store, held: "_Held") -> None:
    """Write a task as failed, with all that goes with that in the life of a store."""
    task, value = fitted(held.failed, held.document, read=held.before)
    entry = ServerEntry(
        sn=task.sn, status=task.status.value, mac=task.mac, added_at=await _added_at(store, task)
    )
    await store.txn(
        [],
        [
            Put(keys.task(task.idc, task.sn), value),
            Put(keys.server(task.idc, task.sn), records.encode(entry)),
            Put(keys.dead_letter(task.idc, task.task_id), value),
            told_of_task(held.before, task, SYSTEM),
        ],
    )


async def _put_unread(store: Store, unread: _Unread) -> None:
    """As `_put_failed`, with the server's entry as plain JSON where there is one."""
    place, value = unread.place, msgspec.json.encode(unread.failed)
    operations = [
        Put(keys.task(place.idc, place.sn), value),
        Put(keys.dead_letter(place.idc, unread.task_id), value),
        put(unread.event),
    ]
    kv = await store.get(keys.server(place.idc, place.sn))
    if kv is not None and (entry := _members(kv.value)):
        operations.append(Put(kv.key, msgspec.json.encode({**entry, "status": Status.FAILED})))
    await store.txn([], operations)


async def _added_at(store: Store, task: Task) -> datetime:
    """Since when the server is known; where its entry is gone or damaged, the task's beginning."""
    kv = await store.get(keys.server(task.idc, task.sn))
    try:
        return records.decode(kv, ServerEntry).added_at if kv else task.created_at
    except records.DamagedRecord:
        return task.created_at


def _told(restored: Restored, path: Path, now: datetime) -> Put:
    manifest = restored.manifest
    after = {
        "file": path.name,
        "made_at": manifest.made_at.isoformat(),
        "revision": manifest.revision,
        "records": manifest.records,
        "failed_tasks": len(restored.failed),
        "disabled_rules": restored.disabled,
    }
    return told("backup.restored", f"backup/{path.name}", SYSTEM, now, after=after)
