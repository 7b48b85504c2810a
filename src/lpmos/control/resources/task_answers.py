"""Lists of tasks and single tasks as they are sent, made once for all who may see the same.

A list is that of one tenant, or of all; it stands until any task changes. A single task is the same
for everybody who may see it; each time the store is asked whether it is still the one that memory
has (F7), and the caller's tenant is looked at. It is made of what its region saw of a boot under
way too, which changes no task.
"""

from collections import OrderedDict
from datetime import datetime
from typing import Any, cast

import msgspec
from litestar import Request, Response

from lpmos.control.access import CallerRequest
from lpmos.control.http.kept import Answer, KeptAnswers, KeptResponse
from lpmos.control.http.parameters import check_request
from lpmos.control.views.tasks import TaskList, TaskSummary, full, row_of, summary
from lpmos.core.deadlines.deadlines import Deadlines
from lpmos.core.evidence import so_far
from lpmos.core.fleet import Fleet
from lpmos.core.taskrow import TaskRow
from lpmos.core.tasks import Tasks
from lpmos.model.access import sees
from lpmos.store import keys

ROWS = 5000
"""How many rows of lists stay encoded; those that were made first go first."""

QUERY_BYTES = 1000
"""The answer to a longer query is not kept."""

STATE = "task_answers"
"""Under which name of the application's state the answers are."""


class TaskAnswers:
    """What was answered, and is still so."""

    def __init__(self, fleet: Fleet, tasks: Tasks, deadlines: Deadlines) -> None:
        self._fleet = fleet
        self._deadlines = deadlines
        self._tasks = tasks
        self._lists = KeptAnswers()
        self._details = KeptAnswers()
        self._rows: OrderedDict[str, tuple[TaskRow, msgspec.Raw]] = OrderedDict()

    def kept_list(self, request: CallerRequest) -> KeptResponse | None:
        """The answer to this very query of somebody who sees the same."""
        answer = self._lists.find(_asked(request), self._fleet.tasks_version)
        return KeptResponse(answer) if answer else None

    def listed(self, request: CallerRequest, view: TaskList) -> KeptResponse:
        """The answer to a query, which memory gave just now; `view.tasks` is of `summaries`."""
        answer = Answer(msgspec.json.encode(view))
        if len(request.scope["query_string"]) <= QUERY_BYTES:
            self._lists.keep(_asked(request), self._fleet.tasks_version, answer)
        return KeptResponse(answer)

    def summaries(self, rows: list[TaskRow]) -> list[TaskSummary]:
        """Rows of a list, encoded already."""
        return cast(list[TaskSummary], [self._summary(row) for row in rows])

    async def kept_task(self, task_id: str, tenant: str | None) -> KeptResponse | None:
        """A task that is kept, is what the store has, and may be seen by the tenant's users."""
        row = self._fleet.row(task_id)
        if row is None or not sees(tenant, row.tenant):
            return None
        answer = self._details.find(task_id, self._made_of(row))
        if answer is None or not await self._tasks.is_current(row):
            return None
        return KeptResponse(answer)

    async def task(self, task_id: str, tenant: str | None) -> KeptResponse:
        """A task as the store has it; raises as `Tasks.read`."""
        stored = await self._tasks.read(task_id, tenant)
        row = self._fleet.row(task_id)
        known = row is not None and (row.revision, row.past) == (stored.revision, stored.past)
        shown = row if row is not None and known else row_of(stored)
        made_of = self._made_of(shown)
        _, retry, until, _ = made_of
        stored = msgspec.structs.replace(stored, task=so_far(self._fleet, stored.task))
        view = full(stored, retry, waits_until=until, row=shown)
        etag = b"etag", b'"%d"' % stored.revision
        answer = Answer(msgspec.json.encode(view), (etag,))
        if known:
            self._details.keep(task_id, made_of, answer)
        return KeptResponse(answer)

    def _made_of(self, row: TaskRow) -> tuple[TaskRow, TaskRow | None, datetime | None, int]:
        """The task's row, that of its retry, until when it waits, the revision of its evidence."""
        seen = self._fleet.stored(keys.evidence(row.idc, row.sn))
        until = self._deadlines.waits_until(row)
        return row, self._retry(row.task_id), until, seen.mod_revision if seen else 0

    def _retry(self, task_id: str) -> TaskRow | None:
        retry = self._fleet.retry(task_id)
        return self._fleet.row(retry) if retry else None

    def _summary(self, row: TaskRow) -> msgspec.Raw:
        kept = self._rows.get(row.task_id)
        if kept is not None and kept[0] is row:
            return kept[1]
        made = msgspec.Raw(msgspec.json.encode(summary(row)))
        self._rows[row.task_id] = row, made
        if len(self._rows) > ROWS:
            self._rows.popitem(last=False)
        return made


async def find_list(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """The kept list, for whom the door let in; the checks of a query that is kept were passed."""
    answers: TaskAnswers = request.app.state[STATE]
    return answers.kept_list(request) or await check_request(request)


async def find_task(request: Request[Any, Any, Any]) -> Response[Any] | None:
    """The task, for whom the door let in; without a query there is nothing to check."""
    if request.scope["query_string"]:
        return await check_request(request)
    answers: TaskAnswers = request.app.state[STATE]
    task_id, tenant = request.path_params["task_id"], request.user.tenant
    return await answers.kept_task(task_id, tenant) or await answers.task(task_id, tenant)


def _asked(request: CallerRequest) -> tuple[str | None, str, bytes]:
    scope = request.scope
    return request.user.tenant, scope["path"], scope["query_string"]
