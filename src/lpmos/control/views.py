"""Tasks and regions as the API shows them: pure functions from the model to the answers' shapes.

What a caller must not see (the single-use install intent) has no place in these types.
"""

from datetime import datetime
from typing import Literal

import msgspec

from lpmos.core.fleet import RegionView
from lpmos.model.diskplan import DiskPlan, RootDiskHints
from lpmos.model.image import OfferedOs
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import MEANING, Status
from lpmos.model.network import NetworkConfig
from lpmos.model.task import Approval, Progress, StatusChange, Task, TaskError


class TaskLinks(msgspec.Struct, frozen=True):
    """Where a task and its approval are."""

    self: str
    approve: str


class CreatedTask(msgspec.Struct, frozen=True):
    """The answer to a new task (A1)."""

    task_id: str
    status: Status
    created_at: datetime
    links: TaskLinks


class TaskSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a list: what one row shows."""

    task_id: str
    idc: str
    sn: str
    mac: str
    hostname: str
    os_type: str
    os_version: str
    status: Status
    percentage: float
    stage: str
    message: str
    bytes_per_second: float | None
    error: str | None
    plan_digest: str | None
    tags: dict[str, str]
    tenant: str | None
    attempt: int
    created_by: str
    created_at: datetime
    updated_at: datetime
    links: TaskLinks


class TaskList(msgspec.Struct, frozen=True):
    """One page of tasks; `total` match in all; `counts` is by status, of every status."""

    tasks: list[TaskSummary]
    total: int
    limit: int
    offset: int
    counts: dict[str, int]


class TaskMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    idc: str
    sn: str
    mac: str
    hostname: str
    os_type: str
    os_version: str
    disk_layout: str
    root_disk: RootDiskHints
    network_config: NetworkConfig
    tags: dict[str, str]
    created_at: datetime
    created_by: str


class TimelineEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that happened; `event` is a status, `detail` what is known beyond it."""

    timestamp: datetime
    event: str
    detail: str = ""


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """One task in full (A2); `plan_digest` names the disk plan, so that an approval can."""

    task_id: str
    idc: str
    sn: str
    mac: str
    hostname: str
    os_type: str
    os_version: str
    disk_layout: str
    root_disk: RootDiskHints
    network_config: NetworkConfig
    ssh_keys: tuple[str, ...]
    tags: dict[str, str]
    tenant: str | None
    attempt: int
    retry_of: str | None
    status: Status
    meaning: str
    status_history: tuple[StatusChange, ...]
    metadata: TaskMetadata
    hardware: Inventory | None
    plan: DiskPlan | None
    plan_digest: str | None
    approval: Approval | None
    timeline: list[TimelineEntry]
    progress: tuple[Progress, ...]
    percentage: float
    logs: tuple[str, ...]
    error: TaskError | None
    created_at: datetime
    updated_at: datetime
    created_by: str
    links: TaskLinks


class ApprovedView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The approval in the answer to it."""

    status: Literal["approved"]
    approved_by: str | None
    approved_at: datetime | None
    notes: str | None = None


class ApprovedTask(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an approval (A4)."""

    task_id: str
    approval: ApprovedView
    next_status: Status


class RejectedView(msgspec.Struct, frozen=True, kw_only=True):
    """The rejection in the answer to it."""

    status: Literal["rejected"]
    rejected_by: str | None
    rejected_at: datetime | None
    reason: str | None


class RejectedTask(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a rejection (A5)."""

    task_id: str
    approval: RejectedView


class RegionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A region: whether it is there, and what it can install."""

    idc: str
    online: bool
    last_heartbeat: datetime | None
    services: dict[str, str]
    offered: tuple[OfferedOs, ...]
    version: str | None


def links(task: Task) -> TaskLinks:
    """Where the task is in the API."""
    place = f"/api/v1/tasks/{task.task_id}"
    return TaskLinks(self=place, approve=f"{place}/approve")


def summary(task: Task) -> TaskSummary:
    """The task as a row of a list."""
    newest = task.progress[-1] if task.progress else None
    return TaskSummary(
        task_id=task.task_id,
        idc=task.idc,
        sn=task.sn,
        mac=task.mac,
        hostname=task.hostname,
        os_type=task.os_type,
        os_version=task.os_version,
        status=task.status,
        percentage=task.percent,
        stage=newest.step if newest else "",
        message=newest.message if newest else "",
        bytes_per_second=newest.bytes_per_second if newest else None,
        error=task.error.reason if task.error else None,
        plan_digest=task.plan.digest if task.plan else None,
        tags=task.tags,
        tenant=task.tenant,
        attempt=task.attempt,
        created_by=task.created_by,
        created_at=task.created_at,
        updated_at=task.updated_at,
        links=links(task),
    )


def full(task: Task) -> TaskView:
    """The task with all that a person may know of it."""
    known = msgspec.structs.asdict(task)
    metadata = {name: known[name] for name in TaskMetadata.__struct_fields__}
    del known["intent"]
    return TaskView(
        **known,
        meaning=MEANING[task.status],
        metadata=TaskMetadata(**metadata),
        timeline=timeline(task),
        plan_digest=task.plan.digest if task.plan else None,
        percentage=task.percent,
        links=links(task),
    )


def timeline(task: Task) -> list[TimelineEntry]:
    """What happened to the task, oldest first."""
    return [
        TimelineEntry(change.timestamp, change.status.value, _detail(task, change.status))
        for change in task.status_history
    ]


def _detail(task: Task, status: Status) -> str:
    approval = task.approval
    if status is Status.PENDING:
        return f"by {task.created_by}"
    if status is Status.APPROVED and approval:
        return _said(approval.approved_by, approval.notes)
    if status is Status.REJECTED and approval:
        return _said(approval.rejected_by, approval.reason)
    if status is Status.FAILED and task.error:
        return task.error.reason
    return ""


def _said(who: str | None, what: str | None) -> str:
    return f"by {who or 'unknown'}" + (f": {what}" if what else "")


def region_summary(region: RegionView) -> RegionSummary:
    """The region as the API shows it."""
    beat, can = region.heartbeat, region.capabilities
    return RegionSummary(
        idc=region.idc,
        online=region.online,
        last_heartbeat=beat.at if beat else None,
        services=beat.services if beat else {},
        offered=can.offered if can else (),
        version=can.version if can else None,
    )
