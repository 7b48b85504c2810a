"""What is different about a task's machine since it was reported for an earlier task."""

from datetime import datetime

import msgspec
from litestar import get
from litestar.di import NamedDependency
from litestar.params import FromPath

from lpmos.control.access import CallerRequest, needs
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.model.access import Permission, sees
from lpmos.model.inventorydiff import HardwareChange, hardware_changes
from lpmos.model.task import Task

LOOKED_AT = 20
"""How many earlier tasks are looked through for a report."""


class ComparedReport(msgspec.Struct, frozen=True, kw_only=True):
    """The report that a task's own is compared with: the one of an earlier task."""

    task_id: str
    collected_at: datetime


class HardwareChangesView(msgspec.Struct, frozen=True, kw_only=True):
    """The differences between a task's hardware report and the machine's last one before it.

    `compared_with` and `changes` are null where there are no two reports; no changes: it is alike.
    """

    task_id: str
    compared_with: ComparedReport | None
    changes: tuple[HardwareChange, ...] | None


@get(
    "/tasks/{task_id:str}/hardware-changes",
    responses=PROBLEMS,
    opt=needs(Permission.TASK_READ),
)
async def show_hardware_changes(
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
) -> HardwareChangesView:
    """How the machine of a task differs from what it reported for the task before."""
    tenant = request.user.tenant
    task = (await tasks.read(task_id, tenant)).task
    return compared(task, reported_before(task, fleet, tenant) if task.hardware else None)


def reported_before(task: Task, fleet: Fleet, tenant: str | None) -> Task | None:
    """The newest earlier task of the machine that has a report, of those that the tenant sees."""
    rows = [
        row
        for row in fleet.tasks_of_machine(task.idc, task.sn)
        if row.task_id != task.task_id
        and row.created_at <= task.created_at
        and sees(tenant, row.tenant)
    ]
    found = (fleet.task(row.task_id) for row in rows[:LOOKED_AT])
    return next((earlier for earlier in found if earlier and earlier.hardware), None)


def compared(task: Task, earlier: Task | None) -> HardwareChangesView:
    """The reports of two tasks of one machine, held against each other."""
    if task.hardware is None or earlier is None or earlier.hardware is None:
        return HardwareChangesView(task_id=task.task_id, compared_with=None, changes=None)
    return HardwareChangesView(
        task_id=task.task_id,
        compared_with=ComparedReport(
            task_id=earlier.task_id, collected_at=earlier.hardware.collected_at
        ),
        changes=hardware_changes(earlier.hardware, task.hardware),
    )


TASK_HARDWARE_CALLS = (show_hardware_changes,)
