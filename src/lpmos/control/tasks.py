"""The task calls of the API (A1-A6): parse, call the use case, show the result.

A call that changes a task answers only when the fleet in memory shows the change, so that whoever
reads next, over any connection to this control plane, reads what was written.
"""

import asyncio
from typing import Annotated

import msgspec
import structlog
from litestar import Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.bodies import CHECK
from lpmos.control.problems import PROBLEMS
from lpmos.control.regions import check_listed
from lpmos.control.views import (
    ApprovedTask,
    ApprovedView,
    CreatedTask,
    RejectedTask,
    RejectedView,
    TaskList,
    TaskView,
    full,
    links,
    summary,
)
from lpmos.core.fleet import Fleet
from lpmos.core.taskindex import TaskQuery, TaskSort
from lpmos.core.tasks import Tasks
from lpmos.model.access import Permission
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.lifecycle import Status
from lpmos.model.task import NewTask, Task, check_new_task

log = structlog.get_logger()

VISIBLE_TIMEOUT_S = 2.0
NOTE_CHARACTERS = 1000
SEARCH_CHARACTERS = 128
LIST_PARAMETERS = frozenset(
    {"idc", "region_id", "status", "text", "tag", "os", "sort", "limit", "offset"}
)

SearchParameter = Annotated[str | None, QueryParameter(min_length=1, max_length=SEARCH_CHARACTERS)]


class ApproveTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `PUT …/approve` takes; `approved` must be true, so that no empty body approves.

    `plan_digest` is the one that the task showed: the approval holds for that disk plan only.
    """

    approved: bool
    notes: str | None = None
    plan_digest: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")] | None = None


class RejectTask(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `PUT …/reject` takes."""

    reason: str


@post(
    "/tasks",
    responses=PROBLEMS,
    opt=needs(Permission.TASK_CREATE, **{CHECK: check_new_task}),
)
async def create_task(
    data: JSONBody[NewTask],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
) -> Response[CreatedTask]:
    """Create a task: the machine with this MAC or serial number shall get this OS."""
    spec = check_new_task(data)
    if request.user.tenant is not None:
        if spec.tenant not in (None, request.user.tenant):
            raise InvalidInput(FieldProblem("tenant", f"must be {request.user.tenant}"))
        spec = msgspec.structs.replace(spec, tenant=request.user.tenant)
    task = await tasks.create(spec, by=actor(request))
    await _until_visible(fleet, task)
    made = CreatedTask(task.task_id, task.status, task.created_at, links(task))
    return Response(made, status_code=201, headers={"Location": made.links.self})


@get("/tasks", responses=PROBLEMS, opt=needs(Permission.TASK_READ))
async def list_tasks(  # noqa: PLR0917 - these are query parameters
    request: CallerRequest,
    fleet: NamedDependency[Fleet],
    idc: FromQuery[str | None] = None,
    region_id: FromQuery[str | None] = None,
    status: FromQuery[Status | None] = None,
    text: SearchParameter = None,
    tag: SearchParameter = None,
    os: SearchParameter = None,
    sort: FromQuery[TaskSort] = "-created_at",
    limit: Annotated[int, QueryParameter(ge=1, le=500)] = 50,
    offset: Annotated[int, QueryParameter(ge=0, le=10_000_000)] = 0,
) -> TaskList:
    """One page of the tasks that match, newest first; `region_id` is an older name of `idc`.

    `text` is looked for in serial number, host name, MAC and task id; `tag` is `key` or
    `key=value`; `os` is `debian` or `debian 12`.
    """
    _refuse_unknown_parameters(request)
    check_listed(fleet)
    if idc is not None and region_id is not None and idc != region_id:
        raise InvalidInput(FieldProblem("region_id", "contradicts idc"))
    idc = idc if idc is not None else region_id
    query = TaskQuery(
        idc=idc,
        tenant=request.user.tenant,
        status=status,
        text=text,
        tag=tag,
        os=os,
        sort=sort,
        limit=limit,
        offset=offset,
    )
    page, total = fleet.tasks(query)
    counted = fleet.counts(idc, request.user.tenant)
    counts = {status.value: count for status, count in counted.items()}
    return TaskList([summary(task) for task in page], total, limit, offset, counts)


