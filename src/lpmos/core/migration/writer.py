"""A plan written: each task is one transaction with the note that it was carried over.

So a task is carried over once or not at all, whatever ends the migration and however often it is
run; what is there already is never written over. Nothing of an older layout is touched here.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

import msgspec

from lpmos.core import journal
from lpmos.core.migration.conversion import MIGRATION, convert
from lpmos.core.migration.entries import Finding
from lpmos.core.migration.identities import refused
from lpmos.core.migration.others import PlannedPut
from lpmos.core.migration.plan import Plan, PlannedTask
from lpmos.core.migration.standing import Done, Standing
from lpmos.model.audit import AuditEvent, new_event_id
from lpmos.model.lifecycle import Status
from lpmos.model.machine import ServerEntry
from lpmos.model.task import Task, TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import (
    Ambiguous,
    Compare,
    Operation,
    Put,
    Store,
    Unavailable,
)

AT_ONCE = 16
"""How many machines' tasks are written at the same time."""

PUTS_AT_ONCE = 12
"""How many documents besides tasks go into one transaction: each may have 64 KiB, twice."""

ATTEMPTS = 10
RETRY_S = 0.5
ACTION = "migration.carried"

Told = Callable[[int], None]


class Written(msgspec.Struct, kw_only=True):
    """What a run did: ids of tasks, keys of other documents, and what was refused on the way."""

    tasks: set[str] = set()
    already: set[str] = set()
    documents: set[str] = set()
    findings: list[Finding] = []


class Writer:
    """Writes a plan into the store at one moment, which is that of the run."""

    def __init__(
        self,
        store: Store,
        plan: Plan,
        standing: Standing,
        at: datetime,
        told: Told | None = None,
        *,
        retry_s: float = RETRY_S,
    ) -> None:
        """`told` hears how many tasks are done; a store that is away is asked after `retry_s`."""
        self._store = store
        self._plan = plan
        self._standing = standing
        self._at = at
        self._told = told
        self._retry_s = retry_s
        self._written = Written()

    async def write(self) -> Written:
        """Write all that was not written yet.

        Raises:
            Unavailable: the store is away; the same again goes on from here.
            StoreError: it takes no writes, as `NoSpace`; likewise.
        """
        machines = iter(self._plan.machines)
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(AT_ONCE):
                    group.create_task(self._work(machines), name="migration")
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from errors
        puts = [put for put in self._plan.others.puts if put.key not in self._standing.keys]
        for start in range(0, len(puts), PUTS_AT_ONCE):
            await self._put(puts[start : start + PUTS_AT_ONCE])
        return self._written

    async def _work(self, machines: Iterator[Sequence[PlannedTask]]) -> None:
        """Take machine after machine; the tasks of one are written oldest first."""
        for machine in machines:
            for planned in machine:
                await self._write_task(planned)
                if self._told is not None:
                    self._told(len(self._written.tasks) + len(self._written.already))

    async def _write_task(self, planned: PlannedTask) -> None:
        task_id = planned.old.task_id
        if (done := self._standing.done.get(task_id)) is not None:
            self._seen_before(planned, done)
            return
        try:
            task, document = convert(planned.old, planned.sn, self._at)
        except records.RecordTooLarge as error:
            self._written.findings.append(refused(planned.old, "too-large", str(error)))
            return
        compare, operations = self._transaction(planned, task, document)
        if await self._commit(compare, operations):
            self._written.tasks.add(task_id)
            return
        note = await self._store.get(keys.migrated(task_id))
        if note is not None:  # an earlier try whose answer was lost, or another run beside this one
            self._written.tasks.add(task_id)
            return
        reason = "v3 has another task with this id, or another present task of its machine"
        self._written.findings.append(refused(planned.old, "in-use", reason))

    def _seen_before(self, planned: PlannedTask, done: Done) -> None:
        self._written.already.add(planned.old.task_id)
        if done.source_sha256 != planned.old.digest:
            reason = "the source changed after it was carried over; v3 has it as it was before"
            self._written.findings.append(refused(planned.old, "source-changed", reason))

    def _transaction(
        self, planned: PlannedTask, task: Task, document: bytes
    ) -> tuple[list[Compare], list[Operation]]:
        place = records.encode(TaskPlace(idc=task.idc, sn=task.sn))
        key = target(planned, task)
        note, where = keys.migrated(task.task_id), keys.task_place(task.task_id)
        compare = [Compare(each, "create", "=", 0) for each in (note, where, key)]
        done = Done(
            task_id=task.task_id,
            layout=planned.old.layout.value,
            place=planned.old.place,
            source_sha256=planned.old.digest,
            document_sha256=sha256(document),
            idc=task.idc,
            sn=task.sn,
            at=self._at,
        )
        operations: list[Operation] = [
            Put(key, document),
            Put(where, place),
            Put(note, records.encode(done)),
            _event(planned, task, self._at),
        ]
        if planned.present:
            added_at = self._plan.others.added_at.get((task.idc, task.sn), task.created_at)
            entry = ServerEntry(
                sn=task.sn, status=task.status.value, mac=task.mac, added_at=added_at
            )
            operations.append(Put(keys.server(task.idc, task.sn), records.encode(entry)))
            operations.append(Put(keys.mac_place(task.idc, task.mac), place))
            if task.status is Status.FAILED:
                operations.append(Put(keys.dead_letter(task.idc, task.task_id), document))
        return compare, operations

    async def _put(self, puts: Sequence[PlannedPut]) -> None:
        """Write documents together, or each by itself where one of them is there."""
        compare = [
            Compare(key, "create", "=", 0)
            for put in puts
            for key in (put.key, keys.migrated_key(put.key))
        ]
        operations: list[Operation] = []
        for put in puts:
            operations.append(Put(put.key, put.value))
            operations += [Put(key, value) for key, value in put.also]
            operations.append(Put(keys.migrated_key(put.key), sha256(put.value).encode()))
        if await self._commit(compare, operations):
            self._written.documents |= {put.key for put in puts}
        elif len(puts) > 1:
            for put in puts:
                await self._put([put])

    async def _commit(self, compare: Sequence[Compare], operations: Sequence[Operation]) -> bool:
        for attempt in range(ATTEMPTS):
            try:
                return (await self._store.txn(compare, operations)).succeeded
            except (Unavailable, Ambiguous) as error:
                if attempt == ATTEMPTS - 1:
                    raise Unavailable(f"{error}; run it again: it goes on from here") from error
                await asyncio.sleep(self._retry_s)
        raise AssertionError("the last attempt returns or raises")


def target(planned: PlannedTask, task: Task) -> str:
    """The key of a task in v3."""
    if planned.present:
        return keys.task(task.idc, task.sn)
    return keys.history(task.idc, task.sn, task.task_id)


def sha256(value: bytes) -> str:
    """The digest of a document."""
    return hashlib.sha256(value).hexdigest()


def _event(planned: PlannedTask, task: Task, at: datetime) -> Put:
    """What the audit log has of it; no step of the task, so that its listeners are left alone."""
    after = {
        "status": task.status.value,
        "from": planned.old.layout.value,
        "was": planned.old.status[:64],
        "created_at": task.created_at.isoformat(),
    }
    event = AuditEvent(
        event_id=new_event_id(at),
        at=at,
        action=ACTION,
        actor=MIGRATION,
        target=f"task/{task.task_id}",
        tenant=task.tenant,
        idc=task.idc,
        sn=task.sn,
        after=after,
    )
    return journal.put(event)
