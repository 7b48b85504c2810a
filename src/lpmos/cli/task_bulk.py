"""`lpmos task bulk`: a file of tasks, sent in parts that can be sent again.

The file is read by the same rules as at the server. Each part goes out under a key that follows
from its content, so that the server makes each of its tasks once, however often it is sent: what a
lost connection or Ctrl-C left open, the same command completes.
"""

import argparse
import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from lpmos.cli.client import Client, Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display
from lpmos.cli.failures import Refused, Unfinished, Usage
from lpmos.cli.options import positive
from lpmos.model.bulk import Row, duplicates, rows_of_csv, rows_of_json
from lpmos.model.errors import FieldProblem, InvalidInput
from lpmos.model.newtask import NewTask
from lpmos.model.newtaskcheck import check_new_task

PART_ROWS = 250
PART_TIMEOUT_S = 120.0
PROBLEMS_SHOWN = 50
GOOD = frozenset({"created", "exists", "would_create"})
PROBLEMS = (
    Column("ROW", lambda row: row["row"], right=True),
    Column("LINE", lambda row: row.get("line") or "", right=True, drop=1),
    Column("SN", lambda row: row.get("sn") or "", drop=2),
    Column("", lambda row: row["status"], drop=3),
    Column("WHY", lambda row: why(row)),
)
WARNINGS = (*PROBLEMS[:-1], Column("WARNING", lambda row: _fields(row.get("warnings") or ())))


class Advance(Protocol):
    """Told how many more rows have been answered."""

    def __call__(self, rows: int) -> None: ...


