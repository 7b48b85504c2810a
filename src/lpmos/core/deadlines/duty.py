"""The elected control plane's part in deadlines: what waited too long fails, with a reason.

A task is looked at when its time has come, never in between. It fails only while this process leads
and hears its region, and only as it was looked at: the leadership, the region's presence and, where
it is an agent that is away, the absence of its lease are compared in the transaction. Where the
clock of this process was set, it hears every region anew first: then it knows how theirs stand.
A lease lives on in a store that takes no writes, so a region counts as heard only while it tells
something; what it has to hand in comes before the end of any task of it.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import structlog

from lpmos.core.clock import Clock
from lpmos.core.deadlines.deadlines import Deadline, Deadlines
from lpmos.core.deadlines.queue import DueQueue
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.core.taskrow import TaskRow
from lpmos.core.taskstore import Superseded, TaskStore, logged, moved
from lpmos.core.tracing import named
from lpmos.model.audit import SYSTEM
from lpmos.model.errors import ImpossibleTransition, LpmosError, NotFound
from lpmos.model.lifecycle import Event, Status
from lpmos.model.task import Task
from lpmos.model.waiting import AWAY, LIMITS, expired
from lpmos.store import keys
from lpmos.store.api import CasConflict, Compare, Leadership, Store
from lpmos.store.keys import KeyName

log = structlog.get_logger()

LOOK_S = 1.0
"""How often the clock is looked at."""

SMALLEST_STEP = timedelta(seconds=5)
"""By so much the clock is set, not kept right."""

RETRY = timedelta(seconds=5)
"""When a task is looked at again that could not be ended."""

SILENT_S = 60.0
"""A region that told nothing for so long is not heard, though its lease may live."""

HAND_IN_S = 600.0
"""How long an end is put off by what a region has to hand in and does not."""


class DeadlineDuty:
    """Fails what waited too long, for as long as it leads."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        deadlines: Deadlines,
        clock: Clock,
        *,
        look_s: float = LOOK_S,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """`look_s` is how often the clock is looked at; `monotonic` is one that nobody sets."""
        self._changes = TaskStore(store)
        self._fleet = fleet
        self._deadlines = deadlines
        self._clock = clock
        self._look_s = look_s
        self._monotonic = monotonic
        self._offset = self._clock_offset()
        self._queue = DueQueue()
        self._heard_at: dict[str, float] = {}
        self._hands_in_since: dict[str, float] = {}
        self._parked: defaultdict[str, set[str]] = defaultdict(set)

    async def lead(self, leadership: Leadership) -> None:
        """Do it until cancelled; what waits already is taken in first."""
        self._queue, self._parked = DueQueue(), defaultdict(set)
        self._heard_at.clear()
        self._hands_in_since.clear()
        self._offset = self._clock_offset()
        unsubscribe = [
            self._fleet.subscribe(self._note_task),
            self._fleet.subscribe_others(self._note_other),
        ]
        try:
            await self._fleet.wait_for_revision(1)
            for row in self._fleet.current_rows():
                self._note(row)
            while True:
                if not self._fleet.connected or self._was_set():
                    self._heard_at.clear()  # what is in memory may be old: hear every region anew
                for task_id in list(self._queue.due(self._clock())):
                    await self._look(task_id, leadership)
                await asyncio.sleep(self._look_s)
        finally:
            for each in unsubscribe:
                each()

    def _clock_offset(self) -> timedelta:
        return self._clock() - datetime.fromtimestamp(self._monotonic(), UTC)

    def _was_set(self) -> bool:
        """Whether the clock was set since the last look."""
        before, self._offset = self._offset, self._clock_offset()
        return abs(self._offset - before) >= SMALLEST_STEP

    def _note_task(self, change: TaskChange) -> None:
        if change.row is not None:
            self._note(change.row)

    def _note_other(self, key: KeyName, revision: int) -> None:
        if key.kind == "lease":
            row = self._fleet.current_row((key.idc, key.sn))
            if row is not None and row.status is Status.INSTALLING:
                self._note(row)
        elif key.kind == "region" and key.rest == "heartbeat":
            self._note_region(key.idc, online=bool(revision))

    def _note_region(self, idc: str, *, online: bool) -> None:
        if not online:
            self._heard_at.pop(idc, None)
            self._hands_in_since.pop(idc, None)
            return
        self._heard_at[idc] = now = self._monotonic()
        heartbeat = self._fleet.region(idc).heartbeat
        if heartbeat and heartbeat.outbox and heartbeat.outbox.waiting:
            self._hands_in_since.setdefault(idc, now)
        else:
            self._hands_in_since.pop(idc, None)
        for task_id in self._parked.pop(idc, ()):
            row = self._fleet.row(task_id)
            if row is not None:
                self._note(row)

    def _is_heard(self, idc: str) -> bool:
        """Whether the region tells how it is, and all of what its machines said."""
        now = self._monotonic()
        if now - self._heard_at.get(idc, float("-inf")) > SILENT_S:
            return False
        return now - self._hands_in_since.get(idc, float("-inf")) > HAND_IN_S

    def _note(self, row: TaskRow) -> None:
        """Look at a task when its time has come, or when its region is heard again."""
        if row.status not in LIMITS or row.past:
            return
        deadline = self._deadlines.of(row)
        if deadline is not None:
            self._queue.put(row.task_id, deadline.at)
        elif not self._fleet.region(row.idc).online:
            self._parked[row.idc].add(row.task_id)

    async def _look(self, task_id: str, leadership: Leadership) -> None:
        row = self._fleet.row(task_id)
        if row is None:
            return
        deadline = self._deadlines.of(row)
        if deadline is None or deadline.at > self._clock():
            self._note(row)
        elif not self._is_heard(row.idc):
            self._parked[row.idc].add(task_id)
        else:
            await self._end(row, deadline, leadership)

    async def _end(self, row: TaskRow, deadline: Deadline, leadership: Leadership) -> None:
        task = self._fleet.task(row.task_id)
        heartbeat = self._fleet.stored(keys.heartbeat(row.idc))
        if task is None or heartbeat is None:
            self._note(row)
            return
        only_while = [*leadership.fence]
        only_while.append(Compare(heartbeat.key, "create", "=", heartbeat.create_revision))
        if deadline.limit is AWAY:
            only_while.append(Compare(keys.lease(row.idc, row.sn), "mod", "=", 0))
        try:
            await self._changes.change(
                task,
                lambda now: self._failed(now, deadline),
                by=SYSTEM,
                at_revision=row.revision,
                only_while=only_while,
            )
        except (NotFound, Superseded, ImpossibleTransition):  # it is over, or another is there
            return
        except LpmosError as error:
            level = log.debug if isinstance(error, CasConflict) else log.warning
            level("a task is not ended yet", task_id=row.task_id, reason=str(error))
            self._queue.put(row.task_id, self._clock() + RETRY)
        else:
            log.info("a task waited too long", **named(task), code=deadline.limit.code)

    def _failed(self, task: Task, deadline: Deadline) -> Task:
        """The task after its end.

        Raises:
            ImpossibleTransition: it is over.
        """
        error = expired(task, deadline.limit, deadline.allowed)
        now = self._clock()
        failed = moved(task, Event.FAIL, now, error=error)
        return logged(failed, now, f"[ERROR] {error.reason}")
