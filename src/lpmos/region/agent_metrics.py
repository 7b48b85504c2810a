"""What agents do, for Prometheus: how many are heard, and how long each part of a task took.

An agent lives too shortly to be scraped; its region tells of it.
"""

import asyncio
from collections.abc import Iterable
from typing import get_args

from prometheus_client import Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.core.fleet import Fleet, TaskChange
from lpmos.model.durations import (
    BOOT_PARTS,
    FIRST_BOOT,
    RESTART_PARTS,
    WHOLE,
    durations,
    step_part,
)
from lpmos.model.lifecycle import Status
from lpmos.region.liveness import AgentLiveness
from lpmos.region.wire import Stage

PARTS = frozenset(
    {
        *(status.value for status in Status),
        *map(step_part, get_args(Stage)),
        *(FIRST_BOOT, WHOLE, *BOOT_PARTS, *RESTART_PARTS),
    }
)
BUCKETS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0, 4 * 3600.0)


class AgentMetrics(Collector):
    """The figures of one region's agents and of the tasks that end in it."""

    def __init__(self, liveness: AgentLiveness, *, idc: str) -> None:
        self._liveness = liveness
        self._idc = idc
        self._seconds = Histogram(
            "lpmos_region_task_part_seconds",
            "How long one part of an install took: a status, a stage of it, a part of a boot.",
            ("part",),
            registry=None,
            buckets=BUCKETS,
        )

    async def run(self, fleet: Fleet) -> None:
        """Count each task that ends, until cancelled."""
        unsubscribe = fleet.subscribe(self._note)
        try:
            await asyncio.Event().wait()
        finally:
            unsubscribe()

    def _note(self, change: TaskChange) -> None:
        before, row = change.row_before, change.row
        if before is None or row is None or row.idc != self._idc:
            return
        ended = row.finished and not before.finished and before.task_id == row.task_id
        if not ended or (task := change.after) is None or task.job is not None:
            return  # a rescue of days says nothing of how long installs take
        for part, seconds in durations(task).items():
            if part in PARTS:
                self._seconds.labels(part).observe(seconds)

    def collect(self) -> Iterable[Metric]:
        """The figures of this moment."""
        yield GaugeMetricFamily(
            "lpmos_region_agents", "Agents that are heard now.", self._liveness.count
        )
        yield from self._seconds.collect()
