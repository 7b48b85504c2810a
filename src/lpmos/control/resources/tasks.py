"""The task calls of the API (A1-A6, A11): parse, call the use case, show the result.

A call that changes a task answers only when the fleet in memory shows the change. A single task is
read from the store, so that it is shown as any control plane left it (F7).
"""

from typing import Annotated

import msgspec
from litestar import Response, delete, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.bodies import TAKES, json_body
from lpmos.control.http.conditional import ETAG, LOCATION, IfMatch, named_revision
from lpmos.control.http.idempotency import REPLAYS, IdempotencyKey, made_once
from lpmos.control.http.paging import (
    LIMIT,
    Limit,
    Name,
    Offset,
    Search,
    Statuses,
    only_own,
    page_links,
    statuses,
)
from lpmos.control.http.parameters import Moment, moment
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.http.reading import Reading
from lpmos.control.http.visible import until_shown, until_visible
from lpmos.control.resources.regions import check_listed
from lpmos.control.resources.task_answers import TaskAnswers, find_list, find_task
from lpmos.control.views.tasks import (
    ApprovedTask,
    ApprovedView,
    CreatedTask,
    RejectedTask,
    RejectedView,
    RetriedTask,
    RolledBackTask,
    TaskList,
    TaskView,
    created,
    retried,
)
from lpmos.core.fleet import Fleet
from lpmos.core.newtask import read_new_task
from lpmos.core.rollback import Rollbacks
from lpmos.core.taskindex import TaskQuery, TaskSort
from lpmos.core.tasks import Tasks
from lpmos.model.access import Permission
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import NewTask
from lpmos.model.rollback import next_boot

NOTE_CHARACTERS = 1000
Said = Annotated[
    str, msgspec.Meta(extra_json_schema={"maxLength": NOTE_CHARACTERS, "format": "printable"})
]
"""What a person says of a decision; line breaks become spaces."""


class ApproveTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `PUT …/approve` takes; `approved` must be true, so that no empty body approves.

    `plan_digest` is the one that the task showed: the approval holds for that disk plan only.
    `fingerprint` is its `hardware_fingerprint` then: it holds for that hardware only.
    """

    approved: Annotated[bool, msgspec.Meta(extra_json_schema={"const": True})]
    notes: Said | None = None
    plan_digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None
    fingerprint: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


class RejectTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `PUT …/reject` takes."""

    reason: Annotated[Said, msgspec.Meta(extra_json_schema={"pattern": r"\S"})]


@post(
    "/tasks",
    responses=PROBLEMS,
    response_headers=[LOCATION, REPLAYS],
    opt=needs(Permission.TASK_CREATE, **{TAKES: lambda: {"application/json": NewTask}}),
)
async def create_task(
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
    idempotency_key: IdempotencyKey = None,
) -> Response[CreatedTask]:
    """Create a task: the machine with this MAC or serial number shall get this OS."""
    spec = read_new_task(await json_body(request), request.user.tenant, fleet)
    made = await tasks.create_once(spec, by=actor(request), idempotency_key=idempotency_key)
    await until_shown(fleet, made.revision)
    view = created(made.task, made.warnings)
    return made_once(view, view.links.self, replayed=made.replayed)


@Reading(
    "/tasks",
    http_method="GET",
    responses=PROBLEMS,
    opt=needs(Permission.TASK_READ),
    before_request=find_list,
)
async def list_tasks(  # noqa: PLR0917 - these are query parameters
    request: CallerRequest,
    fleet: NamedDependency[Fleet],
    task_answers: NamedDependency[TaskAnswers],
    idc: FromQuery[str | None] = None,
    region_id: FromQuery[str | None] = None,
    status: Statuses = None,
    text: Search = None,
    tag: Search = None,
    os: Search = None,
    tenant: Name = None,
    created_by: Name = None,
    machine: Name = None,
    since: Moment = None,
    until: Moment = None,
    sort: FromQuery[TaskSort] = "-created_at",
    limit: Limit = LIMIT,
    offset: Offset = 0,
) -> Response[TaskList]:
    """One page of the tasks that match, newest first; `region_id` is an older name of `idc`.

    `text` is looked for in serial number, host name, MAC and task id; `tag` is `key` or
    `key=value`; `os` is `debian` or `debian 12`; `machine` is a serial number; `since` and `until`
    bound the time of creation.
    """
    check_listed(fleet)
    owner = only_own(tenant, request.user.tenant)
    place = _either(idc, region_id)
    query = TaskQuery(
        idc=place,
        tenant=owner,
        statuses=statuses(status),
        text=text,
        tag=tag,
        os=os,
        created_by=created_by,
        sn=machine,
        since=moment(since, "since"),
        until=moment(until, "until"),
        sort=sort,
        limit=limit,
        offset=offset,
    )
    page, total = fleet.tasks(query)
    counts = {each.value: count for each, count in fleet.counts(place, owner).items()}
    beside = page_links(request, limit, offset, total)
    rows = task_answers.summaries(page)
    return task_answers.listed(request, TaskList(rows, total, limit, offset, counts, beside))


