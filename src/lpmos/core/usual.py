"""How long things usually take for machines of one model, from the newest tasks that ended well.

The rule: who asks pays for a bounded look. The newest completed tasks are looked through, the few
of the model are decoded, and the answer is kept for a minute.
"""

from datetime import datetime, timedelta
from itertools import islice

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.taskindex import TaskQuery
from lpmos.model.durations import Took, durations, took
from lpmos.model.job import JOB_OS
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task

LOOKED_THROUGH = 1000
TAKEN = 100
"""So many tasks of a model say enough."""
KEPT = timedelta(minutes=1)
MODELS_KEPT = 200


class UsualTimes:
    """The percentiles of each part of an install, by model."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._known: dict[tuple[str | None, str | None], tuple[datetime, tuple[Took, ...]]] = {}

    def of(self, model: str | None, tenant: str | None = None) -> tuple[Took, ...]:
        """What machines of this model took, as a tenant sees it; None: any machine."""
        now = self._clock()
        kept = self._known.get((model, tenant))
        if kept and now - kept[0] < KEPT:
            return kept[1]
        found = took(map(durations, self._newest(model, tenant)))
        if len(self._known) >= MODELS_KEPT:
            self._known.clear()
        self._known[model, tenant] = now, found
        return found

    def model(self, idc: str, sn: str) -> str | None:
        """The model of a machine, as it names itself; None before it ever reported."""
        row = self._fleet.machine_row(idc, sn)
        return row.product if row else None

    def _newest(self, model: str | None, tenant: str | None) -> list[Task]:
        query = TaskQuery(
            statuses=frozenset({Status.COMPLETED}),
            tenant=tenant,
            sort="-updated_at",
            limit=LOOKED_THROUGH,
        )
        rows, _ = self._fleet.tasks(query)
        installs = (row for row in rows if row.os_type != JOB_OS)
        alike = (row for row in installs if model is None or self.model(row.idc, row.sn) == model)
        tasks = (self._fleet.task(row.task_id) for row in islice(alike, TAKEN))
        return [task for task in tasks if task is not None]
