"""Tasks as the API shows them: pure functions from the model to the answers' shapes.

What a caller must not see (the single-use install intent) has no place in these types.
"""

from datetime import datetime
from typing import Literal

import msgspec

from lpmos.control.views.outlook import Failure, WaitsFor, failure, waits_for
from lpmos.control.views.timeline import TimelineEntry, timeline
from lpmos.core.taskrow import TaskRow, row_of_task
from lpmos.core.tasks import RETRYABLE
from lpmos.core.taskstore import StoredTask
from lpmos.model.diskplan import DiskPlan, RootDiskHints, StorageLayout
from lpmos.model.durations import durations
from lpmos.model.errors import FieldProblem
from lpmos.model.fingerprint import fingerprint
from lpmos.model.installer import Handover
from lpmos.model.installer import Method as InstallMethod
from lpmos.model.inventory import Inventory
from lpmos.model.job import Job, JobPlan, StepResult
from lpmos.model.lifecycle import TRANSITIONS, Event, Status, meaning
from lpmos.model.network import NetworkConfig
from lpmos.model.setup import Setup
from lpmos.model.task import Approval, Progress, RolledBack, StatusChange, Task, TaskError
from lpmos.model.trace import trace_id

API = "/api/v1"


class CreatedLinks(msgspec.Struct, frozen=True):
    """Where a new task and its approval are."""

    self: str
    approve: str


class CreatedTask(msgspec.Struct, frozen=True):
    """The answer to a new task; `warnings`: what its machine's last report speaks against."""

    task_id: str
    status: Status
    created_at: datetime
    links: CreatedLinks
    warnings: tuple[FieldProblem, ...] = ()


class RetriedTask(msgspec.Struct, frozen=True):
    """The answer to a task that is tried again: the new one."""

    task_id: str
    status: Status
    created_at: datetime
    attempt: int
    retry_of: str | None
    links: CreatedLinks
    warnings: tuple[FieldProblem, ...] = ()