@get("/tasks/{task_id:str}", responses=PROBLEMS, opt=needs(Permission.TASK_READ))
async def show_task(
    task_id: FromPath[str], request: CallerRequest, tasks: NamedDependency[Tasks]
) -> TaskView:
    """One task with its hardware, timeline, progress and log."""
    return full(await tasks.find(task_id, request.user.tenant))


@put("/tasks/{task_id:str}/approve", responses=PROBLEMS, opt=needs(Permission.TASK_APPROVE))
async def approve_task(
    task_id: FromPath[str],
    data: JSONBody[ApproveTask],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
) -> ApprovedTask:
    """Allow one installation of a task that waits for approval."""
    if not data.approved:
        raise InvalidInput(FieldProblem("approved", "must be true; to refuse, use …/reject"))
    notes = _one_line(data.notes, "notes") if data.notes else None
    task = await tasks.approve(
        task_id, by=actor(request), notes=notes, plan_digest=data.plan_digest
    )
    await _until_visible(fleet, task)
    approval = ApprovedView(
        status="approved",
        approved_by=task.approval.approved_by if task.approval else None,
        approved_at=task.approval.approved_at if task.approval else None,
        notes=notes,
    )
    return ApprovedTask(task_id=task.task_id, approval=approval, next_status=Status.INSTALLING)


@put("/tasks/{task_id:str}/reject", responses=PROBLEMS, opt=needs(Permission.TASK_APPROVE))
async def reject_task(
    task_id: FromPath[str],
    data: JSONBody[RejectTask],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
) -> RejectedTask:
    """Refuse the installation of a task that waits for approval."""
    reason = _one_line(data.reason, "reason")
    if not reason:
        raise InvalidInput(FieldProblem("reason", "is empty; say why, for whoever asked"))
    task = await tasks.reject(task_id, by=actor(request), reason=reason)
    await _until_visible(fleet, task)
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
) -> None:
    """Cancel a task in whatever state it is; one that is cancelled already stays so."""
    await _until_visible(fleet, await tasks.cancel(task_id, by=actor(request)))


def _one_line(text: str, field: str) -> str:
    """What a person wrote, as it can stand in a log line."""
    if len(text) > NOTE_CHARACTERS:
        raise InvalidInput(FieldProblem(field, f"is longer than {NOTE_CHARACTERS} characters"))
    line = " ".join(text.split())
    if not line.isprintable():
        raise InvalidInput(FieldProblem(field, "has control characters"))
    return line


def _refuse_unknown_parameters(request: CallerRequest) -> None:
    unknown = sorted(set(request.query_params) - LIST_PARAMETERS)
    if unknown:
        known = ", ".join(sorted(LIST_PARAMETERS))
        raise InvalidInput(
            *(FieldProblem(name[:64], f"is unknown; known: {known}") for name in unknown)
        )


async def _until_visible(fleet: Fleet, written: Task) -> None:
    """Wait until the fleet shows a task at least as far as it was just written."""
    changed = asyncio.Event()
    unsubscribe = fleet.subscribe(lambda _: changed.set())
    try:
        async with asyncio.timeout(VISIBLE_TIMEOUT_S):
            while not _shows(fleet, written):
                await changed.wait()
                changed.clear()
    except TimeoutError:  # it is written; only this control plane does not hear of it yet
        log.warning("a written task is not visible yet", task_id=written.task_id)
    finally:
        unsubscribe()


def _shows(fleet: Fleet, written: Task) -> bool:
    known = fleet.task(written.task_id)
    return known is not None and len(known.status_history) >= len(written.status_history)


TASK_CALLS = (create_task, list_tasks, show_task, approve_task, reject_task, cancel_task)
