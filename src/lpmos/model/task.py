"""A task: the one document (S2) that says what shall be installed where, and how far it is.

A task never changes in place; `lpmos.core` makes the next version of it and swaps it in.
"""

from datetime import datetime
from typing import Annotated, Literal

import msgspec

from lpmos.model.boot import Moments
from lpmos.model.diskplan import DiskPlan, RootDiskHints, StorageLayout, is_encrypted
from lpmos.model.folding import inflated
from lpmos.model.installer import Handover, Method
from lpmos.model.inventory import Inventory
from lpmos.model.job import Job, JobPlan, StepResult
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.network import NetworkConfig
from lpmos.model.setup import Setup
from lpmos.model.tolerance import WHOLE

LOG_LINES = 100
LOG_LINE_BYTES = 200


class StatusChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of a task's history; `by` is who or what made the step, as far as it is known.

    `reason` is why, where a task went back.
    """

    status: Status
    timestamp: datetime
    by: str | None = None
    reason: str | None = None


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """The newest word of one step; `percent` is of the whole install."""

    step: str
    percent: float
    timestamp: datetime
    message: str = ""
    bytes_done: int | None = None
    bytes_total: int | None = None
    bytes_per_second: float | None = None

    @property
    def remaining_s(self) -> float | None:
        """Seconds to the end of this step at its rate; None where bytes or rate are not known."""
        rate = self.bytes_per_second or 0.0
        if self.bytes_done is None or self.bytes_total is None or rate < 1:
            return None
        return round(max(0, self.bytes_total - self.bytes_done) / rate, 1)


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """The decision on a task; either the approved or the rejected fields are set.

    `fingerprint` is of the hardware that was approved.
    """

    approved: bool
    status: Literal["approved", "rejected"]
    approved_by: str | None = None
    approved_at: datetime | None = None
    notes: str | None = None
    rejected_by: str | None = None
    rejected_at: datetime | None = None
    reason: str | None = None
    fingerprint: str | None = None


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """The single-use right to install, made by an approval and taken by one agent run."""

    intent_id: str
    claimed_by: str | None = None


class TaskError(msgspec.Struct, frozen=True, kw_only=True):
    """Why a task failed, for the person who will repair it; `code` is for programs, where known."""

    reason: str
    command: str | None = None
    output: str | None = None
    hint: str | None = None
    code: str | None = None


class RolledBack(msgspec.Struct, frozen=True, kw_only=True):
    """Who gave the machine back to what it was before the task, when, and what that is.

    `generation` is the installation that its disk has; None: there was none, and the machine is
    one without a task again.
    """

    by: str
    at: datetime
    generation: int | None = None


class TaskPlace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a task's machine is."""

    idc: str
    sn: str


class _Folded(msgspec.Struct, frozen=True, kw_only=True):
    """What of a finished task is folded (`lpmos.model.folding.FOLDED`)."""

    hardware: Inventory | None = None
    logs: tuple[str, ...] = ()
    progress: tuple[Progress, ...] = ()
    results: tuple[StepResult, ...] = ()
    boot: Moments = {}


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """The task document of REQUIREMENTS section 3.

    `attempt` counts from 1; a later one names the task that it tries again in `retry_of`. Where a
    rule created the task, `acting_for` is whose the rule was then. `logs` are the newest of the
    `log_count` lines that there were; `log_marks` has the number of the newest line of each speaker
    who numbers them. From `handed_over_at` on the installed system starts; `first_boot_sha256` is
    the digest of the token by which it says that it came up. `handover` says that the
    distribution's own installer took the machine over from the agent. `reported_by` is the agent
    run whose report `hardware` is, of `reported_at`; `boot` has the moments of the boot that
    brought it, and of the restart into the installed system (`lpmos.model.boot`). `traceparent`
    names the span of another's trace in which it was asked for. A `job` has a `job_plan` in place
    of `plan`, and `results` of the steps that have ended. `folded` is None in every
    task that is in memory: what a finished task's document has in it stands in its own fields.
    """

    task_id: str
    idc: str
    sn: str
    mac: str
    os_type: str
    os_version: str
    hostname: str
    disk_layout: Annotated[str | StorageLayout, WHOLE] = "auto"
    root_disk: RootDiskHints = RootDiskHints()
    network_config: NetworkConfig = "dhcp"
    ssh_keys: tuple[str, ...] = ()
    tags: dict[str, str] = {}
    tenant: str | None = None
    method: Method | None = None
    kernel_arguments: str = ""
    setup: Setup = Setup()
    attempt: int = 1
    retry_of: str | None = None
    status: Status
    status_history: tuple[StatusChange, ...]
    progress: tuple[Progress, ...] = ()
    logs: tuple[str, ...] = ()
    log_count: int = 0
    log_marks: dict[str, int] = {}
    hardware: Inventory | None = None
    reported_by: str | None = None
    reported_at: datetime | None = None
    boot: Moments = {}
    plan: DiskPlan | None = None
    approval: Approval | None = None
    intent: Intent | None = None
    error: TaskError | None = None
    rolled_back: RolledBack | None = None
    handover: Handover | None = None
    handed_over_at: datetime | None = None
    first_boot_sha256: str | None = None
    created_at: datetime
    updated_at: datetime
    created_by: str
    acting_for: str | None = None
    traceparent: str | None = None
    job: Annotated[Job | None, WHOLE] = None
    job_plan: JobPlan | None = None
    results: tuple[StepResult, ...] = ()
    folded: bytes | None = None

    def __post_init__(self) -> None:
        """Unfold what is folded; a version that does not know of folding may have added to it."""
        if self.folded is None:
            return
        parts = msgspec.json.decode(inflated(self.folded), type=_Folded)
        whole = {
            "hardware": self.hardware or parts.hardware,
            "logs": parts.logs + self.logs,
            "progress": parts.progress + self.progress,
            "results": parts.results + self.results,
            "boot": parts.boot | self.boot,
            "folded": None,
        }
        for name, value in whole.items():
            msgspec.structs.force_setattr(self, name, value)

    @property
    def plan_digest(self) -> str | None:
        """What names the plan that a person approves; None before the hardware is known."""
        plan = self.plan or self.job_plan
        return plan.digest if plan else None

    @property
    def asked_by(self) -> str:
        """The person, rule or region that wants it: of a rule's task the person behind the rule."""
        return self.acting_for or self.created_by

    @property
    def since(self) -> datetime:
        """Since when it is in its status; a machine that boots again does not begin it anew."""
        at = self.updated_at
        for change in reversed(self.status_history):
            if change.status is not self.status:
                break
            at = change.timestamp
        return at

    @property
    def has_secrets(self) -> bool:
        """Whether there is a sealed part beside it."""
        return self.setup.has_secrets or is_encrypted(self.disk_layout)

    @property
    def finished(self) -> bool:
        """Whether nothing can happen to this task any more."""
        return self.status in FINAL

    @property
    def starts_its_system(self) -> bool:
        """Whether all is on the disk and the installed system has not said yet that it came up."""
        return self.handed_over_at is not None and not self.finished

    @property
    def lines_logged(self) -> int:
        """How many log lines there were; the last of `logs` has this number, counted from 1."""
        return max(self.log_count, len(self.logs))

    @property
    def percent(self) -> float:
        """How much of the install is done, 0 to 100."""
        return self.progress[-1].percent if self.progress else 0.0
