"""`lpmos task watch`: tasks live in the terminal, or line by line where there is none."""

import argparse
import json
import time
from collections.abc import Iterable
from contextlib import ExitStack
from typing import Protocol

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lpmos.cli.client import Client, Document
from lpmos.cli.connect import connect
from lpmos.cli.display import Display, shown, utc_now
from lpmos.cli.failures import Refused, Unfinished
from lpmos.cli.feed import Feed, Lost, Resync
from lpmos.cli.task_board import FINISHED, Board, Change, Row
from lpmos.cli.task_names import task_id
from lpmos.cli.words import size, span
from lpmos.model.lifecycle import Status

TICK_S = 1.0
REDRAWN_EVERY_S = 0.2
LINE_EVERY_PERCENT = 10.0
BAR = 24
UNDER_WAY = ",".join(status.value for status in Status if status.value not in FINISHED)
KINDS = ("status", "progress", "hardware", "removed")


class Show(Protocol):
    """How what happens is shown."""

    def changed(self, row: Row, change: Change) -> None:
        """A task is further than it was."""

    def redraw(self, note: str) -> None:
        """Some time has gone by, or there is something to say of the connection."""


def run(chosen: argparse.Namespace) -> None:
    """Watch until every named task has ended.

    Raises:
        Unfinished: one of them has not been completed.
    """
    display = Display(chosen)
    with connect(chosen) as client, ExitStack() as stack:
        board = Board(task_id(client, name) for name in chosen.tasks)
        show: Show
        if display.people and display.console.is_terminal:
            show = stack.enter_context(Bars(display, board))
        else:
            show = Lines(display, board)
        watch(client, board, show, idc=chosen.idc)
    bad = [board.rows[name] for name in board.named if board.rows[name].status != "completed"]
    if bad:
        raise Unfinished(
            "; ".join(f"{row.sn} {row.status}: {row.error}".rstrip(": ") for row in bad)
        )


def watch(client: Client, board: Board, show: Show, *, idc: str | None = None) -> None:
    """Keep the board up to date until all that it names have ended."""
    wanted: Document = {"types": KINDS}
    if board.named:
        wanted["task_id"] = board.named
    if idc:
        wanted["idc"] = idc
    for event in Feed(client, wanted).events(TICK_S):
        note = ""
        if isinstance(event, Resync):
            _read(board, show, _present(client, board, idc))
        elif isinstance(event, Lost):
            note = f"connecting again: {event.reason}"
        if isinstance(event, dict) and "task_id" in event:
            _hear(client, board, show, event)
        show.redraw(note)
        if board.ended():
            return


def _present(client: Client, board: Board, idc: str | None) -> Iterable[Document]:
    """The named tasks in full; else all that are under way."""
    if board.named:
        return [client.get(f"tasks/{name}") for name in board.named]
    found: list[Document] = client.pages("tasks", "tasks", status=UNDER_WAY, idc=idc)["tasks"]
    return found


def _read(board: Board, show: Show, tasks: Iterable[Document]) -> None:
    for task in tasks:
        for change in board.read(task, time.monotonic()):
            show.changed(board.rows[change.task_id], change)


def _hear(client: Client, board: Board, show: Show, message: Document) -> None:
    """A message; a task that is new on the board, or has failed, is read in full."""
    known = message["task_id"] in board.rows
    if known:
        for change in board.hear(message, time.monotonic()):
            show.changed(board.rows[change.task_id], change)
    if not known or message.get("status") == Status.FAILED.value:
        try:
            _read(board, show, [client.get(f"tasks/{message['task_id']}")])
        except Refused as error:
            if error.status != 404:
                raise