class TaskLinks(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a task is, what can be done with it now, and its machine; what cannot is left out."""

    self: str
    machine: str
    approve: str | None = None
    reject: str | None = None
    cancel: str | None = None
    retry: str | None = None
    requeue: str | None = None


Action = Literal["approve", "reject", "cancel", "retry"]
Method = Literal["PUT", "POST", "DELETE"]


class NextAction(msgspec.Struct, frozen=True):
    """A call that the task's state allows now."""

    action: Action
    method: Method
    href: str


class TaskSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A task in a list: what one row shows.

    The bytes, the rate and `remaining_s` are of the present step; null where they are not known.
    """

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
    bytes_done: int | None
    bytes_total: int | None
    bytes_per_second: float | None
    remaining_s: float | None
    error: str | None
    plan_digest: str | None
    tags: dict[str, str]
    tenant: str | None
    attempt: int
    retry_of: str | None
    created_by: str
    created_at: datetime
    updated_at: datetime
    revision: int
    links: TaskLinks


class PageLinks(msgspec.Struct, frozen=True):
    """The pages after and before this one, with the same filters; null where there is none."""

    next: str | None
    prev: str | None


class TaskList(msgspec.Struct, frozen=True):
    """One page of tasks; `total` match in all; `counts` is by status, of every status."""

    tasks: list[TaskSummary]
    total: int
    limit: int
    offset: int
    counts: dict[str, int]
    links: PageLinks


class TaskMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for."""

    idc: str
    sn: str
    mac: str
    hostname: str
    os_type: str
    os_version: str
    disk_layout: str | StorageLayout
    root_disk: RootDiskHints
    network_config: NetworkConfig
    tags: dict[str, str]
    tenant: str | None
    method: InstallMethod | None
    created_at: datetime
    created_by: str


class TaskView(msgspec.Struct, frozen=True, kw_only=True):
    """One task in full.

    `revision` is that of the ETag; `plan_digest` names the disk plan and `hardware_fingerprint` the
    machine with its NICs and disks, so that an approval can;
    `retried_as` is the task that tries this one again; `logs` are the newest of `log_count` lines.
    `waits_for` is null where the task is over, `failure` where it did not fail. At `waits_until`
    it fails where nothing comes; null: it may wait for ever, or its region is off line. From
    `handed_over_at` on the installed system starts; null: not yet, or it is one that does not call.
    `handover` says how the distribution's own installer took the machine over; null: it has not.
    A `job` installs nothing: `job_plan` says what is approved, and `results` how its steps ended.
    `durations` has the seconds that each of its parts took. `trace_id` is of its trace: its own id,
    or that of the call by which it was asked for.
    """

    task_id: str
    idc: str
    sn: str
    mac: str
    hostname: str
    os_type: str
    os_version: str
    disk_layout: str | StorageLayout
    root_disk: RootDiskHints
    network_config: NetworkConfig
    ssh_keys: tuple[str, ...]
    setup: Setup
    tags: dict[str, str]
    tenant: str | None
    method: InstallMethod | None
    kernel_arguments: str
    job: Job | None
    attempt: int
    retry_of: str | None
    retried_as: str | None
    status: Status
    meaning: str
    waits_for: WaitsFor | None
    waits_until: datetime | None
    status_history: tuple[StatusChange, ...]
    metadata: TaskMetadata
    hardware: Inventory | None
    plan: DiskPlan | None
    job_plan: JobPlan | None
    plan_digest: str | None
    hardware_fingerprint: str | None
    approval: Approval | None
    timeline: list[TimelineEntry]
    durations: dict[str, float]
    progress: tuple[Progress, ...]
    percentage: float
    results: tuple[StepResult, ...]
    logs: tuple[str, ...]
    log_count: int
    error: TaskError | None
    failure: Failure | None
    rolled_back: RolledBack | None
    handover: Handover | None
    handed_over_at: datetime | None
    created_at: datetime
    updated_at: datetime
    created_by: str
    trace_id: str
    revision: int
    links: TaskLinks
    next_actions: list[NextAction]


class ApprovedView(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """The approval in the answer to it."""

    status: Literal["approved"]
    approved_by: str | None
    approved_at: datetime | None
    notes: str | None = None


class ApprovedTask(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to an approval."""

    task_id: str
    approval: ApprovedView
    next_status: Status


class RolledBackTask(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a rollback; `next_boot` says what the machine does when it boots next."""

    task_id: str
    status: Status
    rolled_back: RolledBack
    next_boot: str


class RejectedView(msgspec.Struct, frozen=True, kw_only=True):
    """The rejection in the answer to it."""

    status: Literal["rejected"]
    rejected_by: str | None
    rejected_at: datetime | None
    reason: str | None


class RejectedTask(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a rejection."""

    task_id: str
    approval: RejectedView


_CALLS: tuple[tuple[Event, Action, Method, str], ...] = (
    (Event.APPROVE, "approve", "PUT", "/approve"),
    (Event.REJECT, "reject", "PUT", "/reject"),
    (Event.CANCEL, "cancel", "DELETE", ""),
)


def _possible(status: Status) -> tuple[tuple[Action, Method, str], ...]:
    calls = tuple(
        (action, method, path)
        for event, action, method, path in _CALLS
        if (status, event) in TRANSITIONS
    )
    return (*calls, ("retry", "POST", "/retry")) if status in RETRYABLE else calls


_POSSIBLE = {status: _possible(status) for status in Status}
"""What each state of a machine's last task allows: action, method, and path under the task's."""


def task_place(task_id: str) -> str:
    """Where a task is in the API."""
    return f"{API}/tasks/{task_id}"


def machine_place(idc: str, sn: str) -> str:
    """Where a machine is in the API."""
    return f"{API}/machines/{idc}/{sn}"


def created(task: Task, warnings: tuple[FieldProblem, ...] = ()) -> CreatedTask:
    """A new task."""
    links = _created_links(task)
    return CreatedTask(task.task_id, task.status, task.created_at, links, warnings)


def retried(task: Task, warnings: tuple[FieldProblem, ...] = ()) -> RetriedTask:
    """A new task that tries another one again."""
    return RetriedTask(
        task.task_id,
        task.status,
        task.created_at,
        task.attempt,
        task.retry_of,
        _created_links(task),
        warnings,
    )


def _created_links(task: Task) -> CreatedLinks:
    place = task_place(task.task_id)
    return CreatedLinks(self=place, approve=f"{place}/approve")


def actions(row: TaskRow) -> list[NextAction]:
    """What the task's state allows now; only a machine's last task can be tried again."""
    place = task_place(row.task_id)
    possible = () if row.past else _POSSIBLE[row.status]
    return [NextAction(action, method, place + path) for action, method, path in possible]


def links(row: TaskRow) -> TaskLinks:
    """Where the task and its machine are in the API, and what is possible now."""
    place, machine = task_place(row.task_id), machine_place(row.idc, row.sn)
    allowed = () if row.past else _POSSIBLE[row.status]
    possible = {action: place + path for action, _, path in allowed}
    return TaskLinks(self=place, machine=machine, **possible)


def summary(row: TaskRow) -> TaskSummary:
    """The task as a row of a list."""
    return TaskSummary(
        task_id=row.task_id,
        idc=row.idc,
        sn=row.sn,
        mac=row.mac,
        hostname=row.hostname,
        os_type=row.os_type,
        os_version=row.os_version,
        status=row.status,
        percentage=row.percent,
        stage=row.stage,
        message=row.message,
        bytes_done=row.bytes_done,
        bytes_total=row.bytes_total,
        bytes_per_second=row.bytes_per_second,
        remaining_s=row.remaining_s,
        error=row.error,
        plan_digest=row.plan_digest,
        tags=row.tags,
        tenant=row.tenant,
        attempt=row.attempt,
        retry_of=row.retry_of,
        created_by=row.created_by,
        created_at=row.created_at,
        updated_at=row.updated_at,
        revision=row.revision,
        links=links(row),
    )


def letter_links(row: TaskRow) -> TaskLinks:
    """Where a task is in the dead-letter queue, and how it gets out."""
    place = f"{API}/dlq/{row.task_id}"
    machine = machine_place(row.idc, row.sn)
    return TaskLinks(self=place, machine=machine, requeue=f"{place}/requeue")


def letter_summary(row: TaskRow) -> TaskSummary:
    """A task of the dead-letter queue as a row of its list."""
    return msgspec.structs.replace(summary(row), links=letter_links(row))


def letter_full(stored: StoredTask) -> TaskView:
    """A task of the dead-letter queue in full."""
    row = row_of_task(stored.task, revision=stored.revision)
    return msgspec.structs.replace(full(stored), links=letter_links(row))


def row_of(stored: StoredTask) -> TaskRow:
    """The row of a task as the store has it."""
    return row_of_task(stored.task, revision=stored.revision, past=stored.past)


def full(
    stored: StoredTask,
    retry: TaskRow | None = None,
    *,
    waits_until: datetime | None = None,
    row: TaskRow | None = None,
) -> TaskView:
    """The task with all that a person may know of it.

    `retry` is the one that tries it again, `row` the task's own where it is known already.
    """
    task = stored.task
    row = row or row_of(stored)
    known = msgspec.structs.asdict(task)
    metadata = {name: known[name] for name in TaskMetadata.__struct_fields__}
    del known["intent"], known["acting_for"], known["first_boot_sha256"]
    del known["reported_by"], known["reported_at"], known["traceparent"], known["log_marks"]
    del known["folded"], known["boot"]
    known["log_count"] = task.lines_logged
    return TaskView(
        **known,
        meaning=meaning(task.status, is_job=task.job is not None),
        waits_for=waits_for(task),
        waits_until=waits_until,
        failure=failure(task),
        metadata=TaskMetadata(**metadata),
        timeline=timeline(task, retry),
        durations={part: round(seconds, 3) for part, seconds in durations(task).items()},
        plan_digest=row.plan_digest,
        hardware_fingerprint=fingerprint(task.hardware) if task.hardware else None,
        percentage=task.percent,
        retried_as=retry.task_id if retry else None,
        trace_id=trace_id(task),
        revision=stored.revision,
        links=links(row),
        next_actions=actions(row),
    )
