"""A rule: what is done without a person, and for which machines.

An `approve` rule approves a waiting task whose machine and disk plan satisfy its condition; a
`create` rule makes a task for an unknown machine that reported itself (zero touch). The condition
is text here; `lpmos.core.rules.conditions` knows its language.
"""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

import msgspec

from lpmos.model.diskplan import DiskLayout, RootDiskHints
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.kernelline import KernelArguments
from lpmos.model.machine import (
    hostname_from_sn,
    parse_idc,
    parse_mac,
    parse_tenant,
    sn_from_mac,
)
from lpmos.model.network import NetworkConfig
from lpmos.model.newtask import (
    IdcName,
    InstallMethod,
    NewTask,
    OsType,
    OsVersion,
    SshKeys,
    Tags,
    TaskSpec,
    TenantName,
)
from lpmos.model.newtaskcheck import check_new_task
from lpmos.model.tolerance import WHOLE

CONDITION_CHARACTERS = 1000
RULE_LIMIT = 200
TENANT_RULE_LIMIT = 50
SAMPLE_MAC = "52:54:00:12:34:56"
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

RuleName = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", max_length=63)]
JobsOfRule = Annotated[
    Literal["none", "reading", "writing"],
    msgspec.Meta(
        extra_json_schema={
            "description": "Whether an `approve` rule approves jobs too: none, those that only"
            " read, or also those that write to disks (which hold anything: with"
            " `allow_overwrite`). A job with SSH is never approved by a rule.",
            "default": "none",
        }
    ),
]
RuleKind = Literal["approve", "create"]
Condition = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=CONDITION_CHARACTERS,
        description="A CEL expression: when the rule matches.",
        extra_json_schema={"format": "cel"},
    ),
]
HostNamePattern = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=253,
        extra_json_schema={"format": "host-name-pattern", "examples": ["node-{sn}"]},
    ),
]


class RuleTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the task of a `create` rule shall be; `hostname` may hold `{sn}` and `{mac}`."""

    os_type: OsType
    os_version: OsVersion
    hostname: HostNamePattern | None = None
    disk_layout: DiskLayout = "auto"
    root_disk: RootDiskHints = RootDiskHints()
    network_config: NetworkConfig = "dhcp"
    ssh_keys: SshKeys = ()
    tags: Tags = {}
    tenant: TenantName | None = None
    method: InstallMethod | msgspec.UnsetType = msgspec.UNSET
    kernel_arguments: KernelArguments | msgspec.UnsetType = msgspec.UNSET

    def __post_init__(self) -> None:
        """Leave out of what is written what says nothing: the version before it refuses both."""
        for name in ("method", "kernel_arguments"):
            if not getattr(self, name):
                msgspec.structs.force_setattr(self, name, msgspec.UNSET)


class RuleFields(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person says of a rule.

    Of two rules that match, the one of higher `priority` decides, then the first by name. Without
    `idc` a rule holds for every data center. A rule with a `tenant` is that tenant's, and holds for
    its tasks only; one without is the provider's, and holds for all. Tasks that are jobs are
    approved only where `jobs` says so.
    """

    kind: RuleKind
    condition: Condition
    description: Annotated[str, msgspec.Meta(max_length=500)] = ""
    enabled: bool = True
    priority: Annotated[int, msgspec.Meta(ge=0, le=1000)] = 100
    idc: Annotated[tuple[IdcName, ...], msgspec.Meta(max_length=100)] = ()
    tenant: TenantName | None = None
    allow_overwrite: bool = False
    jobs: JobsOfRule | msgspec.UnsetType = msgspec.UNSET
    task: RuleTask | None = None

    def __post_init__(self) -> None:
        """Leave `none` out of what is written: the version before jobs refuses the field."""
        if self.jobs == "none":
            msgspec.structs.force_setattr(self, "jobs", msgspec.UNSET)

    @property
    def approved_jobs(self) -> JobsOfRule:
        """Which jobs it approves."""
        return "none" if self.jobs is msgspec.UNSET else self.jobs


