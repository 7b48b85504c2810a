"""Why is it stuck (O6): what a task waits for, since when, until when, and what was seen last."""

from datetime import datetime

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.deadlines.deadlines import Deadlines
from lpmos.core.evidence import seen_of
from lpmos.core.fleet import Fleet, RegionView
from lpmos.core.usual import ENOUGH, UsualTimes, way_of
from lpmos.model.durations import FIRST_BOOT, Took
from lpmos.model.explain import Cause, explain
from lpmos.model.layers import Layer, layers
from lpmos.model.lifecycle import Status
from lpmos.model.situation import Situation, Usual
from lpmos.model.task import Task


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """One task explained. `until` is when it fails if nothing comes; None: it may wait for ever.

    `usual` is how long this wait takes for machines of this model, of an install where the same
    system was installed in the same way; None before five were. `parts` are the percentiles of all
    parts, whatever was installed. `layers` are the last signs in the order of the boot,
    `causes` what is probably wrong, the likeliest first.
    """

    task_id: str
    idc: str
    sn: str
    status: Status
    since: datetime
    waited_s: float
    until: datetime | None
    online: bool
    agent_online: bool | None
    model: str | None
    usual: Usual | None
    parts: tuple[Took, ...]
    layers: tuple[Layer, ...]
    causes: tuple[Cause, ...]


class Explaining:
    """Explains tasks from memory: nothing is read for it, and nobody is asked."""

    def __init__(self, fleet: Fleet, deadlines: Deadlines, clock: Clock) -> None:
        self._fleet = fleet
        self._deadlines = deadlines
        self._clock = clock
        self._usual = UsualTimes(fleet, clock)

    def of(self, task: Task, tenant: str | None) -> Explanation:
        """Everything that is known of why this task is where it is; `tenant` is of who asks."""
        model = self._usual.model(task.idc, task.sn)
        parts = self._usual.of(model, tenant)
        installs = task.status is Status.INSTALLING
        alike = self._usual.of(model, tenant, way_of(task)) if installs else parts
        row = self._fleet.row(task.task_id)
        situation = Situation(
            task=task,
            since=task.handed_over_at or task.since,
            now=self._clock(),
            seen=seen_of(self._fleet, task),
            online=self._fleet.region(task.idc).online,
            agent=self._fleet.agent_online(task.idc, task.sn),
            usual=_usual(model, alike, _part(task)),
            usual_start=_usual(model, parts, "boot.start") if model else None,
            awaits=_awaits(task, self._fleet.region(task.idc)),
        )
        return Explanation(
            task_id=task.task_id,
            idc=task.idc,
            sn=task.sn,
            status=task.status,
            since=situation.since,
            waited_s=0.0 if task.finished else round(situation.waited.total_seconds(), 1),
            until=self._deadlines.waits_until(row) if row else None,
            online=situation.online,
            agent_online=situation.agent,
            model=model,
            usual=situation.usual,
            parts=parts,
            layers=layers(situation),
            causes=explain(situation),
        )


def _awaits(task: Task, region: RegionView) -> str | None:
    """What the task is installed from, where the region fetches that and does not have it."""
    system = (task.os_type, task.os_version)
    offered = region.capabilities.offered if region.capabilities else ()
    fetching = region.heartbeat.fetching if region.heartbeat else None
    if fetching is None or task.job is not None:
        return None
    if any(
        (each.os_type, each.os_version) == system and task.method in (None, *each.methods)
        for each in offered
    ):
        return None
    for each in fetching.arriving:
        if (each.os_type, each.os_version) == system and task.method in (None, each.kind):
            wrong = each.error or fetching.error
            now = f", and it does not come now ({wrong.rstrip('.')})" if wrong else ""
            return f"{each.kind} {each.name}: {each.progress} are there{now}"
    if fetching.listed_at is None:
        return f"its list is not there yet ({(fetching.error or 'it is asked for').rstrip('.')})"
    return f"{fetching.more} more come after others" if fetching.more else None


def _part(task: Task) -> str:
    """The part that it waits in, by its name; that of a finished task is none."""
    return FIRST_BOOT if task.starts_its_system else task.status.value


def _usual(model: str | None, parts: tuple[Took, ...], part: str) -> Usual | None:
    found = next((each for each in parts if each.part == part), None)
    if found is None or found.count < ENOUGH:
        return None
    return Usual(model=model, count=found.count, p50_s=found.p50_s, p95_s=found.p95_s)
