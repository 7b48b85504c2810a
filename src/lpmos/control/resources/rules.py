"""The rule calls of the API (A12, H4): the rules, and what they say of tasks and machines."""

from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.bodies import CHECK
from lpmos.control.http.conditional import ETAG, LOCATION, IfMatch, named_revision, tagged
from lpmos.control.http.problems import PROBLEMS
from lpmos.core.clock import utc_now
from lpmos.core.documents import Held
from lpmos.core.rules.dry_run import DryRunResult, DryRuns
from lpmos.core.rules.rules import Rules, RuleVerdict, check_fields
from lpmos.core.tasks import Tasks
from lpmos.model.access import Permission
from lpmos.model.lifecycle import Status
from lpmos.model.rule import JobsOfRule, NewRule, Rule, RuleFields, RuleKind, RuleTask
from lpmos.model.task import Approval


class RuleView(msgspec.Struct, frozen=True, kw_only=True):
    """A rule; `revision` is for `If-Match`, and `changed_by` is for whom it acts."""

    name: str
    kind: RuleKind
    condition: str
    description: str
    enabled: bool
    priority: int
    idc: tuple[str, ...]
    tenant: str | None
    allow_overwrite: bool
    jobs: JobsOfRule
    task: RuleTask | None
    created_at: datetime
    changed_at: datetime
    changed_by: str
    revision: int


class RuleList(msgspec.Struct, frozen=True):
    """One page of rules, in the order in which they are asked; `total` match in all."""

    rules: list[RuleView]
    total: int
    limit: int
    offset: int


class DryRunRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rule to be tried on the machines that are there."""

    rule: RuleFields


class DecisionView(msgspec.Struct, frozen=True, kw_only=True):
    """What each rule says of a task now, in the order in which they are asked.

    `waits_for` is `machine` before a machine has reported, `rule` where a rule matches that has
    not acted yet, and `person` where none does; null where the task does not wait for a decision.
    """

    task_id: str
    status: Status
    waits_for: str | None
    approval: Approval | None
    rules: list[RuleVerdict]


def _check_dry_run(data: DryRunRule) -> None:
    check_fields(data.rule, "rule.")


@post(
    "/rules",
    responses=PROBLEMS,
    response_headers=[ETAG, LOCATION],
    opt=needs(Permission.RULE_WRITE, **{CHECK: check_fields}),
)
async def create_rule(
    data: JSONBody[NewRule], request: CallerRequest, rules: NamedDependency[Rules]
) -> Response[RuleView]:
    """Make a rule; it is asked about everything that waits now."""
    fields = {name: getattr(data, name) for name in RuleFields.__struct_fields__}
    held = await rules.create(data.name, RuleFields(**fields), by=actor(request))
    made = tagged(_view(held), held.revision, status_code=201)
    made.headers["Location"] = f"/api/v1/rules/{held.name}"
    return made


@get("/rules", responses=PROBLEMS, opt=needs(Permission.RULE_READ))
async def list_rules(
    request: CallerRequest,
    rules: NamedDependency[Rules],
    kind: FromQuery[RuleKind | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 200,
    offset: Annotated[int, QueryParameter(ge=0, le=10_000)] = 0,
) -> RuleList:
    """One page of the rules, in the order in which they are asked."""
    found = rules.seen_by(request.user.tenant, kind)
    page = [_view(held) for held in found[offset : offset + limit]]
    return RuleList(page, len(found), limit, offset)


@get(
    "/rules/{name:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.RULE_READ),
)
async def show_rule(
    name: FromPath[str], request: CallerRequest, rules: NamedDependency[Rules]
) -> Response[RuleView]:
    """One rule."""
    held = await rules.read(name, request.user.tenant)
    return tagged(_view(held), held.revision)


@put(
    "/rules/{name:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.RULE_WRITE, **{CHECK: check_fields}),
)
async def put_rule(
    name: FromPath[str],
    data: JSONBody[RuleFields],
    request: CallerRequest,
    rules: NamedDependency[Rules],
    if_match: IfMatch = None,
) -> Response[RuleView]:
    """Put other fields in place of a rule's; it is asked about everything that waits now."""
    held = await rules.change(name, data, by=actor(request), at_revision=named_revision(if_match))
    return tagged(_view(held), held.revision)


@delete("/rules/{name:str}", responses=PROBLEMS, opt=needs(Permission.RULE_WRITE))
async def delete_rule(
    name: FromPath[str],
    request: CallerRequest,
    rules: NamedDependency[Rules],
    if_match: IfMatch = None,
) -> None:
    """Delete a rule; what it has decided stays."""
    await rules.delete(name, by=actor(request), at_revision=named_revision(if_match))


@post(
    "/rules/dry-run",
    responses=PROBLEMS,
    status_code=200,
    opt=needs(Permission.RULE_READ, **{CHECK: _check_dry_run}),
)
async def dry_run_rule(
    data: JSONBody[DryRunRule], request: CallerRequest, dry_runs: NamedDependency[DryRuns]
) -> DryRunResult:
    """What a rule would say of the machines that are there; nothing is stored or done."""
    now = utc_now()
    rule = Rule(fields=data.rule, created_at=now, changed_at=now, changed_by=request.user.subject)
    return await dry_runs.run(rule, request.user.tenant)


@get("/tasks/{task_id:str}/decision", responses=PROBLEMS, opt=needs(Permission.TASK_READ))
async def show_decision(
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    rules: NamedDependency[Rules],
) -> DecisionView:
    """What each rule says of a task now, and why; a tenant's user sees the tenant's rules."""
    task = await tasks.find(task_id, request.user.tenant)
    verdicts = await rules.decision(task, request.user.tenant)
    return DecisionView(
        task_id=task.task_id,
        status=task.status,
        waits_for=_waits_for(task.status, verdicts),
        approval=task.approval,
        rules=verdicts,
    )


def _waits_for(status: Status, verdicts: list[RuleVerdict]) -> str | None:
    if status in (Status.PENDING, Status.READY, Status.BOOTING):
        return "machine"
    if status is not Status.PENDING_APPROVAL:
        return None
    return "rule" if any(each.matched for each in verdicts) else "person"


def _view(held: Held[Rule]) -> RuleView:
    rule = held.document
    fields = {name: getattr(rule.fields, name) for name in RuleFields.__struct_fields__}
    fields["jobs"] = rule.fields.approved_jobs
    return RuleView(
        name=held.name,
        created_at=rule.created_at,
        changed_at=rule.changed_at,
        changed_by=rule.changed_by,
        revision=held.revision,
        **fields,
    )


RULE_CALLS = (
    create_rule,
    list_rules,
    show_rule,
    put_rule,
    delete_rule,
    dry_run_rule,
    show_decision,
)