@Reading(
    "/tasks/{task_id:str}",
    http_method="GET",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.TASK_READ),
    before_request=find_task,
)
async def show_task(
    task_id: FromPath[str], request: CallerRequest, task_answers: NamedDependency[TaskAnswers]
) -> Response[TaskView]:
    """One task with its hardware, timeline, progress and log, and what can be done with it now."""
    return await task_answers.task(task_id, request.user.tenant)


@put("/tasks/{task_id:str}/approve", responses=PROBLEMS, opt=needs(Permission.TASK_APPROVE))
async def approve_task(  # noqa: PLR0917 - the framework hands them over by name
    task_id: FromPath[str],
    data: JSONBody[ApproveTask],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
    if_match: IfMatch = None,
) -> ApprovedTask:
    """Allow one installation of a task that waits for approval."""
    if not data.approved:
        raise InvalidInput(FieldProblem("approved", "must be true; to refuse, use …/reject"))
    notes = _one_line(data.notes, "notes") if data.notes else None
    task = await tasks.approve(
        task_id,
        by=actor(request),
        notes=notes,
        plan_digest=data.plan_digest,
        hardware_fingerprint=data.fingerprint,
        at_revision=named_revision(if_match),
    )
    await until_visible(fleet, task)
    approval = ApprovedView(
        status="approved",
        approved_by=task.approval.approved_by if task.approval else None,
        approved_at=task.approval.approved_at if task.approval else None,
        notes=notes,
    )
    return ApprovedTask(task_id=task.task_id, approval=approval, next_status=Status.INSTALLING)


@put("/tasks/{task_id:str}/reject", responses=PROBLEMS, opt=needs(Permission.TASK_APPROVE))
async def reject_task(  # noqa: PLR0917 - the framework hands them over by name
    task_id: FromPath[str],
    data: JSONBody[RejectTask],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
    if_match: IfMatch = None,
) -> RejectedTask:
    """Refuse the installation of a task that waits for approval."""
    reason = _one_line(data.reason, "reason")
    if not reason:
        raise InvalidInput(FieldProblem("reason", "is empty; say why, for whoever asked"))
    task = await tasks.reject(
        task_id, by=actor(request), reason=reason, at_revision=named_revision(if_match)
    )
    await until_visible(fleet, task)
    approval = RejectedView(
        status="rejected",
        rejected_by=task.approval.rejected_by if task.approval else None,
        rejected_at=task.approval.rejected_at if task.approval else None,
        reason=reason,
    )
    return RejectedTask(task_id=task.task_id, approval=approval)


@delete("/tasks/{task_id:str}", responses=PROBLEMS, opt=needs(Permission.TASK_CANCEL))
async def cancel_task(
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
    if_match: IfMatch = None,
) -> None:
    """Cancel a task in whatever state it is; one that is cancelled already stays so."""
    task = await tasks.cancel(task_id, by=actor(request), at_revision=named_revision(if_match))
    await until_visible(fleet, task)


@post(
    "/tasks/{task_id:str}/retry",
    responses=PROBLEMS,
    response_headers=[LOCATION, REPLAYS],
    opt=needs(Permission.TASK_RETRY),
)
async def retry_task(  # noqa: PLR0917 - the framework hands them over by name
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
    if_match: IfMatch = None,
    idempotency_key: IdempotencyKey = None,
) -> Response[RetriedTask]:
    """Try a failed, cancelled or rejected task again: a new task, which needs a new approval."""
    made = await tasks.retry(
        task_id,
        by=actor(request),
        idempotency_key=idempotency_key,
        at_revision=named_revision(if_match),
    )
    await until_shown(fleet, made.revision)
    view = retried(made.task, made.warnings)
    return made_once(view, view.links.self, replayed=made.replayed)


@post(
    "/tasks/{task_id:str}/rollback",
    status_code=200,
    responses=PROBLEMS,
    opt=needs(Permission.TASK_CANCEL),
)
async def roll_back_task(
    task_id: FromPath[str],
    request: CallerRequest,
    rollbacks: NamedDependency[Rollbacks],
    fleet: NamedDependency[Fleet],
    if_match: IfMatch = None,
) -> RolledBackTask:
    """Give the machine of a failed or cancelled task back to what it was before."""
    task, back = await rollbacks.roll_back(
        task_id, by=actor(request), at_revision=named_revision(if_match)
    )
    await until_visible(fleet, task)
    return RolledBackTask(
        task_id=task.task_id, status=task.status, rolled_back=back, next_boot=next_boot(back)
    )


def _either(idc: str | None, region_id: str | None) -> str | None:
    if idc is not None and region_id is not None and idc != region_id:
        raise InvalidInput(FieldProblem("region_id", "contradicts idc"))
    return idc if idc is not None else region_id


def _one_line(text: str, field: str) -> str:
    """What a person wrote, as it can stand in a log line."""
    if len(text) > NOTE_CHARACTERS:
        raise InvalidInput(FieldProblem(field, f"is longer than {NOTE_CHARACTERS} characters"))
    line = " ".join(text.split())
    if not line.isprintable():
        raise InvalidInput(FieldProblem(field, "has control characters"))
    return line


TASK_CALLS = (
    create_task,
    list_tasks,
    show_task,
    approve_task,
    reject_task,
    cancel_task,
    retry_task,
    roll_back_task,
)
