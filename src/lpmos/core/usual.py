"""How long things usually take, from the newest tasks that ended well: of a model, or of a region.

The rule: who asks pays for a bounded look. The newest completed tasks are looked through, the few
of the model or region are decoded, and the answer is kept for some time.
"""

from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import NamedTuple

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.taskindex import TaskQuery
from lpmos.core.taskrow import TaskRow
from lpmos.model.durations import FIRST_BOOT, Took, durations, took
from lpmos.model.job import JOB_OS
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task

LOOKED_THROUGH = 1000
TAKEN = 100
"""So many tasks of a model say enough."""
KEPT = timedelta(minutes=1)
MODELS_KEPT = 200
WAITS_KEPT = timedelta(minutes=10)
LOOKS = 2
"""At so many regions one call looks again; the others keep what they had until the next."""
FIRST_LOOKS = 8
"""At so many that were never looked at before it looks, and at no others then."""
ENOUGH = 5
"""Fewer tasks say nothing of what is usual."""


class Way(NamedTuple):
    """What is installed, and by whom: only installs of one way take equally long."""

    os_type: str
    os_version: str
    by_installer: bool


def way_of(task: Task) -> Way:
    """The way of this task, as far as it is known yet."""
    by_installer = task.handover is not None or task.method == "installer"
    return Way(task.os_type, task.os_version, by_installer)


_Asked = tuple[str | None, str | None, Way | None]


class UsualTimes:
    """The percentiles of each part of an install, by model."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._known: dict[_Asked, tuple[datetime, tuple[Took, ...]]] = {}

    def of(
        self, model: str | None, tenant: str | None = None, way: Way | None = None
    ) -> tuple[Took, ...]:
        """What machines of this model took, as a tenant sees it; None: any machine, any way."""
        now = self._clock()
        kept = self._known.get((model, tenant, way))
        if kept and now - kept[0] < KEPT:
            return kept[1]
        found = took(map(durations, self._newest(model, tenant, way)))
        if len(self._known) >= MODELS_KEPT:
            self._known.clear()
        self._known[model, tenant, way] = now, found
        return found

    def model(self, idc: str, sn: str) -> str | None:
        """The model of a machine, as it names itself; None before it ever reported."""
        row = self._fleet.machine_row(idc, sn)
        return row.product if row else None

    def _newest(self, model: str | None, tenant: str | None, way: Way | None) -> list[Task]:
        alike = (
            row
            for row in _installed(self._fleet, tenant=tenant)
            if way is None or way == (row.os_type, row.os_version, row.by_installer)
            if model is None or self.model(row.idc, row.sn) == model
        )
        return _decoded(self._fleet, alike)


class Waits(NamedTuple):
    """What a look at a region found: seconds by status, where enough of its installs say so."""

    installs: int
    seconds: dict[str, float]


class UsualWaits:
    """How long nearly all tasks of a region are in each status, whatever the machine."""

    def __init__(self, fleet: Fleet, clock: Clock) -> None:
        self._fleet = fleet
        self._clock = clock
        self._known: dict[str, tuple[datetime, Waits]] = {}

    def of(self, idcs: Collection[str]) -> dict[str, Waits]:
        """What 19 of 20 do not exceed, by region, of those that were looked at so far."""
        now = self._clock()
        self._known = {idc: kept for idc, kept in self._known.items() if idc in idcs}
        for idc in self._due(idcs, now):
            self._known[idc] = now, self._look(idc)
        return {idc: waits for idc, (_, waits) in self._known.items()}

    def _due(self, idcs: Collection[str], now: datetime) -> list[str]:
        """Those that were never looked at come first, then those whose look is the oldest."""
        new = [idc for idc in idcs if idc not in self._known]
        if new:
            return new[:FIRST_LOOKS]
        old = sorted((at, idc) for idc, (at, _) in self._known.items() if now - at >= WAITS_KEPT)
        return [idc for _, idc in old[:LOOKS]]

    def _look(self, idc: str) -> Waits:
        tasks = _decoded(self._fleet, _installed(self._fleet, idc=idc))
        seconds = {
            each.part: each.p95_s
            for each in took(map(_waits, tasks))
            if each.count >= ENOUGH and each.part in _STATUSES
        }
        return Waits(len(tasks), seconds)


_STATUSES = frozenset(status.value for status in Status)


def _waits(task: Task) -> dict[str, float]:
    """What it took by status; a machine whose system starts is installing still."""
    found = durations(task)
    if Status.INSTALLING.value in found:
        found[Status.INSTALLING.value] += found.get(FIRST_BOOT, 0.0)
    return found


def _installed(
    fleet: Fleet, *, idc: str | None = None, tenant: str | None = None
) -> Iterator[TaskRow]:
    """The newest installs that ended well."""
    query = TaskQuery(
        idc=idc,
        statuses=frozenset({Status.COMPLETED}),
        tenant=tenant,
        sort="-updated_at",
        limit=LOOKED_THROUGH,
    )
    return (row for row in fleet.tasks(query)[0] if row.os_type != JOB_OS)


def _decoded(fleet: Fleet, rows: Iterator[TaskRow]) -> list[Task]:
    tasks = (fleet.task(row.task_id) for row in islice(rows, TAKEN))
    return [task for task in tasks if task is not None]
