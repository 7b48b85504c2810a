"""The one loop through which every change of a task goes: read, step, compare-and-swap.

A step is a pure function from a task to its next version. A race is lost by reading the new value
and stepping again, so that no update is lost and none is applied twice (L9). What memory has of a
task saves the reading: it may be old, so nothing counts that comes of it but a swap that the store
took.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from weakref import WeakValueDictionary

import msgspec

from lpmos.core.fitting import fitted
from lpmos.core.journal import told_of_task
from lpmos.core.taskrow import TaskRow
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, LpmosError, NotFound
from lpmos.model.lifecycle import Event, Status, advance
from lpmos.model.machine import Machine, ServerEntry
from lpmos.model.task import LOG_LINE_BYTES, LOG_LINES, StatusChange, Task, TaskPlace
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
RecordStep = Callable[[Machine | None], Machine | None]
MachineStep = Callable[[Task], RecordStep | None]
"""What makes the machine's record (S3) of the new version of the task; None: it is not read.

A record that comes back as it was, or as None, is left alone.
"""
Remembered = Callable[[str], KV | None]
"""A key of the store as memory has it, which may be old."""
Read = Callable[[str], Awaitable[KV | None]]

ATTEMPTS = 50
WRITTEN_LATELY = 128
"""How many tasks that were written here are known before memory hears of them; the oldest go."""


class Superseded(Conflict):
    """The machine has another task by now; this one is over."""

    code = "superseded"


class StoredTask(msgspec.Struct, frozen=True):
    """A task and the revision of its document; `past`: it stands in its machine's history."""

    task: Task
    revision: int
    past: bool


_changing: ContextVar[frozenset[str]] = ContextVar("_changing", default=frozenset())
"""The tasks' keys that are being changed around this call."""


class _Change:
    """One change that is asked for; `written` is the document of a swap whose answer was lost."""

    def __init__(
        self,
        task: Task | TaskRow,
        step: Step,
        by: Actor,
        *,
        machine: MachineStep | None,
        at_revision: int | None,
        only_while: Sequence[Compare],
        also: Sequence[Operation],
    ) -> None:
        self.key = keys.task(task.idc, task.sn)
        self.by = by
        self.machine = machine
        self.only_while = only_while
        self.also = also
        self.written: bytes | None = None
        self._task = task
        self._step = step
        self._at_revision = at_revision

    def stepped(self, kv: KV | None) -> tuple[Task, Task]:
        """The task as `kv` has it, and its next version; the same twice writes nothing."""
        task = self._task
        if kv is None:
            raise NotFound(f"machine {task.sn} of {task.idc} has no task")
        before = records.decode(kv, Task)
        if kv.value == self.written:  # an earlier try whose answer was lost
            return before, before
        if before.task_id != task.task_id:
            raise Superseded(
                f"task {task.task_id} is over; machine {task.sn} has task {before.task_id}"
            )
        if self._at_revision not in (None, kv.mod_revision):
            raise CasConflict(f"the task is at revision {kv.mod_revision}, not {self._at_revision}")
        return before, self._step(before)

    def guessed(self, kv: KV) -> tuple[Task, Task] | None:
        """As `stepped`, of what memory has; None where the store has to be asked what holds."""
        try:
            before, after = self.stepped(kv)
        except LpmosError:
            return None
        return None if after is before else (before, after)


def nothing(_: str) -> None:
    """No memory: the store is always asked."""


class _Newest:
    """What memory has, or what was written here since: memory hears of that a moment later."""

    def __init__(self, remembered: Remembered) -> None:
        self._remembered = remembered
        self._written: OrderedDict[str, KV] = OrderedDict()

    def get(self, key: str) -> KV | None:
        """The newer of both."""
        known, written = self._remembered(key), self._written.get(key)
        if written is None:
            return known
        if known is None or known.mod_revision < written.mod_revision:
            return written
        del self._written[key]
        return known

    def note(self, key: str, value: bytes, revision: int) -> None:
        """Take in what the store took, where there is a memory."""
        if self._remembered is nothing:
            return
        self._written[key] = KV(key, value, 0, revision, 0)
        self._written.move_to_end(key)
        if len(self._written) > WRITTEN_LATELY:
            self._written.popitem(last=False)


