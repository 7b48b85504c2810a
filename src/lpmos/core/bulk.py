"""Many tasks in one call: each row for itself, or all or none.

Rows are checked like single tasks, made many to a transaction, and tried one by one where they
conflict. With an idempotency key the id of each row's task follows from the key and the row's
number: a call that is repeated, here or at another control plane, makes what is missing and finds
the rest. "All or none" is checked before anything is made; where a row fails all the same, because
something changed meanwhile, what was made is cancelled again.
"""

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from enum import StrEnum

import msgspec
import structlog

from lpmos.core.clock import Clock
from lpmos.core.creation import BATCH, Creation
from lpmos.core.creation_plan import Created, Possible, Wanted
from lpmos.core.fleet import Fleet
from lpmos.core.newtask import offer_problems, read_new_task
from lpmos.core.secrets.box import SecretBox
from lpmos.core.tasks import Tasks
from lpmos.model.audit import Actor
from lpmos.model.bulk import Row, duplicates
from lpmos.model.errors import Conflict, FieldProblem, InvalidInput, LpmosError, NotFound
from lpmos.model.lifecycle import Status
from lpmos.model.newtask import TaskSpec
from lpmos.model.task import Task
from lpmos.store.api import CasConflict, Store, StoreError, Unavailable

log = structlog.get_logger()

BATCHES_AT_ONCE = 4
CANCELS_AT_ONCE = 8
UNDECIDED = frozenset({Status.PENDING, Status.READY, Status.BOOTING, Status.PENDING_APPROVAL})
ROWS_BETWEEN_PAUSES = 50
"""After how many rows others have their turn: a row takes some 50 microseconds."""


class RowStatus(StrEnum):
    """What became of a row."""

    CREATED = "created"
    EXISTS = "exists"
    WOULD_CREATE = "would_create"
    INVALID = "invalid"
    CONFLICT = "conflict"
    ERROR = "error"
    TAKEN_BACK = "taken_back"


class RowProblem(msgspec.Struct, frozen=True):
    """Why a row has no task, as the problem document of a single call would say it."""

    code: str
    detail: str
    errors: tuple[FieldProblem, ...] = ()


class RowResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row's outcome; `line` is where it begins in a CSV file.

    `warnings` are what its machine, as it last reported itself, speaks against.
    """

    row: int
    line: int | None = None
    status: RowStatus
    idc: str | None = None
    sn: str | None = None
    task_id: str | None = None
    task_status: Status | None = None
    problem: RowProblem | None = None
    warnings: tuple[FieldProblem, ...] = ()


class BulkReport(msgspec.Struct, frozen=True):
    """Every row's outcome, in order; `revision` is the last that was written, 0 where none was."""

    rows: list[RowResult]
    revision: int

    def counts(self) -> dict[str, int]:
        """How many rows came to which status; only those that there are."""
        found = Counter(row.status for row in self.rows)
        return {status.value: found[status] for status in RowStatus if found[status]}


class _Checked(msgspec.Struct, frozen=True):
    """A row and what it asks for; `error` where that cannot be."""

    row: Row
    spec: TaskSpec | None = None
    error: LpmosError | None = None


Outcome = Created | LpmosError | Possible | None
"""What came of a row: its task, why there is none, or that there would be one; None: not yet."""


