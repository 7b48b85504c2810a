"""Many tasks in one call (A10): JSON or CSV in, the outcome of every row out.

The status says how it went: 201 all rows have their task, 200 some have (or a dry run), otherwise
none: then it is a problem document, with the rows beside what every problem has.
"""

import asyncio
from typing import Annotated, Any

import msgspec
from litestar import Response, post
from litestar.di import NamedDependency
from litestar.openapi import ResponseSpec
from litestar.params import FromQuery

from lpmos.control.access import CallerRequest, actor, needs
from lpmos.control.http.bodies import BULK_LIMIT_BYTES, TAKES, UnsupportedMediaType, check_depth
from lpmos.control.http.idempotency import REPLAYED, REPLAYS, IdempotencyKey
from lpmos.control.http.observation import request_id
from lpmos.control.http.problems import PROBLEMS
from lpmos.control.http.visible import until_shown
from lpmos.core.bulk import Bulk, BulkReport, RowResult, RowStatus
from lpmos.core.fleet import Fleet
from lpmos.core.problems import MEDIA_TYPE, RETRY_AFTER_S, problem
from lpmos.model.access import Permission
from lpmos.model.bulk import ROWS_LIMIT, Row, rows_of_csv, rows_of_json
from lpmos.model.newtask import NewTask

JSON, CSV = "application/json", "text/csv"
DONE = frozenset({RowStatus.CREATED, RowStatus.EXISTS})


class BulkResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every row, in order; `counts` is by status, of those that there are."""

    dry_run: bool
    atomic: bool
    total: int
    counts: dict[str, int]
    rows: list[RowResult]


SOME = ResponseSpec(
    BulkResult, description="Some rows have their task, or a dry run.", generate_examples=False
)


def _takes() -> dict[str, Any]:
    columns = (
        f"A header row and at most {ROWS_LIMIT} rows; the columns are the fields of a new task,"
        " `tags.KEY` is one for each key."
    )
    return {
        JSON: Annotated[list[NewTask], msgspec.Meta(min_length=1, max_length=ROWS_LIMIT)],
        CSV: Annotated[str, msgspec.Meta(description=columns)],
    }


@post(
    "/tasks/bulk",
    responses={**PROBLEMS, 200: SOME},
    response_headers=[REPLAYS],
    opt=needs(Permission.TASK_CREATE, **{TAKES: _takes}),
    request_max_body_size=BULK_LIMIT_BYTES,
)
async def create_tasks(  # noqa: PLR0917 - the framework hands them over by name
    request: CallerRequest,
    bulk: NamedDependency[Bulk],
    fleet: NamedDependency[Fleet],
    dry_run: FromQuery[bool] = False,
    atomic: FromQuery[bool] = False,
    idempotency_key: IdempotencyKey = None,
) -> Response[BulkResult]:
    """Create a task for each row of a JSON array or a CSV file.

    With `dry_run` nothing is written; with `atomic` all rows get a task or none. A wrong row is
    told of in the result; where no row has a task, the result stands in a problem document.
    """
    rows = await _rows(request)
    report = await bulk.create(
        rows, by=actor(request), dry_run=dry_run, atomic=atomic, idempotency_key=idempotency_key
    )
    await until_shown(fleet, report.revision)
    result = BulkResult(
        dry_run=dry_run,
        atomic=atomic,
        total=len(report.rows),
        counts=report.counts(),
        rows=report.rows,
    )
    done = sum(row.status in DONE for row in report.rows)
    if not dry_run and (done == 0 or (atomic and done < len(report.rows))):
        return _none(report, result, request_id(request.scope))
    replayed = all(row.status is RowStatus.EXISTS for row in report.rows)
    return Response(
        result,
        status_code=201 if done == len(report.rows) else 200,
        headers=REPLAYED if replayed else {},
    )


async def _rows(request: CallerRequest) -> list[Row]:
    """The rows, parsed in a thread: a large file would keep others waiting."""
    media_type = request.content_type[0]
    if media_type not in (JSON, CSV):
        raise UnsupportedMediaType(
            f"send the rows as {JSON} or {CSV}, not {media_type or 'nothing'!r}"
        )
    body = await request.body()
    if media_type == CSV:
        return await asyncio.to_thread(rows_of_csv, body)
    return await asyncio.to_thread(_json, body)


def _json(body: bytes) -> list[Row]:
    check_depth(body)
    return rows_of_json(body)


def _none(report: BulkReport, result: BulkResult, instance: str) -> Response[Any]:
    """No row has a task by this call: a problem, of the gravest kind that any row has."""
    statuses = {row.status for row in report.rows}
    headers: dict[str, str] = {}
    if RowStatus.INVALID in statuses:
        status, code = 422, "invalid-input"
    elif RowStatus.CONFLICT in statuses or RowStatus.ERROR not in statuses:
        status, code = 409, "conflict"
    else:
        status, code = 503, "store-unavailable"
        headers["Retry-After"] = str(RETRY_AFTER_S)
    counts = ", ".join(f"{count} {name}" for name, count in result.counts.items())
    answer = problem(
        status,
        code,
        f"no task was created: of {result.total} rows {counts}",
        headers=headers,
        instance=instance,
    )
    document = {**answer.document, **msgspec.to_builtins(result)}
    return Response(document, status_code=status, headers=answer.headers, media_type=MEDIA_TYPE)


BULK_CALLS = (create_tasks,)