class NewRule(RuleFields, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `POST /rules` takes."""

    name: RuleName


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """A rule as it is kept, under its name; `fields` is what a person said.

    `changed_by` is for whom it acts: the person who changed it last. A rule of which something is
    not understood approves nothing.
    """

    fields: Annotated[RuleFields, WHOLE]
    created_at: datetime
    changed_at: datetime
    changed_by: str

    @property
    def tenant(self) -> str | None:
        """Whom it belongs to; None is the provider."""
        return self.fields.tenant

    def audited(self) -> dict[str, Any]:
        """What a person said of it: nothing of it is secret."""
        plain: dict[str, Any] = msgspec.to_builtins(self.fields)
        return plain | {"jobs": self.fields.approved_jobs}

    def holds_for(self, idc: str, tenant: str | None) -> bool:
        """Whether it is for this data center and for what belongs to this tenant."""
        fields = self.fields
        return (not fields.idc or idc in fields.idc) and fields.tenant in (None, tenant)


def rule_actor(name: str) -> str:
    """The name under which a rule acts."""
    return f"rule:{name}"


def rule_of_actor(actor: str) -> str | None:
    """The rule that acts under this name; None where it is no rule's."""
    kind, _, name = actor.partition(":")
    return name if kind == "rule" and name else None


def check_rule(fields: RuleFields) -> None:
    """Check what the fields' types do not say, but for the condition.

    Raises:
        InvalidInput: names each wrong field.
    """
    problems: list[FieldProblem] = []
    for number, idc in enumerate(fields.idc):
        problems += _refused(parse_idc, idc, f"idc.{number}")
    if fields.tenant is not None:
        problems += _refused(parse_tenant, fields.tenant, "tenant")
    problems += _approve_problems(fields) if fields.kind == "approve" else _create_problems(fields)
    if problems:
        raise InvalidInput(*problems)


def task_of_rule(task: RuleTask, idc: str, mac: str, sn: str | None) -> TaskSpec:
    """The task that a `create` rule makes for a machine.

    Raises:
        InvalidInput: it cannot be a task; the fields' names are those of a new task.
    """
    known_sn = sn or sn_from_mac(parse_mac(mac))
    hostname = task.hostname and _filled_in(task.hostname, mac, known_sn)
    fields = {**msgspec.structs.asdict(task), "hostname": hostname}
    said = {name: value for name, value in fields.items() if value is not msgspec.UNSET}
    return check_new_task(NewTask(idc=idc, mac=mac, sn=known_sn, **said))


def _filled_in(pattern: str, mac: str, sn: str) -> str:
    values = {"sn": hostname_from_sn(sn), "mac": mac.replace(":", "")}
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), pattern)


def _approve_problems(fields: RuleFields) -> list[FieldProblem]:
    if fields.task is None:
        return []
    return [FieldProblem("task", "is for rules of kind 'create' only")]


def _create_problems(fields: RuleFields) -> list[FieldProblem]:
    problems: list[FieldProblem] = []
    if fields.approved_jobs != "none":
        problems.append(FieldProblem("jobs", "is for rules of kind 'approve' only"))
    if fields.allow_overwrite:
        problems.append(FieldProblem("allow_overwrite", "is for rules of kind 'approve' only"))
    if fields.tenant is not None:
        text = "a rule that creates tasks is the provider's; say task.tenant for whom the task is"
        problems.append(FieldProblem("tenant", text))
    if fields.task is None:
        return [*problems, FieldProblem("task", "is missing: what shall be installed")]
    if unknown := set(_PLACEHOLDER.findall(fields.task.hostname or "")) - {"sn", "mac"}:
        text = f"{{{min(unknown)[:40]}}} is unknown; known: {{sn}}, {{mac}}"
        return [*problems, FieldProblem("task.hostname", text)]
    try:
        task_of_rule(fields.task, "dc1", SAMPLE_MAC, None)
    except InvalidInput as error:
        problems += [FieldProblem(f"task.{each.field}", each.message) for each in error.problems]
    return problems


def _refused(parse: Any, text: str, field: str) -> tuple[FieldProblem, ...]:
    try:
        parse(text, field)
    except InvalidInput as error:
        return error.problems
    return ()
