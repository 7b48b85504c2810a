"""Giving a machine back to what it was before a task that failed or was cancelled (L5).

What the machine is given back to is decided on its record and its task as the store has them, and
both are compared in the transaction. The task keeps its status: it came to nothing. It leaves the
dead-letter queue, as somebody has looked after it.
"""

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.fitting import fitted
from lpmos.core.journal import told
from lpmos.core.tasks import Tasks
from lpmos.core.taskstore import logged
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict
from lpmos.model.machine import Machine
from lpmos.model.rollback import next_boot, previous_generation
from lpmos.model.task import RolledBack, Task
from lpmos.store import keys, records
from lpmos.store.api import (
    KV,
    Ambiguous,
    CasConflict,
    Compare,
    Delete,
    Get,
    Operation,
    Put,
    Store,
    Unavailable,
)

ATTEMPTS = 10


class Rollbacks:
    """The use case of a rollback."""

    def __init__(self, store: Store, tasks: Tasks, clock: Clock) -> None:
        self._store = store
        self._tasks = tasks
        self._clock = clock

    async def roll_back(
        self, task_id: str, *, by: Actor, at_revision: int | None = None
    ) -> tuple[Task, RolledBack]:
        """Do it; a task that was rolled back already stays as it is.

        Raises:
            NotFound: there is no such task.
            ImpossibleTransition: it is neither failed nor cancelled.
            Conflict: its machine has another task since, or what it was before is gone.
            CasConflict: it is not at `at_revision`.
            Unavailable: others change the machine all the time, or the store is away.
        """
        known = await self._tasks.find(task_id, by.tenant)
        for _ in range(ATTEMPTS):
            task, task_kv, machine, machine_kv = await self._read(known)
            if task.rolled_back is not None:
                return task, task.rolled_back
            if at_revision not in (None, task_kv.mod_revision):
                raise CasConflict(
                    f"the task is at revision {task_kv.mod_revision}, not {at_revision}"
                )
            back = RolledBack(
                by=by.name, at=self._clock(), generation=previous_generation(task, machine)
            )
            after, written = fitted(_after(task, back), task_kv.value, read=task)
            compare = [
                Compare(task_kv.key, "mod", "=", task_kv.mod_revision),
                Compare(
                    keys.meta(task.idc, task.sn),
                    "mod",
                    "=",
                    machine_kv.mod_revision if machine_kv else 0,
                ),
            ]
            try:
                if await self._write(compare, after, written, back, by):
                    return after, back
            except Ambiguous:
                continue
        raise Unavailable(f"machine {known.sn} is being changed by others; try again")

    async def _read(self, known: Task) -> tuple[Task, KV, Machine | None, KV | None]:
        place = known.idc, known.sn
        wanted = [Get(keys.task(*place)), Get(keys.meta(*place))]
        task_kv, machine_kv = (_first(each) for each in (await self._store.txn([], wanted)).results)
        task = records.decode(task_kv, Task) if task_kv else None
        if task_kv is None or task is None or task.task_id != known.task_id:
            now = f"has task {task.task_id} since" if task else "has no task"
            raise Conflict(f"machine {known.sn} {now}; only its last task can be rolled back")
        machine = records.decode(machine_kv, Machine) if machine_kv else None
        return task, task_kv, machine, machine_kv

    async def _write(
        self, compare: list[Compare], task: Task, written: bytes, back: RolledBack, by: Actor
    ) -> bool:
        event = told(
            "task.rolled-back",
            f"task/{task.task_id}",
            by,
            back.at,
            tenant=task.tenant,
            after={"generation": back.generation},
        )
        letter = Delete(keys.dead_letter(task.idc, task.task_id))
        operations: list[Operation] = [Put(keys.task(task.idc, task.sn), written), letter, event]
        return (await self._store.txn(compare, operations)).succeeded


def _after(task: Task, back: RolledBack) -> Task:
    changed = msgspec.structs.replace(task, rolled_back=back, updated_at=back.at)
    return logged(changed, back.at, f"[INFO] rolled back by {back.by}: {next_boot(back)}")


def _first(result: int | tuple[KV, ...] | None) -> KV | None:
    return result[0] if isinstance(result, tuple) and result else None