class Bulk:
    """Creates many tasks."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        tasks: Tasks,
        clock: Clock,
        secrets: SecretBox | None = None,
    ) -> None:
        """`secrets` seals what is secret in a new task."""
        self._creation = Creation(store, fleet, clock, secrets)
        self._tasks = tasks
        self._fleet = fleet

    async def create(
        self,
        rows: Sequence[Row],
        *,
        by: Actor,
        dry_run: bool = False,
        atomic: bool = False,
        idempotency_key: str | None = None,
    ) -> BulkReport:
        """Create a task for each row.

        Args:
            rows: what shall be created.
            by: who asks.
            dry_run: nothing is written; each row says what would become of it.
            atomic: all rows or none.
            idempotency_key: the same actor's second call with it finds what the first made.
        """
        checked = await self._check(rows, by)
        wanted = await self._wanted(checked, by, idempotency_key)
        outcomes: dict[int, Outcome] = {each.row.number: each.error for each in checked}
        if dry_run or atomic:
            outcomes |= await self._each(wanted, lambda batch: self._creation.check_many(batch, by))
            outcomes |= _taken_back_before(outcomes) if atomic else {}
        if dry_run or (atomic and any(isinstance(each, LpmosError) for each in outcomes.values())):
            return await asyncio.to_thread(_report, checked, outcomes)
        made = await self._each(
            wanted, lambda batch: self._creation.create_many(batch, by), stop=atomic
        )
        if atomic and any(isinstance(each, LpmosError) for each in made.values()):
            return await self._take_back(checked, wanted, made, by)
        return await asyncio.to_thread(_report, checked, outcomes | made)

    async def _check(self, rows: Sequence[Row], by: Actor) -> list[_Checked]:
        """Every row by the rules of a single task, and none twice."""
        checked = []
        for number, row in enumerate(rows):
            if number % ROWS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            checked.append(_checked(row, by.tenant, self._fleet))
        wrong = await asyncio.to_thread(_twice, checked)
        return [
            _also_wrong(each, wrong[index], self._fleet) if index in wrong else each
            for index, each in enumerate(checked)
        ]

    async def _wanted(
        self, checked: Sequence[_Checked], by: Actor, idempotency_key: str | None
    ) -> dict[int, Wanted]:
        """The task of every right row by the row's number."""
        wanted = {}
        for index, each in enumerate(checked):
            if index % ROWS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            if each.spec is not None:
                number = each.row.number
                key = idempotency_key and f"{idempotency_key}\0{number}"
                wanted[number] = self._creation.wanted(each.spec, by, idempotency_key=key)
        return wanted

    async def _each(
        self,
        wanted: Mapping[int, Wanted],
        do: Callable[[Sequence[Wanted]], Awaitable[Sequence[Outcome]]],
        *,
        stop: bool = False,
    ) -> dict[int, Outcome]:
        """Do it for all in batches, a few at once.

        After the store failed, or any row where `stop`, no further batch is begun: the rows of
        these say that they were not tried.
        """
        numbers = list(wanted)
        batches = deque(numbers[at : at + BATCH] for at in range(0, len(numbers), BATCH))
        outcomes: dict[int, Outcome] = {}
        failed: list[LpmosError] = []

        async def work() -> None:
            while batches and not failed:
                batch = batches.popleft()
                results = await do([wanted[number] for number in batch])
                outcomes.update(zip(batch, results, strict=True))
                failed.extend(
                    each
                    for each in results
                    if isinstance(each, StoreError) or (stop and isinstance(each, LpmosError))
                )

        async with asyncio.TaskGroup() as group:
            for _ in range(BATCHES_AT_ONCE):
                group.create_task(work())
        for batch in batches:
            outcomes |= dict.fromkeys(batch, _NotTried(f"not tried: {failed[0]}"))
        return outcomes

    async def _take_back(
        self,
        checked: Sequence[_Checked],
        wanted: Mapping[int, Wanted],
        made: Mapping[int, Outcome],
        by: Actor,
    ) -> BulkReport:
        """Cancel what was made, or may have been: a row could not be."""
        undone = [number for number, each in made.items() if _may_be_taken_back(each)]
        limit = asyncio.Semaphore(CANCELS_AT_ONCE)
        cancelled: dict[int, Task] = {}

        async def cancel(number: int) -> None:
            async with limit:
                try:
                    task_id = wanted[number].task.task_id
                    cancelled[number] = await self._tasks.cancel(task_id, by=by)
                except NotFound:
                    return
                except LpmosError as error:
                    log.warning("a row was not taken back", task_id=task_id, reason=str(error))

        async with asyncio.TaskGroup() as group:
            for number in undone:
                group.create_task(cancel(number))
        report = _report(checked, made)
        rows = [_with_cancelled(row, cancelled.get(row.row)) for row in report.rows]
        return BulkReport(rows, report.revision)


