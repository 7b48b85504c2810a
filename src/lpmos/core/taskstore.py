"""The one loop through which every change of a task goes: read, step, compare-and-swap.

A step is a pure function from a task to its next version. A race is lost by reading the new value
and stepping again, so that no update is lost and none is applied twice (L9).
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from lpmos.core.fitting import fitted
from lpmos.core.journal import told_of_task
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, NotFound
from lpmos.model.lifecycle import Event, Status, advance
from lpmos.model.machine import ServerEntry
from lpmos.model.task import LOG_LINE_BYTES, LOG_LINES, StatusChange, Task
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    Ambiguous,
    CasConflict,
    Compare,
    Operation,
    Put,
    Store,
    Unavailable,
)

Step = Callable[[Task], Task]
Also = Callable[[Task], Sequence[Operation]]
"""Operations that go into the same transaction as the new version of the task."""

ATTEMPTS = 50


class Superseded(Conflict):
    """The machine has another task by now; this one is over."""

    code = "superseded"


class TaskStore:
    """Reads and swaps task documents."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def change(
        self,
        task: Task,
        step: Step,
        *,
        by: Actor,
        also: Also | None = None,
        at_revision: int | None = None,
    ) -> Task:
        """Apply `step` to what the store has of `task` now; the same value back writes nothing.

        A new status tells of itself in the same transaction; a task that fails is set aside (S9).

        Args:
            task: which one, as far as it is known.
            step: a pure function; it is called again where a race was lost.
            by: who does it.
            also: operations that go into the same transaction.
            at_revision: the only revision of the document that may be changed; None: any.

        Raises:
            NotFound: the machine has no task.
            CasConflict: the document is not at `at_revision`.
            Superseded: the machine has another task; nothing of it was changed.
            ImpossibleTransition: from `step`, on the value that is in the store.
            Unavailable: the store is away, or others changed the task `ATTEMPTS` times meanwhile.
        """
        key = keys.task(task.idc, task.sn)
        written: bytes | None = None
        for _ in range(ATTEMPTS):
            kv = await self._store.get(key)
            if kv is None:
                raise NotFound(f"machine {task.sn} of {task.idc} has no task")
            before = records.decode(kv, Task)
            if kv.value == written:  # an earlier try whose answer was lost
                return before
            if before.task_id != task.task_id:
                raise Superseded(
                    f"task {task.task_id} is over; machine {task.sn} has task {before.task_id}"
                )
            if at_revision not in (None, kv.mod_revision):
                raise CasConflict(f"the task is at revision {kv.mod_revision}, not {at_revision}")
            after = step(before)
            if after is before:
                return before
            after, written = fitted(after)
            operations = [Put(key, written), *(also(after) if also else ())]
            if after.status is not before.status:
                operations += await self._server_entry(after)
                operations.append(told_of_task(before, after, by))
                if after.status is Status.FAILED:
                    operations.append(Put(keys.dead_letter(after.idc, after.task_id), written))
            try:
                if await self._swap(kv, operations):
                    return after
                written = None
            except Ambiguous:
                continue
        raise Unavailable(f"the task of {task.sn} changed {ATTEMPTS} times meanwhile; try again")

    async def past(self, task: Task) -> Task | None:
        """The task as its machine's history (S5) has it."""
        kv = await self._store.get(keys.history(task.idc, task.sn, task.task_id))
        return records.decode(kv, Task) if kv else None

    async def _swap(self, kv: KV, operations: Sequence[Operation]) -> bool:
        compare = [Compare(kv.key, "mod", "=", kv.mod_revision)]
        return (await self._store.txn(compare, operations)).succeeded

    async def _server_entry(self, task: Task) -> list[Operation]:
        """The server's short entry (S1) follows the task's status."""
        key = keys.server(task.idc, task.sn)
        kv = await self._store.get(key)
        added_at = records.decode(kv, ServerEntry).added_at if kv else task.created_at
        entry = ServerEntry(sn=task.sn, status=task.status.value, mac=task.mac, added_at=added_at)
        return [Put(key, records.encode(entry))]


def moved(task: Task, event: Event, now: datetime, **fields: object) -> Task:
    """The task after `event`, with other fields set; a new status is put into its history.

    Raises:
        ImpossibleTransition: the lifecycle has no such step.
    """
    status = advance(task.status, event)
    history = task.status_history
    if status is not task.status:
        history = (*history, StatusChange(status=status, timestamp=now))
    return msgspec.structs.replace(
        task, status=status, status_history=history, updated_at=now, **fields
    )


def logged(task: Task, now: datetime, *lines: str) -> Task:
    """The task with log lines added; each has a level in brackets before its text.

    A line stays one line, whatever a machine or a person put into it.
    """
    stamp = f"{now:%Y-%m-%dT%H:%M:%S.%f}"[:-3] + "Z"
    added = tuple(_cut(f"{stamp} {' '.join(line.split())}") for line in lines)
    return msgspec.structs.replace(task, logs=(task.logs + added)[-LOG_LINES:])


def _cut(line: str) -> str:
    """At most `LOG_LINE_BYTES` of a line, whole characters."""
    return line.encode(errors="replace")[:LOG_LINE_BYTES].decode(errors="ignore")
