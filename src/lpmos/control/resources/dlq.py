"""The dead-letter queue (A11, S9): failed tasks set aside, to be tried again or dismissed.

A task comes here in the transaction in which it fails, and leaves in the one in which it is tried
again; dismissing one leaves the task itself where it is.
"""

import msgspec
from litestar import Response, delete, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.conditional import ETAG, LOCATION, IfMatch, named_revision, tagged
from lpmos.control.http.idempotency import REPLAYS, IdempotencyKey, made_once
from lpmos.control.http.paging import LIMIT, Limit, Name, Offset, Search, only_own, page_links
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.http.visible import until_shown
from lpmos.control.resources.regions import check_listed
from lpmos.control.views.tasks import (
    PageLinks,
    RetriedTask,
    TaskSummary,
    TaskView,
    letter_full,
    letter_summary,
    retried,
)
from lpmos.core.fleet import Fleet
from lpmos.core.taskindex import TaskQuery
from lpmos.core.tasks import Tasks
from lpmos.model.access import Permission


class DeadLetterList(msgspec.Struct, frozen=True):
    """One page of the tasks set aside, the last that failed first; `total` match in all."""

    dead_letters: list[TaskSummary]
    total: int
    limit: int
    offset: int
    links: PageLinks


@get("/dlq", responses=PROBLEMS, opt=needs(Permission.TASK_READ))
async def list_dead_letters(  # noqa: PLR0917 - these are query parameters
    request: CallerRequest,
    fleet: NamedDependency[Fleet],
    idc: FromQuery[str | None] = None,
    text: Search = None,
    tenant: Name = None,
    limit: Limit = LIMIT,
    offset: Offset = 0,
) -> DeadLetterList:
    """The failed tasks that nobody has tried again or dismissed yet."""
    check_listed(fleet)
    query = TaskQuery(
        idc=idc,
        text=text,
        tenant=only_own(tenant, request.user.tenant),
        sort="-updated_at",
        limit=limit,
        offset=offset,
    )
    rows, total = fleet.dead_letters(query)
    beside = page_links(request, limit, offset, total)
    return DeadLetterList([letter_summary(row) for row in rows], total, limit, offset, beside)


@get(
    "/dlq/{task_id:str}",
    responses=PROBLEMS,
    response_headers=[ETAG],
    opt=needs(Permission.TASK_READ),
)
async def show_dead_letter(
    task_id: FromPath[str], request: CallerRequest, tasks: NamedDependency[Tasks]
) -> Response[TaskView]:
    """One task as it was when it failed: the cause, the hardware, the log."""
    letter = await tasks.dead_letter(task_id, request.user.tenant)
    return tagged(letter_full(letter), letter.revision)


@post(
    "/dlq/{task_id:str}/requeue",
    responses=PROBLEMS,
    response_headers=[LOCATION, REPLAYS],
    opt=needs(Permission.TASK_RETRY),
)
async def requeue_dead_letter(
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
    idempotency_key: IdempotencyKey = None,
) -> Response[RetriedTask]:
    """Try the task again and take it out of the queue, both or neither."""
    made = await tasks.requeue(task_id, by=actor(request), idempotency_key=idempotency_key)
    await until_shown(fleet, made.revision)
    view = retried(made.task, made.warnings)
    return made_once(view, view.links.self, replayed=made.replayed)


@delete("/dlq/{task_id:str}", responses=PROBLEMS, opt=needs(Permission.TASK_RETRY))
async def dismiss_dead_letter(
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    fleet: NamedDependency[Fleet],
    if_match: IfMatch = None,
) -> None:
    """Take the task out of the queue and leave it at that."""
    revision = await tasks.dismiss(task_id, by=actor(request), at_revision=named_revision(if_match))
    await until_shown(fleet, revision)


DLQ_CALLS = (list_dead_letters, show_dead_letter, requeue_dead_letter, dismiss_dead_letter)