class _NotTried(Unavailable):
    """A row was left because the store, or another row of all or none, had failed before."""

    code = "not-tried"


def _checked(row: Row, tenant: str | None, fleet: Fleet) -> _Checked:
    if row.problems:
        return _Checked(row, error=InvalidInput(*row.problems))
    try:
        return _Checked(row, spec=read_new_task(row.document, tenant, fleet))
    except InvalidInput as error:
        return _Checked(row, error=error)
    except msgspec.DecodeError as error:
        return _Checked(row, error=InvalidInput(FieldProblem("row", str(error))))


def _twice(checked: Sequence[_Checked]) -> dict[int, list[FieldProblem]]:
    """By index, what is wrong with rows that name a machine or MAC of another row."""
    named = [{"sn": c.spec.sn, "mac": c.spec.mac} if c.spec else {} for c in checked]
    return duplicates(named)


def _also_wrong(checked: _Checked, twice: Sequence[FieldProblem], fleet: Fleet) -> _Checked:
    """A row of which another has the machine, with what the regions do not offer of it."""
    others = offer_problems(checked.spec, fleet) if checked.spec else []
    return _Checked(checked.row, error=InvalidInput(*twice, *others))


def _may_be_taken_back(outcome: Outcome) -> bool:
    """Whether a row made a task, or may have; one that was decided on since stays."""
    if isinstance(outcome, Created):
        return outcome.task.status in UNDECIDED
    return isinstance(outcome, StoreError) and not isinstance(outcome, _NotTried)


def _taken_back_before(outcomes: Mapping[int, Outcome]) -> dict[int, Outcome]:
    """Rows whose task is there and cancelled: the same call was made before, and taken back."""
    text = "an earlier call with this key was taken back; use a new key"
    return {
        number: Conflict(text)
        for number, each in outcomes.items()
        if isinstance(each, Created) and each.task.status is Status.CANCELLED
    }


def _report(checked: Iterable[_Checked], outcomes: Mapping[int, Outcome]) -> BulkReport:
    rows = [_result(each, outcomes.get(each.row.number)) for each in checked]
    revisions = [each.revision for each in outcomes.values() if isinstance(each, Created)]
    return BulkReport(rows, max(revisions, default=0))


def _result(checked: _Checked, outcome: Outcome) -> RowResult:
    task = outcome.task if isinstance(outcome, Created) else None
    spec = checked.spec
    return RowResult(
        row=checked.row.number,
        line=checked.row.line,
        status=_status(outcome),
        idc=spec.idc if spec else None,
        sn=spec.sn if spec else None,
        task_id=task.task_id if task else None,
        task_status=task.status if task else None,
        problem=_problem(outcome) if isinstance(outcome, LpmosError) else None,
        warnings=outcome.warnings if isinstance(outcome, Created | Possible) else (),
    )


def _status(outcome: Outcome) -> RowStatus:
    if outcome is None or isinstance(outcome, Possible):
        return RowStatus.WOULD_CREATE
    if isinstance(outcome, Created):
        return RowStatus.EXISTS if outcome.replayed else RowStatus.CREATED
    if isinstance(outcome, InvalidInput):
        return RowStatus.INVALID
    conflicts = Conflict | CasConflict | NotFound
    return RowStatus.CONFLICT if isinstance(outcome, conflicts) else RowStatus.ERROR


def _problem(error: LpmosError) -> RowProblem:
    errors = error.problems if isinstance(error, InvalidInput) else ()
    return RowProblem(error.code, str(error), errors)


def _with_cancelled(row: RowResult, task: Task | None) -> RowResult:
    if task is None:
        return row
    return msgspec.structs.replace(
        row, status=RowStatus.TAKEN_BACK, task_id=task.task_id, task_status=task.status
    )
