"""A task: the one document (S2) that says what shall be installed where, and how far it is.

A task never changes in place; `lpmos.core` makes the next version of it and swaps it in.
"""

import re
from collections.abc import Callable
from datetime import datetime
from typing import Annotated, Literal, TypeVar

import msgspec

from lpmos.model.boot import Moments
from lpmos.model.diskplan import (
    DiskLayout,
    DiskPassphrase,
    DiskPlan,
    RootDiskHints,
    StorageLayout,
    is_encrypted,
    layout_problems,
)
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.folding import inflated
from lpmos.model.installer import Handover, Method
from lpmos.model.inventory import Inventory
from lpmos.model.job import JOB_OS, Job, JobPlan, StepResult, job_problems
from lpmos.model.kernelline import KernelArguments, parse_kernel_arguments
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.machine import (
    HOSTNAME_PATTERN,
    IDC_PATTERN,
    MAC_PATTERN,
    RESERVED_IDCS,
    SN_PATTERN,
    TAG_CHARACTERS,
    TAG_PATTERN,
    TAGS_LIMIT,
    TENANT_PATTERN,
    Mac,
    hostname_from_sn,
    parse_hostname,
    parse_idc,
    parse_mac,
    parse_sn,
    parse_tenant,
    sn_from_mac,
    tag_problems,
)
from lpmos.model.network import NetworkConfig, network_problems
from lpmos.model.setup import (
    NO_SECRETS,
    SSH_KEY_PATTERN,
    NewSetup,
    Setup,
    TaskSecrets,
    setup_problems,
)
from lpmos.model.tolerance import WHOLE
from lpmos.model.windows import OS_TYPE as WINDOWS
from lpmos.model.windows import windows_problems

T = TypeVar("T")

LOG_LINES = 100
LOG_LINE_BYTES = 200
TEXT_LIMIT_BYTES = 16_384
"""What SSH keys and tags of one task may take together: its document has a limit (S13)."""
SSH_KEYS_LIMIT = 20
OS_PATTERN = "^[a-z0-9][a-z0-9.-]{0,63}$"
_OS = re.compile(OS_PATTERN)
_SSH_KEY = re.compile(SSH_KEY_PATTERN.removeprefix("^").removesuffix("$"))


def _text(pattern: str, longest: int, example: str, description: str) -> msgspec.Meta:
    """What the API's description says of a text field; it is `check_new_task` that checks it."""
    schema = {"pattern": pattern, "maxLength": longest, "examples": [example]}
    return msgspec.Meta(extra_json_schema={"description": description, **schema})


IdcName = Annotated[
    str,
    _text(IDC_PATTERN, 32, "dc1", "The data center."),
    msgspec.Meta(extra_json_schema={"not": {"enum": sorted(RESERVED_IDCS)}}),
]
SerialNumber = Annotated[
    str, _text(SN_PATTERN, 64, "SN-0042", "The serial number; made from the MAC where missing.")
]
MacText = Annotated[
    str,
    _text(MAC_PATTERN, 17, "52:54:00:12:34:56", "The NIC that boots, in any usual notation."),
    msgspec.Meta(extra_json_schema={"not": {"pattern": "^[0:.-]*$"}}),
]
HostName = Annotated[
    str, _text(HOSTNAME_PATTERN, 253, "web-1", "RFC 1123; from the serial number.")
]
TenantName = Annotated[str, _text(TENANT_PATTERN, 32, "team-a", "Whose it is.")]
OsType = Annotated[str, _text(OS_PATTERN, 64, "debian", "What the region offers.")]
OsVersion = Annotated[str, _text(OS_PATTERN, 64, "12", "What the region offers.")]
SshKey = Annotated[
    str,
    _text(SSH_KEY_PATTERN, 4096, "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me", "One OpenSSH key."),
]
InstallMethod = Annotated[
    Method | None,
    msgspec.Meta(
        extra_json_schema={
            "description": "By image, or by the distribution's own installer; null: by image where"
            " the region has one, else by installer."
        }
    ),
]
JobAsked = Annotated[
    Job | None,
    msgspec.Meta(
        extra_json_schema={
            "description": "What the agent shall do in place of an install. Then no OS is named,"
            " and of an install nothing is said."
        }
    ),
]
SshKeys = Annotated[
    tuple[SshKey, ...],
    msgspec.Meta(
        extra_json_schema={"maxItems": SSH_KEYS_LIMIT, "description": "Who may log in as root."}
    ),
]
TagKey = Annotated[str, msgspec.Meta(extra_json_schema={"pattern": TAG_PATTERN})]
TagValue = Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": TAG_CHARACTERS})]
AllTags = msgspec.Meta(
    extra_json_schema={
        "maxProperties": TAGS_LIMIT,
        "description": "What people say of the machine, by key.",
    }
)
Tags = Annotated[dict[TagKey, TagValue], AllTags]


class NewTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /tasks` takes; the older names are accepted beside the present ones."""

    os_type: OsType | None = None
    os_version: OsVersion | None = None
    idc: IdcName | None = None
    region_id: IdcName | None = None
    mac: MacText | None = None
    target_mac: MacText | None = None
    sn: SerialNumber | None = None
    hostname: HostName | None = None
    disk_layout: DiskLayout = "auto"
    disk_passphrase: DiskPassphrase | None = None
    root_disk: RootDiskHints = RootDiskHints()
    network_config: NetworkConfig = "dhcp"
    ssh_keys: SshKeys = ()
    tags: Tags = {}
    tenant: TenantName | None = None
    method: InstallMethod = None
    kernel_arguments: KernelArguments = ""
    setup: NewSetup = NewSetup()
    job: JobAsked = None


class TaskSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A checked `NewTask`: every name normalised, every default filled in.

    `secrets` are no part of the task; None: those that the machine's last task had.
    """

    idc: str
    sn: str
    mac: Mac
    os_type: str
    os_version: str
    hostname: str
    disk_layout: str | StorageLayout
    root_disk: RootDiskHints
    network_config: NetworkConfig
    ssh_keys: tuple[str, ...]
    tags: dict[str, str]
    tenant: str | None = None
    method: Method | None = None
    kernel_arguments: str = ""
    setup: Setup = Setup()
    job: Job | None = None
    secrets: TaskSecrets | None = NO_SECRETS


OF_INSTALLS = (
    "os_type",
    "os_version",
    "disk_layout",
    "disk_passphrase",
    "root_disk",
    "network_config",
    "method",
    "kernel_arguments",
    "setup",
)
"""The fields of a new task that a job does not have."""
_DEFAULTS = {field.name: field.default for field in msgspec.structs.fields(NewTask)}

ASKED = tuple(name for name in TaskSpec.__struct_fields__ if name != "secrets")
"""The fields of a task that say what was asked for."""


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


def check_new_task(new: NewTask) -> TaskSpec:
    """Check every field, and report all that is wrong at once.

    Raises:
        InvalidInput: names each wrong field.
    """
    problems: list[FieldProblem] = []

    def checked(parse: Callable[[str, str], T], text: str | None, field: str) -> T | None:
        if text is None:
            problems.append(FieldProblem(field, "is missing"))
            return None
        try:
            return parse(text, field)
        except InvalidInput as error:
            problems.extend(error.problems)
            return None

    idc = checked(parse_idc, *_either(new, "idc", "region_id", problems))
    mac = checked(parse_mac, *_either(new, "mac", "target_mac", problems))
    sn = checked(parse_sn, new.sn, "sn") if new.sn is not None else mac and sn_from_mac(mac)
    hostname = (
        checked(parse_hostname, new.hostname, "hostname")
        if new.hostname is not None
        else sn and hostname_from_sn(sn)
    )
    if new.tenant is not None:
        checked(parse_tenant, new.tenant, "tenant")
    checked(parse_kernel_arguments, new.kernel_arguments, "kernel_arguments")
    system = _system(new, problems)
    problems += _other_problems(new)
    if new.os_type == WINDOWS:
        problems += windows_problems(new, hostname)
    if problems or idc is None or mac is None or sn is None or hostname is None:
        raise InvalidInput(*problems)
    setup, secrets = new.setup.parted()
    secrets = msgspec.structs.replace(secrets, disk_passphrase=new.disk_passphrase)
    return TaskSpec(
        idc=idc,
        sn=sn,
        mac=mac,
        os_type=system[0],
        os_version=system[1],
        hostname=hostname,
        disk_layout=new.disk_layout,
        root_disk=new.root_disk,
        network_config=new.network_config,
        ssh_keys=new.ssh_keys,
        tags=new.tags,
        tenant=new.tenant,
        method=new.method,
        kernel_arguments=new.kernel_arguments,
        setup=setup,
        job=new.job,
        secrets=secrets,
    )


def of_tenant(spec: TaskSpec, tenant: str | None) -> TaskSpec:
    """The specification as users of `tenant` may give it: what they create is their tenant's.

    Raises:
        InvalidInput: it names another tenant.
    """
    if tenant is None or spec.tenant == tenant:
        return spec
    if spec.tenant is not None:
        raise InvalidInput(FieldProblem("tenant", f"must be {tenant}"))
    return msgspec.structs.replace(spec, tenant=tenant)


def _either(
    new: NewTask, name: str, older: str, problems: list[FieldProblem]
) -> tuple[str | None, str]:
    """The value of a field that has an older name, and the name under which it came."""
    value, old_value = getattr(new, name), getattr(new, older)
    if value is not None and old_value is not None and value != old_value:
        problems.append(FieldProblem(older, f"contradicts {name}"))
    return (old_value, older) if value is None and old_value is not None else (value, name)


def _system(new: NewTask, problems: list[FieldProblem]) -> tuple[str, str]:
    """The OS of an install; the name and the steps of a job, which has nothing else of one."""
    if new.job is not None:
        problems += [
            FieldProblem(name, "is for an install, and this task is a job")
            for name in OF_INSTALLS
            if getattr(new, name) != _DEFAULTS[name]
        ]
        problems += job_problems(new.job, new.ssh_keys)
        return JOB_OS, new.job.title
    wrong = "must be up to 64 of a-z, 0-9, '.', '-', a letter or digit first"
    system = (new.os_type, new.os_version)
    for name, value in zip(("os_type", "os_version"), system, strict=True):
        if value is None:
            problems.append(FieldProblem(name, "is missing; or say a job"))
        elif not _OS.fullmatch(value) or (name == "os_type" and value == JOB_OS):
            problems.append(FieldProblem(name, wrong if value != JOB_OS else "stands for jobs"))
    return new.os_type or "", new.os_version or ""


def _other_problems(new: NewTask) -> list[FieldProblem]:
    problems = network_problems(new.network_config)
    problems += layout_problems(new.disk_layout, new.root_disk)
    if is_encrypted(new.disk_layout) != (new.disk_passphrase is not None):
        wrong = "is for a disk_layout with encrypt"
        text = wrong if new.disk_passphrase else "is missing, and disk_layout has encrypt"
        problems.append(FieldProblem("disk_passphrase", text))
    if len(new.ssh_keys) > SSH_KEYS_LIMIT:
        problems.append(FieldProblem("ssh_keys", f"more than {SSH_KEYS_LIMIT} keys"))
    problems += [
        FieldProblem(f"ssh_keys.{number}", "is not one line of an OpenSSH public key")
        for number, key in enumerate(new.ssh_keys)
        if len(key) > 4096 or not _SSH_KEY.fullmatch(key)
    ]
    size_bytes = sum(len(text.encode()) for text in (*new.ssh_keys, *new.tags, *new.tags.values()))
    if size_bytes > TEXT_LIMIT_BYTES:
        problems.append(
            FieldProblem("ssh_keys", f"with the tags over {TEXT_LIMIT_BYTES} bytes together")
        )
    problems += tag_problems(new.tags)
    problems += setup_problems(new.setup)
    return problems
