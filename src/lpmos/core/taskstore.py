"""The one loop through which every change of a task goes: read, step, compare-and-swap.

A step is a pure function from a task to its next version. A race is lost by reading the new value
and stepping again, so that no update is lost and none is applied twice (L9).
"""

from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from lpmos.model.errors import NotFound
from lpmos.model.lifecycle import Event, advance
from lpmos.model.machine import ServerEntry
from lpmos.model.task import LOG_LINE_CHARACTERS, LOG_LINES, StatusChange, Task
from lpmos.store import keys, records
from lpmos.store.api import KV, Ambiguous, Compare, Operation, Put, Store, Unavailable

Step = Callable[[Task], Task]
Also = Callable[[Task], Sequence[Operation]]
"""Operations that go into the same transaction as the new version of the task."""

ATTEMPTS = 50


class TaskStore:
    """Reads and swaps task documents."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def change(self, idc: str, sn: str, step: Step, also: Also | None = None) -> Task:
        """Apply `step` to the machine's present task; if it returns the same, nothing is written.

        Raises:
            NotFound: the machine has no task.
            ImpossibleTransition: from `step`, on the value that is in the store.
            Unavailable: the store is away, or others changed the task `ATTEMPTS` times meanwhile.
        """
        key = keys.task(idc, sn)
        written: bytes | None = None
        for _ in range(ATTEMPTS):
            kv = await self._store.get(key)
            if kv is None:
                raise NotFound(f"machine {sn} of {idc} has no task")
            before = records.decode(kv, Task)
            if kv.value == written:  # an earlier try whose answer was lost
                return before
            after = step(before)
            if after is before:
                return before
            written = records.encode(after)
            operations = [Put(key, written), *(also(after) if also else ())]
            if after.status is not before.status:
                operations += await self._server_entry(after)
            try:
                if await self._swap(kv, operations):
                    return after
                written = None
            except Ambiguous:
                continue
        raise Unavailable(f"the task of {sn} changed {ATTEMPTS} times meanwhile; try again")

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
    added = tuple(f"{stamp} {' '.join(line.split())}"[:LOG_LINE_CHARACTERS] for line in lines)
    return msgspec.structs.replace(task, logs=(task.logs + added)[-LOG_LINES:])