class Part(NamedTuple):
    """Rows that go out in one call, under one key."""

    rows: Sequence[Row]
    key: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `task bulk`."""
    parser.add_argument("file", type=Path, metavar="FILE", help="CSV, or JSON where named .json")
    parser.add_argument("--dry-run", action="store_true", help="only say what would become of it")
    parser.add_argument(
        "--atomic", action="store_true", help="all rows or none, in one call without parts"
    )
    parser.add_argument(
        "--run",
        dest="run_name",
        default="",
        metavar="NAME",
        help="a new name makes a file that was sent before anew, not again",
    )
    parser.add_argument(
        "--part-rows",
        type=positive,
        default=PART_ROWS,
        metavar="N",
        help="rows in one call (default: %(default)s)",
    )


def run(chosen: argparse.Namespace) -> None:
    """Send the file.

    Raises:
        Unfinished: a row has no task.
        InvalidInput: the file cannot be read as rows at all.
    """
    display = Display(chosen)
    rows = read_rows(chosen.file)
    wrong = wrong_rows(rows)
    results = {row.number: _invalid(row, wrong[row.number]) for row in rows if row.number in wrong}
    good = [row for row in rows if row.number not in wrong]
    if not (chosen.atomic and wrong):
        size = len(good) if chosen.atomic else chosen.part_rows
        with connect(chosen) as client, _bar(display, len(good)) as advance:
            for part in parts(good, size, chosen.run_name, dry_run=chosen.dry_run):
                for result in _send(client, part, chosen):
                    results[result["row"]] = result
                advance(len(part.rows))
    _show(display, chosen, [results[number] for number in sorted(results)])


def read_rows(file: Path) -> list[Row]:
    """The rows of a file.

    Raises:
        Usage: it cannot be read.
        InvalidInput: there are no rows in it, or it is neither CSV nor a JSON array.
    """
    try:
        content = file.read_bytes()
    except OSError as error:
        raise Usage(f"{file} cannot be read: {error.strerror}") from error
    if file.suffix == ".json":
        try:
            return rows_of_json(content)
        except msgspec.DecodeError as error:
            raise Usage(f"{file} is not JSON: {error}") from error
    return rows_of_csv(content)


def wrong_rows(rows: Sequence[Row]) -> dict[int, tuple[FieldProblem, ...]]:
    """Which rows are wrong by themselves or beside each other, and why, by their number.

    The parts of a file are checked by the server one by one; that two rows of different parts name
    the same machine is seen only here.
    """
    wrong: dict[int, tuple[FieldProblem, ...]] = {}
    named: list[dict[str, str]] = []
    for row in rows:
        fields: dict[str, str] = {}
        problems: Sequence[FieldProblem] = row.problems
        if not problems:
            fields, problems = _names(row)
        if problems:
            wrong[row.number] = tuple(problems)
        named.append(fields)
    for index, shared in duplicates(named).items():
        wrong[rows[index].number] = (*wrong.get(rows[index].number, ()), *shared)
    return wrong


def _names(row: Row) -> tuple[dict[str, str], Sequence[FieldProblem]]:
    """What names the machine of a row, or what is wrong with the row."""
    try:
        spec = check_new_task(msgspec.json.decode(row.document, type=NewTask))
    except InvalidInput as error:
        return {}, error.problems
    except msgspec.DecodeError:  # of another shape: the server names every wrong field
        return {}, ()
    return {"sn": spec.sn, "mac": spec.mac}, ()


def parts(rows: Sequence[Row], size: int, name: str, *, dry_run: bool = False) -> Iterator[Part]:
    """The rows in parts of `size`, each with the key that follows from its content and `name`."""
    for start in range(0, len(rows), size):
        of_part = rows[start : start + size]
        digest = hashlib.sha256(name.encode())
        for row in of_part:
            digest.update(b"\0" + row.document)
        yield Part(of_part, None if dry_run else f"bulk-{digest.hexdigest()[:48]}")


def why(row: Document) -> str:
    """Why a row has no task."""
    problem = row.get("problem") or {}
    return _fields(problem.get("errors") or ()) or str(problem.get("detail") or "")


def _fields(problems: Iterable[Document]) -> str:
    return "; ".join(f"{each['field']}: {each['message']}" for each in problems)


def _send(client: Client, part: Part, chosen: argparse.Namespace) -> Iterator[Document]:
    """The outcome of each row of a part, under its number in the file."""
    body = [msgspec.json.decode(row.document) for row in part.rows]
    asked = {"dry_run": "true" if chosen.dry_run else None,
             "atomic": "true" if chosen.atomic else None}  # fmt: skip
    try:
        answer = client.call(
            "POST", "tasks/bulk", body, parameters=asked, idempotency_key=part.key,
            timeout_s=PART_TIMEOUT_S,
        ).document  # fmt: skip
    except Refused as refused:
        if "rows" not in refused.problem:
            raise
        answer = refused.problem
    for result in answer["rows"]:
        row = part.rows[result["row"] - 1]
        yield {**result, "row": row.number, **({"line": row.line} if row.line else {})}


def _invalid(row: Row, problems: Sequence[FieldProblem]) -> Document:
    errors = [{"field": each.field, "message": each.message} for each in problems]
    found: Document = {
        "row": row.number,
        "status": "invalid",
        "problem": {"code": "invalid-input", "detail": "", "errors": errors},
    }
    return {**found, "line": row.line} if row.line else found


def _show(display: Display, chosen: argparse.Namespace, results: Sequence[Document]) -> None:
    counts = Counter(str(each["status"]) for each in results)
    bad = [each for each in results if each["status"] not in GOOD]
    found: dict[str, Any] = {
        "dry_run": chosen.dry_run, "atomic": chosen.atomic, "total": len(results),
        "counts": dict(counts), "rows": list(results),
    }  # fmt: skip
    if display.json:
        display.document(found)
    elif display.quiet:
        display.ids(each["task_id"] for each in results if each["status"] in ("created", "exists"))
    else:
        if bad:
            display.table(bad[:PROBLEMS_SHOWN], PROBLEMS)
        warned = [each for each in results if each.get("warnings")]
        if warned:
            display.table(warned[:PROBLEMS_SHOWN], WARNINGS)
        said = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())
        display.line(f"{len(results)} rows: {said}")
        if counts["exists"]:
            display.note("`exists`: made by this file before; --run NAME makes them anew")
    if bad:
        more = f" (the first {PROBLEMS_SHOWN} are shown)" if len(bad) > PROBLEMS_SHOWN else ""
        raise Unfinished(f"{len(bad)} of {len(results)} rows have no task{more}")


@contextmanager
def _bar(display: Display, total: int) -> Iterator[Advance]:
    """A bar on standard error in a terminal; nothing elsewhere."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=display.notes, disable=not display.notes.is_terminal) as bars:
        row = bars.add_task("rows", total=total)
        yield lambda rows: bars.advance(row, rows)
