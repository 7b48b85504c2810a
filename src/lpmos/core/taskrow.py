"""What of a task stays decoded in memory: the words of one row of a list, without its hardware.

A task's whole document is many times larger; it is decoded when somebody asks for it.
"""

import sys
import zlib
from datetime import UTC, datetime

import msgspec

from lpmos.model.diskplan import DiskPlan
from lpmos.model.installer import Handover
from lpmos.model.job import JobPlan
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.task import Progress, Task, TaskError
from lpmos.store import keys, records
from lpmos.store.api import KV

NO_HARDWARE = zlib.crc32(b"null")
"""The `hardware_sum` of a task that nobody has reported for."""


class TaskRow(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A task in a list.

    `steps` counts its status history. `revision` is the store's of the document; `past` says that
    the document is in the machine's history. `hardware_sum` differs where the hardware does, and
    once more when the task is finished: then its hardware stands folded in the document.
    `words` is what a search looks in. `since` is when it came into its status. `handed_over_at` is
    when the installed system was to start; `by_installer`: an installer has the machine.
    """

    task_id: str
    idc: str
    sn: str
    mac: str
    hostname: str
    os_type: str
    os_version: str
    tags: dict[str, str]
    tenant: str | None
    attempt: int
    retry_of: str | None
    status: Status
    since: datetime
    steps: int
    percent: float
    stage: str
    message: str
    bytes_done: int | None
    bytes_total: int | None
    bytes_per_second: float | None
    remaining_s: float | None
    error: str | None
    plan_digest: str | None
    created_at: datetime
    updated_at: datetime
    created_by: str
    log_count: int
    revision: int
    past: bool
    hardware_sum: int
    words: str
    handed_over_at: datetime | None = None
    by_installer: bool = False

    @property
    def finished(self) -> bool:
        """Whether nothing can happen to this task any more."""
        return self.status in FINAL


class _When(msgspec.Struct, frozen=True):
    timestamp: datetime


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """The part of a task's document that a row is made of; the hardware stays as it came."""

    task_id: str
    idc: str
    sn: str
    mac: str
    hostname: str
    os_type: str
    os_version: str
    tags: dict[str, str] = {}
    tenant: str | None = None
    attempt: int = 1
    retry_of: str | None = None
    status: Status
    status_history: tuple[_When, ...]
    progress: tuple[Progress, ...] = ()
    log_count: int = 0
    plan: DiskPlan | None = None
    job_plan: JobPlan | None = None
    error: TaskError | None = None
    handover: Handover | None = None
    handed_over_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    created_by: str
    hardware: msgspec.Raw = msgspec.Raw(b"null")
    folded: str | None = None


def seconds(time: datetime) -> float:
    """A time as seconds since 1970; one that names no zone, as a foreign record may, is UTC."""
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()


def key_of(row: TaskRow) -> str:
    """The key of the document that a row was made of."""
    if row.past:
        return keys.history(row.idc, row.sn, row.task_id)
    return keys.task(row.idc, row.sn)


def row_of_document(kv: KV, *, past: bool = False) -> TaskRow:
    """The row of a task's document.

    Raises:
        DamagedRecord: it is no task.
    """
    head = records.decode(kv, _Head)
    reported = head.folded.encode() if head.folded else head.hardware
    return _row(head, zlib.crc32(reported), kv.mod_revision, past)


def row_of_task(task: Task, *, revision: int = 0, past: bool = False) -> TaskRow:
    """The row of a task at a revision."""
    return _row(task, zlib.crc32(msgspec.json.encode(task.hardware)), revision, past)


def _row(task: Task | _Head, hardware_sum: int, revision: int, past: bool) -> TaskRow:
    newest = task.progress[-1] if task.progress else None
    plan = task.plan or task.job_plan
    return TaskRow(
        task_id=task.task_id,
        idc=sys.intern(task.idc),
        sn=task.sn,
        mac=task.mac,
        hostname=task.hostname,
        os_type=sys.intern(task.os_type),
        os_version=sys.intern(task.os_version),
        tags=task.tags,
        tenant=task.tenant,
        attempt=task.attempt,
        retry_of=task.retry_of,
        status=task.status,
        since=task.status_history[-1].timestamp if task.status_history else task.updated_at,
        steps=len(task.status_history),
        percent=newest.percent if newest else 0.0,
        stage=sys.intern(newest.step) if newest else "",
        message=newest.message if newest else "",
        bytes_done=newest.bytes_done if newest else None,
        bytes_total=newest.bytes_total if newest else None,
        bytes_per_second=newest.bytes_per_second if newest else None,
        remaining_s=newest.remaining_s if newest else None,
        error=task.error.reason if task.error else None,
        plan_digest=plan.digest if plan else None,
        created_at=task.created_at,
        updated_at=task.updated_at,
        created_by=sys.intern(task.created_by),
        log_count=task.log_count,
        revision=revision,
        past=past,
        hardware_sum=hardware_sum,
        words="\n".join((task.sn, task.hostname, task.mac, task.task_id)).casefold(),
        handed_over_at=task.handed_over_at,
        by_installer=task.handover is not None,
    )