class TaskStore:
    """Reads and swaps task documents."""

    def __init__(self, store: Store, remembered: Remembered = nothing) -> None:
        """`remembered` is asked before the store is."""
        self._store = store
        self._newest = _Newest(remembered)
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def change(
        self,
        task: Task | TaskRow,
        step: Step,
        *,
        by: Actor,
        machine: MachineStep | None = None,
        at_revision: int | None = None,
        only_while: Sequence[Compare] = (),
        also: Sequence[Operation] = (),
    ) -> Task:
        """Apply `step` to what the store has of `task` now; the same value back writes nothing.

        A new status tells of itself in the same transaction; a task that fails is set aside (S9).

        Args:
            task: which one, as far as it is known.
            step: a pure function; it is called again where a race was lost.
            by: who does it.
            machine: pure functions; what they make of the machine's record goes into the same
                transaction, and is compared like the task.
            at_revision: the only revision of the document that may be changed; None: any.
            only_while: what else must hold in the store, as a leadership's fence.
            also: operations of the same transaction.

        Raises:
            NotFound: the machine has no task.
            CasConflict: the document is not at `at_revision`, or `only_while` may not hold.
            Superseded: the machine has another task; nothing of it was changed.
            ImpossibleTransition: from `step`, on the value that is in the store.
            Unavailable: the store is away, or others changed the task `ATTEMPTS` times meanwhile.
        """
        change = _Change(
            task,
            step,
            by,
            machine=machine,
            at_revision=at_revision,
            only_while=only_while,
            also=also,
        )
        if change.key in _changing.get():  # a change within this one does not wait for it
            return await self._changed(change)
        async with self._turns.setdefault(change.key, asyncio.Lock()):
            token = _changing.set(_changing.get() | {change.key})
            try:
                return await self._changed(change)
            finally:
                _changing.reset(token)

    async def _changed(self, change: _Change) -> Task:
        """Changes of one task that are asked for here wait for each other; others race."""
        remembered = self._newest.get(change.key)
        guessed = change.guessed(remembered) if remembered else None
        if remembered and guessed:
            after = await self._swapped(change, remembered, *guessed, read=self._known)
            if after is not None:
                return after
        for _ in range(ATTEMPTS):
            kv = await self._store.get(change.key)
            before, after = change.stepped(kv)
            if after is before or kv is None:
                return before
            swapped = await self._swapped(change, kv, before, after, read=self._store.get)
            if swapped is not None:
                return swapped
            if change.only_while and change.written is None:
                raise CasConflict("the task, or what this change of it depends on, has changed")
        raise Unavailable(f"{change.key} changed {ATTEMPTS} times meanwhile; try again")

    async def _known(self, key: str) -> KV | None:
        """A key as memory has it, or where it has none, as the store does."""
        return self._newest.get(key) or await self._store.get(key)

    async def _swapped(
        self, change: _Change, kv: KV, before: Task, after: Task, *, read: Read
    ) -> Task | None:
        """The new version as it was written; None where it was not, or nobody knows.

        `read` gives the machine's other documents.
        """
        after, written = fitted(_signed(before, after, change.by), kv.value, read=before)
        told = await self._told(before, after, written, change.by, read)
        operations = [Put(change.key, written), *told, *change.also]
        compare = [Compare(change.key, "mod", "=", kv.mod_revision), *change.only_while]
        record = change.machine(after) if change.machine else None
        if record is not None:
            compare, operations = await self._with_machine(record, after, compare, operations, read)
        try:
            done = await self._store.txn(compare, operations)
        except Ambiguous:
            change.written = written
            return None
        change.written = None
        if not done.succeeded:
            return None
        self._newest.note(change.key, written, done.revision)
        return after

    async def past(self, task: Task) -> Task | None:
        """The task as its machine's history (S5) has it."""
        kv = await self._store.get(keys.history(task.idc, task.sn, task.task_id))
        return records.decode(kv, Task) if kv else None

    async def stored(self, task_id: str, place: tuple[str, str] | None = None) -> StoredTask | None:
        """A present or past task as the store has it; `place` is its machine, where it is known."""
        if place is None:
            kv = await self._store.get(keys.task_place(task_id))
            if kv is None:
                return None
            known = records.decode(kv, TaskPlace)
            place = known.idc, known.sn
        kv = await self._store.get(keys.task(*place))
        task = records.decode(kv, Task) if kv else None
        if kv is not None and task is not None and task.task_id == task_id:
            return StoredTask(task, kv.mod_revision, past=False)
        kv = await self._store.get(keys.history(*place, task_id))
        return StoredTask(records.decode(kv, Task), kv.mod_revision, past=True) if kv else None

    async def _with_machine(
        self,
        record: RecordStep,
        task: Task,
        compare: list[Compare],
        operations: list[Operation],
        read: Read,
    ) -> tuple[list[Compare], list[Operation]]:
        key = keys.meta(task.idc, task.sn)
        kv = await read(key)
        known = records.decode(kv, Machine) if kv else None
        after = record(known)
        if after is None or after == known:
            return compare, operations
        compare = [*compare, Compare(key, "mod", "=", kv.mod_revision if kv else 0)]
        return compare, [*operations, Put(key, records.encode(after, kv.value if kv else None))]

    async def _told(
        self, before: Task, after: Task, written: bytes, by: Actor, read: Read
    ) -> list[Operation]:
        """What goes with a new status: the server's entry, the word of it, the dead letter."""
        if after.status is before.status:
            return []
        operations = [*await self._server_entry(after, read), told_of_task(before, after, by)]
        if after.status is Status.FAILED:
            operations.append(Put(keys.dead_letter(after.idc, after.task_id), written))
        return operations

    async def _server_entry(self, task: Task, read: Read) -> list[Operation]:
        """The server's short entry (S1) follows the task's status."""
        key = keys.server(task.idc, task.sn)
        kv = await read(key)
        added_at = records.decode(kv, ServerEntry).added_at if kv else task.created_at
        entry = ServerEntry(sn=task.sn, status=task.status.value, mac=task.mac, added_at=added_at)
        return [Put(key, records.encode(entry))]


def _signed(before: Task, after: Task, by: Actor) -> Task:
    """The task with who made each of its new steps."""
    known = len(before.status_history)
    if len(after.status_history) == known:
        return after
    signed = (msgspec.structs.replace(each, by=by.name) for each in after.status_history[known:])
    return msgspec.structs.replace(after, status_history=(*after.status_history[:known], *signed))


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
    return msgspec.structs.replace(
        task, logs=(task.logs + added)[-LOG_LINES:], log_count=task.lines_logged + len(added)
    )


def _cut(line: str) -> str:
    """At most `LOG_LINE_BYTES` of a line, whole characters."""
    return line.encode(errors="replace")[:LOG_LINE_BYTES].decode(errors="ignore")