class Lines:
    """One line for each change of status, and for each tenth of an install."""

    def __init__(self, display: Display, board: Board) -> None:
        self._display = display
        self._board = board
        self._percent: dict[str, float] = {}
        self._note = ""

    def changed(self, row: Row, change: Change) -> None:
        """Print it, unless it is a small step."""
        if change.what == "progress" and not self._far_enough(row):
            return
        if self._display.json:
            print(json.dumps(_document(row, change)), flush=True)
        elif self._display.quiet:
            if change.what == "status" and row.finished:
                print(row.task_id, flush=True)
        else:
            self._display.line(f"{utc_now():%H:%M:%SZ} {row.task_id[:8]} {row.sn} {change.text}")

    def redraw(self, note: str) -> None:
        """Say once what there is to say of the connection."""
        if note and note != self._note:
            self._display.note(note)
        self._note = note

    def _far_enough(self, row: Row) -> bool:
        last = self._percent.get(f"{row.task_id} {row.stage}")
        if last is not None and 0 <= row.percentage - last < LINE_EVERY_PERCENT:
            return False
        self._percent[f"{row.task_id} {row.stage}"] = row.percentage
        return True


class Bars:
    """A bar for each task, drawn anew in place."""

    def __init__(self, display: Display, board: Board) -> None:
        self._display = display
        self._board = board
        self._drawn_at = float("-inf")
        self._note = ""
        self._live = Live(console=display.console, auto_refresh=False, transient=False)

    def __enter__(self) -> "Bars":
        self._live.start()
        return self

    def __exit__(self, *reason: object) -> None:
        self._live.update(self.picture(), refresh=True)
        self._live.stop()

    def changed(self, row: Row, change: Change) -> None:
        """The next drawing shows it."""

    def redraw(self, note: str) -> None:
        """Draw, but not more often than an eye can follow."""
        now_s = time.monotonic()
        if now_s - self._drawn_at < REDRAWN_EVERY_S and note == self._note:
            return
        self._drawn_at, self._note = now_s, note
        self._live.update(self.picture(), refresh=True)

    def picture(self) -> RenderableType:
        """The board as far as the terminal has room for it, what moved last on top."""
        now_s = time.monotonic()
        rows = [row for row in self._board.rows.values() if self._board.named or not row.finished]
        rows.sort(key=lambda row: row.heard_at, reverse=True)
        room = max(3, self._display.console.height - 4)
        table = Table.grid(padding=(0, 2, 0, 0))
        for row in rows[:room]:
            table.add_row(*self._cells(row, now_s))
        rest = [self._note] if self._note else []
        rest += [f"… and {len(rows) - room} more"] if len(rows) > room else []
        rest += ["nothing is under way; Ctrl-C ends"] if not rows and not self._note else []
        for text in rest:
            table.add_row(shown(text))
        return table

    def _cells(self, row: Row, now_s: float) -> list[RenderableType]:
        wide = self._display.console.width
        remaining_s = row.remaining_s(now_s)
        moved = f"{size(row.bytes_done)} of {size(row.bytes_total)}" if row.bytes_total else ""
        rate = f"{size(row.bytes_per_second)}/s" if row.bytes_per_second else ""
        left = f"{span(remaining_s)} left" if remaining_s is not None else ""
        cells: list[RenderableType] = [
            Text(row.task_id[:8], style="dim"), shown(row.sn), shown(row.status),
            ProgressBar(total=100, completed=row.percentage, width=BAR if wide >= 90 else 10),
            Text(f"{row.percentage:3.0f} %"),
        ]  # fmt: skip
        if wide >= 80:
            cells.append(shown(row.error if row.finished else row.stage))
        if wide >= 110:
            cells += [Text(moved), Text(rate)]
        if wide >= 100:
            cells.append(Text(left))
        return cells


def _document(row: Row, change: Change) -> Document:
    return {
        "at": utc_now().isoformat(),
        "task_id": row.task_id,
        "idc": row.idc,
        "sn": row.sn,
        "what": change.what,
        "status": row.status,
        "percentage": row.percentage,
        "stage": row.stage,
        "message": row.message,
        "bytes_per_second": row.bytes_per_second,
        "error": row.error or None,
    }
