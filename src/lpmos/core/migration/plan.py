"""What a migration will write, decided before anything is written, from values alone.

Every old task is in the plan or in a finding; the same values always give the same plan.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import datetime

import msgspec

from lpmos.core.creation import HISTORY_LIMIT
from lpmos.core.migration.conversion import STATUSES
from lpmos.core.migration.entries import ORDER, Finding, RawTask, Reading
from lpmos.core.migration.identities import Identities, refused
from lpmos.core.migration.oldtask import OldTask, Outcome, Refused, new_task_id, read_task
from lpmos.core.migration.others import (
    Others,
    plan_machines,
    plan_reports,
    plan_servers,
    plan_settings,
    servers_by_mac,
)
from lpmos.core.migration.standing import Standing


class PlannedTask(msgspec.Struct, frozen=True, kw_only=True):
    """One task and where it goes: `present`, or to its machine's history."""

    old: OldTask
    sn: str
    present: bool


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """The tasks by machine, each machine's oldest first, what goes besides, and what does not."""

    machines: tuple[tuple[PlannedTask, ...], ...]
    others: Others
    findings: tuple[Finding, ...]
    replaced: tuple[str, ...]
    found_tasks: int

    @property
    def tasks(self) -> list[PlannedTask]:
        """All of them."""
        return [task for machine in self.machines for task in machine]

    def statuses(self) -> dict[str, int]:
        """How many tasks have each status afterwards."""
        counts = Counter(STATUSES[task.old.outcome].value for task in self.tasks)
        return dict(sorted(counts.items()))

    def layouts(self) -> dict[str, int]:
        """How many tasks come from each layout."""
        counts = Counter(task.old.layout.value for task in self.tasks)
        return {layout.value: counts[layout.value] for layout in ORDER if counts[layout.value]}


def plan(reading: Reading, standing: Standing, at: datetime) -> Plan:
    """What to write at `at` for all that was read, where v3 stands as it does."""
    findings = list(reading.findings)
    tasks = _checked(_newest_copies(reading.tasks, findings), findings)
    identities = Identities(tasks, servers_by_mac(reading.servers), standing)
    machines, aside = identities.machines(tasks, standing)
    findings += aside
    planned = [
        _of_machine(place, machines[place], standing, findings) for place in sorted(machines)
    ]
    kept = {
        place: tuple(task.old for task in group)
        for place, group in zip(sorted(machines), planned, strict=True)
        if group
    }
    replaced = list(reading.replaced)
    servers, added_at = plan_servers(reading.servers, kept, findings)
    puts = [
        *servers,
        *plan_machines(reading.agents, kept, identities, findings),
        *plan_reports(reading.reports, kept, findings, replaced),
        *plan_settings(reading.settings, findings, at),
    ]
    lists = tuple({server.source for server in reading.servers})
    others = Others(puts=tuple(puts), added_at=added_at, lists=lists)
    return Plan(
        machines=tuple(tuple(group) for group in planned if group),
        others=others,
        findings=tuple(findings),
        replaced=tuple(replaced),
        found_tasks=len(reading.tasks) + reading.lost,
    )


def _newest_copies(tasks: Sequence[RawTask], findings: list[Finding]) -> list[RawTask]:
    """Of the copies of a task in several layouts the latest layout's; the others are named."""
    copies: dict[str, list[RawTask]] = defaultdict(list)
    for raw in tasks:
        copies[new_task_id(raw.layout, raw.old_id)].append(raw)
    newest = []
    for task_id, found in copies.items():
        *earlier, last = sorted(found, key=lambda raw: ORDER.index(raw.layout))
        if earlier and earlier[-1].layout is last.layout:
            reason = f"several tasks have the id {last.old_id}"
            findings += [_aside(raw, "duplicate-id", reason, task_id) for raw in found]
            continue
        newest.append(last)
        reason = f"the same task is in a later layout, at {last.place}, which counts"
        findings += [_aside(raw, "copy", reason, task_id) for raw in earlier]
    return newest


def _checked(raws: Sequence[RawTask], findings: list[Finding]) -> list[OldTask]:
    tasks = []
    for raw in raws:
        try:
            task, left_out = read_task(raw)
        except Refused as error:
            task_id = new_task_id(raw.layout, raw.old_id)
            findings.append(_aside(raw, "damaged-task", str(error), task_id))
        else:
            tasks.append(task)
            findings += left_out
    return tasks


def _of_machine(
    place: tuple[str, str], group: Sequence[OldTask], standing: Standing, findings: list[Finding]
) -> list[PlannedTask]:
    """A machine's tasks: the newest is the present one where v3 has no other."""
    if not group:
        return []
    *earlier, newest = sorted(group, key=lambda task: (task.created_at, task.task_id))
    taken = standing.present.get(place, newest.task_id)
    past = list(earlier)
    if taken != newest.task_id:
        past.append(newest)
    planned = _history(place[1], past, standing, findings)
    if taken == newest.task_id:
        planned.append(PlannedTask(old=newest, sn=place[1], present=True))
    return planned


def _history(
    sn: str, past: Sequence[OldTask], standing: Standing, findings: list[Finding]
) -> list[PlannedTask]:
    over = []
    for task in past:
        if task.outcome is Outcome.NOT_BEGUN and task.task_id not in standing.done:
            reason = "it has not begun, and its machine has a newer task"
            findings.append(refused(task, "superseded", reason))
        else:
            over.append(task)
    fresh = [task for task in over if task.task_id not in standing.done]
    beyond = {task.task_id for task in fresh[: max(0, len(over) - HISTORY_LIMIT)]}
    reason = f"its machine has {HISTORY_LIMIT} newer finished tasks, and no more are kept"
    findings += [refused(each, "beyond-history", reason) for each in over if each.task_id in beyond]
    return [
        PlannedTask(old=task, sn=sn, present=False) for task in over if task.task_id not in beyond
    ]


def _aside(raw: RawTask, kind: str, reason: str, task_id: str) -> Finding:
    return Finding(key=raw.place, kind=kind, reason=reason, task_id=task_id)
