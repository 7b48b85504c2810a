"""Sends the trace of each task that ends; one of the duties of the elected control plane.

A new leader begins with those of the last minutes, which may be sent twice and are one all the
same, for their ids are.
"""

from datetime import timedelta

from lpmos.core.clock import Clock
from lpmos.core.evidence import so_far
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.core.taskindex import TaskQuery
from lpmos.core.traces.outgoing import Outgoing
from lpmos.model.lifecycle import FINAL
from lpmos.model.task import Task
from lpmos.model.trace import spans
from lpmos.store.api import Leadership

AGAIN = timedelta(minutes=10)
"""What ended so long before a control plane began to lead is sent once more."""
AGAIN_LIMIT = 1_000


class TraceDuty:
    """Keeps one collector told of tasks."""

    def __init__(self, fleet: Fleet, clock: Clock, outgoing: Outgoing) -> None:
        self._fleet = fleet
        self._clock = clock
        self._outgoing = outgoing

    async def lead(self, leadership: Leadership) -> None:
        """Do it until cancelled."""
        unsubscribe = self._fleet.subscribe(self._take)
        try:
            self._take_latest()
            await self._outgoing.run()
        finally:
            unsubscribe()

    def _take(self, change: TaskChange) -> None:
        before, row = change.row_before, change.row
        if row is None or before is None or before.task_id != row.task_id:
            return
        ended = row.finished and not before.finished
        if ended and (task := self._fleet.task(row.task_id)):
            self._add(task)

    def _take_latest(self) -> None:
        query = TaskQuery(statuses=FINAL, sort="-updated_at", limit=AGAIN_LIMIT)
        since = self._clock() - AGAIN
        for row in reversed(self._fleet.tasks(query)[0]):
            if row.updated_at >= since and (task := self._fleet.task(row.task_id)):
                self._add(task)

    def _add(self, task: Task) -> None:
        self._outgoing.add(spans(so_far(self._fleet, task)))
