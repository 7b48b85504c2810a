"""What of the fleet is measured (O1): read from memory at the moment somebody asks.

The labels are bounded: regions and statuses, never a machine or a task.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from lpmos.core.clock import Clock
from lpmos.core.fleet import Fleet
from lpmos.core.taskrow import TaskRow
from lpmos.core.usual import UsualWaits
from lpmos.model.job import JOB_OS
from lpmos.model.lifecycle import FINAL, Status

WAITING = tuple(status for status in Status if status not in FINAL)


class FleetCollector(Collector):
    """Tasks, regions, the way to the store, and who listens."""

    def __init__(self, fleet: Fleet, clock: Clock, websocket_clients: Callable[[], int]) -> None:
        self._fleet = fleet
        self._clock = clock
        self._websocket_clients = websocket_clients
        self._usual = UsualWaits(fleet, clock)

    def collect(self) -> Iterable[Metric]:
        """The metrics as they are now."""
        regions = self._fleet.regions()
        yield from self._tasks([region.idc for region in regions])
        online = GaugeMetricFamily("lpmos_region_online", "1 while it beats", labels=["idc"])
        for region in regions:
            online.add_metric([region.idc], float(region.online))
        yield online
        yield GaugeMetricFamily(
            "lpmos_store_connected", "1 while the store is heard", float(self._fleet.connected)
        )
        yield GaugeMetricFamily(
            "lpmos_websocket_clients", "Browsers and programs on /ws", self._websocket_clients()
        )

    def _tasks(self, idcs: Iterable[str]) -> Iterable[Metric]:
        counts: Counter[tuple[str, Status]] = Counter()
        since: dict[tuple[str, Status], datetime] = {}
        for row in self._fleet.current_rows():
            place = row.idc, row.status
            counts[place] += 1
            if not row.finished and not _runs_job(row):
                since[place] = min(row.since, since.get(place, row.since))
        known = sorted({*idcs, *(idc for idc, _ in counts)})
        tasks = GaugeMetricFamily(
            "lpmos_tasks", "Machines by their task's status", labels=["idc", "status"]
        )
        oldest = GaugeMetricFamily(
            "lpmos_task_oldest_seconds",
            "How long the longest waiting task of a status is in it, but for jobs that run; 0 where"
            " there is none",
            labels=["idc", "status"],
        )
        ended = CounterMetricFamily(
            "lpmos_tasks_ended",
            "Tasks that came to their end since this control plane was started",
            labels=["idc", "status"],
        )
        now = self._clock()
        for idc in known:
            for status in Status:
                tasks.add_metric([idc, status], counts[idc, status])
            for status in WAITING:
                age_s = (now - since.get((idc, status), now)).total_seconds()
                oldest.add_metric([idc, status], max(age_s, 0.0))
            for status in sorted(FINAL):
                ended.add_metric([idc, status], self._fleet.statistics.ended[idc, status])
        yield from (tasks, oldest, ended)
        yield from self._usual_times(known)

    def _usual_times(self, idcs: Collection[str]) -> Iterable[Metric]:
        usual = GaugeMetricFamily(
            "lpmos_task_usual_seconds",
            "What 19 of 20 of a region's newest installs did not exceed in a status",
            labels=["idc", "status"],
        )
        installs = GaugeMetricFamily(
            "lpmos_task_usual_installs",
            "How many of a region's newest installs its usual times are from; not there before the"
            " first look at the region",
            labels=["idc"],
        )
        for idc, waits in self._usual.of(idcs).items():
            installs.add_metric([idc], waits.installs)
            for status, seconds in waits.seconds.items():
                usual.add_metric([idc, status], seconds)
        yield from (usual, installs)


def _runs_job(row: TaskRow) -> bool:
    """A job, a test of the memory say, takes as long as it was made to."""
    return row.os_type == JOB_OS and row.status is Status.INSTALLING
