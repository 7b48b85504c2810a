"""The log of a task: its newest lines, which the store has, and all of it, which its region has.

Lines are numbered from 1 over the task's life. Who follows a log reads once after it has subscribed
to `log` messages, and again, after the last number that it knows, where a message leaves a gap.
"""

from collections.abc import AsyncGenerator
from typing import Annotated, Any, cast

import msgspec
from litestar import MediaType, Response, get
from litestar.datastructures import ResponseHeader
from litestar.di import NamedDependency
from litestar.params import FromPath, QueryParameter
from litestar.response import Stream

from lpmos.control.access import CallerRequest, needs
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.region_logs import LogAway, RegionLogs
from lpmos.control.views.tasks import task_place
from lpmos.core.tasks import Tasks
from lpmos.model.access import Permission
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task

SOURCE = "Lpmos-Log-Source"
FROM_STORE, FROM_REGION = "store", "region"

After = Annotated[
    int,
    QueryParameter(ge=0, le=2**53 - 1, description="Only lines with a higher number than this."),
]


class TaskLogView(msgspec.Struct, frozen=True, kw_only=True):
    """The newest lines of a task's log, oldest first.

    `first` is the number of the first of them; ask again with `after` = `next` for what comes. Of
    those that were asked for, `missed` are not in the store any more: they are in the whole log, at
    `download`.
    """

    task_id: str
    status: Status
    finished: bool
    first: int
    next: int
    missed: int
    lines: tuple[str, ...]
    download: str


@get("/tasks/{task_id:str}/log", responses=PROBLEMS, opt=needs(Permission.TASK_READ))
async def show_task_log(
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    after: After = 0,
) -> TaskLogView:
    """The newest lines of a task's log that are numbered higher than `after`."""
    return log_after((await tasks.read(task_id, request.user.tenant)).task, after)


@get(
    "/tasks/{task_id:str}/log/download",
    media_type=MediaType.TEXT,
    responses=PROBLEMS,
    response_headers=[
        ResponseHeader(
            name=SOURCE,
            description="`region`: all of it; `store`: the newest lines, and why in the first.",
            documentation_only=True,
            required=True,
        )
    ],
    opt=needs(Permission.TASK_READ),
)
async def download_task_log(
    task_id: FromPath[str],
    request: CallerRequest,
    tasks: NamedDependency[Tasks],
    region_logs: NamedDependency[RegionLogs],
) -> Response[bytes]:
    """The whole log from the task's region; where that cannot be had, the newest lines, and why."""
    task = (await tasks.read(task_id, request.user.tenant)).task
    name = {"Content-Disposition": f'attachment; filename="task-{task.task_id}.log"'}
    try:
        pieces = await region_logs.open(task.idc, task.task_id, request.user.subject)
    except LogAway as error:
        headers = {**name, SOURCE: FROM_STORE}
        return Response(_newest(task, str(error)), media_type=MediaType.TEXT, headers=headers)
    return _streamed(pieces, {**name, SOURCE: FROM_REGION})


def log_after(task: Task, after: int) -> TaskLogView:
    """What the store has of a task's log beyond the line `after`."""
    total = task.lines_logged
    kept_from = total - len(task.logs)
    begin = min(max(after, kept_from), total)
    return TaskLogView(
        task_id=task.task_id,
        status=task.status,
        finished=task.finished,
        first=begin + 1,
        next=total,
        missed=max(0, kept_from - after),
        lines=task.logs[begin - kept_from :],
        download=f"{task_place(task.task_id)}/log/download",
    )


def _newest(task: Task, why: str) -> bytes:
    head = f"[WARN] these are the newest lines only, as the store has them: {why}"
    return "\n".join((head, *task.logs, "")).encode()


def _streamed(pieces: AsyncGenerator[bytes, None], headers: dict[str, str]) -> Response[bytes]:
    """The framework's stream is a response whose type names its pieces."""
    return cast(
        Response[bytes], cast(Any, Stream(pieces, media_type=MediaType.TEXT, headers=headers))
    )


TASK_LOG_CALLS = (show_task_log, download_task_log)
