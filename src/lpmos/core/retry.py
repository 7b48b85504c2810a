"""The elected control plane's part in retries: what failed for a passing reason is tried again.

The rule: what it does a person could have done in the dead-letter queue, and it needs a new
approval. A failure that somebody dismissed, retried or rolled back is left alone: the new task is
made only while the dead letter is there. Its id comes from the old one's, so that two leaders make
one task. It waits until the region was heard after the failure and has no words waiting: one that
was cut off may have let the machine begin, which is known when its words are handed in (F2).
"""

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from lpmos.core.clock import Clock
from lpmos.core.deadlines.queue import DueQueue
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.core.taskrow import TaskRow
from lpmos.core.tasks import Tasks
from lpmos.core.tracing import named
from lpmos.model.audit import SYSTEM
from lpmos.model.errors import LpmosError
from lpmos.model.lifecycle import Status
from lpmos.model.retry import RetryPolicy, is_transient, pause
from lpmos.store import keys
from lpmos.store.api import KV, CasConflict, Compare, Leadership, StoreError

log = structlog.get_logger()

LOOK_S = 1.0
"""How often the clock is looked at."""

AGAIN = timedelta(seconds=10)
"""When a retry is looked at again for which the store or the region was away."""


class RetryDuty:
    """Tries again what failed for a reason that may pass, for as long as it leads."""

    def __init__(
        self,
        fleet: Fleet,
        tasks: Tasks,
        policy: RetryPolicy,
        clock: Clock,
        *,
        look_s: float = LOOK_S,
    ) -> None:
        """`look_s` is how often the clock is looked at."""
        self._fleet = fleet
        self._tasks = tasks
        self._policy = policy
        self._clock = clock
        self._look_s = look_s
        self._queue = DueQueue()

    async def lead(self, leadership: Leadership) -> None:
        """Do it until cancelled; what failed before is taken in first."""
        self._queue = DueQueue()
        unsubscribe = self._fleet.subscribe(self._note_task)
        try:
            await self._fleet.wait_for_revision(1)
            for row in self._fleet.current_rows():
                self._note(row)
            while True:
                for task_id in list(self._queue.due(self._clock())):
                    await self._look(task_id, leadership)
                await asyncio.sleep(self._look_s)
        finally:
            unsubscribe()

    def due_at(self, row: TaskRow) -> datetime | None:
        """When a machine's failed task will be tried again; None where it will not be."""
        if row.status is not Status.FAILED or row.past or not self._is_set_aside(row):
            return None
        tries = self._tries(row)
        task = self._fleet.task(row.task_id) if tries < self._policy.limit else None
        if task is None or not is_transient(task):
            return None
        return row.since + pause(self._policy, row.task_id, tries)

    def _note_task(self, change: TaskChange) -> None:
        if change.row is not None:
            self._note(change.row)

    def _note(self, row: TaskRow) -> None:
        """A task that has just failed is looked at at once; its dead letter may come after it."""
        if row.status is Status.FAILED:
            self._queue.put(row.task_id, row.since)

    async def _look(self, task_id: str, leadership: Leadership) -> None:
        row = self._fleet.row(task_id)
        at = self.due_at(row) if row else None
        if row is None or at is None:
            return
        if at > self._clock():
            self._queue.put(task_id, at)
        elif (heartbeat := self._heard_since(row)) is None:
            self._queue.put(task_id, self._clock() + AGAIN)
        else:
            here = Compare(heartbeat.key, "create", "=", heartbeat.create_revision)
            await self._try_again(row, (*leadership.fence, here))

    def _heard_since(self, row: TaskRow) -> KV | None:
        """The heartbeat of a region that knows of the failure and has told all; None: not yet."""
        kv = self._fleet.stored(keys.heartbeat(row.idc))
        said = self._fleet.region(row.idc).heartbeat
        if kv is None or said is None or kv.mod_revision <= row.revision:
            return None
        return None if said.outbox and said.outbox.waiting else kv

    async def _try_again(self, row: TaskRow, only_while: Sequence[Compare]) -> None:
        task = self._fleet.task(row.task_id)
        letter = Compare(keys.dead_letter(row.idc, row.task_id), "mod", ">", 0)
        try:
            made = await self._tasks.retry(
                row.task_id,
                by=SYSTEM,
                idempotency_key=f"automatic/{row.task_id}",
                acting_for=task.asked_by if task else None,
                only_while=(*only_while, letter),
            )
        except CasConflict as error:
            log.debug("not tried again: it has changed", task_id=row.task_id, reason=str(error))
            self._queue.put(row.task_id, self._clock() + AGAIN)
        except StoreError as error:
            log.warning("a retry waits for the store", task_id=row.task_id, reason=str(error))
            self._queue.put(row.task_id, self._clock() + AGAIN)
        except LpmosError as error:
            log.warning("not tried again", task_id=row.task_id, reason=str(error))
        else:
            log.info("tried again", of=row.task_id, **named(made.task))

    def _tries(self, row: TaskRow) -> int:
        """How many attempts in a row up to this one were made automatically."""
        tries = 0
        earlier: TaskRow | None = row
        while earlier and earlier.retry_of and earlier.created_by == SYSTEM.name:
            tries += 1
            earlier = self._fleet.row(earlier.retry_of)
        return tries

    def _is_set_aside(self, row: TaskRow) -> bool:
        return self._fleet.dead_letter(row.task_id) is not None
