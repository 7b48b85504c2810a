"""What a command shows: tables for people, one JSON document for programs, ids for pipes.

`--json` prints what the API said, unchanged; `--quiet` one id in a line. A table fits its terminal:
the columns that matter least go first. Where the output is no terminal nothing is cut.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lpmos.cli.client import Document
from lpmos.cli.failures import NoAnswer, NotSignedIn, Unfinished, Usage
from lpmos.cli.words import plain, printable
from lpmos.model.errors import LpmosError

UNLIMITED = 100_000
"""The width of what is no terminal: whoever reads the pipe cuts it."""

STATUS_STYLES = {
    "completed": "green",
    "approved": "cyan",
    "installing": "cyan",
    "pending_approval": "bold yellow",
    "failed": "bold red",
    "rejected": "red",
    "cancelled": "dim",
    "online": "green",
    "offline": "bold red",
}


class Column(NamedTuple):
    """One column of a table: what stands over it, and what it shows of a row.

    Columns with a `drop` over 0 are left out where there is no room, the highest first.
    """

    heading: str
    cell: Callable[[Document], object]
    drop: int = 0
    right: bool = False


class Display:
    """Where a command's result goes, in the form that was asked for."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        self.json = bool(getattr(chosen, "json", False))
        self.quiet = bool(getattr(chosen, "quiet", False))
        self.people = not self.json and not self.quiet
        self._gathered: list[object] | None = None
        self.console = terminal()
        self.notes = Console(stderr=True, highlight=False, markup=False)
        """For what is no result: questions, progress, hints."""

    def listing(
        self,
        document: Document,
        name: str,
        columns: Sequence[Column],
        identity: Callable[[Document], str],
        *,
        nothing: str = "nothing",
    ) -> None:
        """Show a list's document; `identity` is what `--quiet` prints of each entry."""
        rows = document[name]
        if self.json:
            self.document(document)
        elif self.quiet:
            self.ids(identity(row) for row in rows)
        elif not rows:
            self.note(nothing)
        else:
            self.table(rows, columns)
            total = document.get("total", len(rows))
            if total > len(rows):
                self.note(f"{len(rows)} of {total}; --limit {total} shows all")

    def table(self, rows: Iterable[Document], columns: Sequence[Column]) -> None:
        """Rows for a person."""
        self._put(fitted(list(rows), columns, self.console.width))

    def document(self, document: object) -> None:
        """One JSON document; within `each` an entry of it."""
        if self._gathered is None:
            self._write(document)
        else:
            self._gathered.append(document)

    @staticmethod
    def _write(document: object) -> None:
        json.dump(document, sys.stdout, indent=2, ensure_ascii=False)
        sys.stdout.write("\n")

    def ids(self, found: Iterable[str]) -> None:
        """One id in a line."""
        for each in found:
            print(each)

    def result(self, document: Document, identity: str, said: str) -> None:
        """Show what a change answered: itself, its id, or a sentence with what it warns of."""
        if self.json:
            self.document(document)
        elif self.quiet:
            print(identity)
        else:
            self.console.print(Text(plain(said)), soft_wrap=True)
            for each in document.get("warnings") or ():  # an older control plane says none
                self.note(f"warning: {each['field']}: {each['message']}")

    def for_person(self, document: Document, identity: str) -> bool:
        """Whether a person reads, to be shown more; a program has got the document or its id."""
        if not self.people:
            self.result(document, identity, "")
        return self.people

    def each(self, names: Sequence[str], do: Callable[[str], None]) -> None:
        """Do something to each thing that was named; `--json` is then an array of the results.

        Where one is refused the others are done all the same.

        Raises:
            LpmosError: the refusal, where only one was named.
            Unfinished: some of several were refused; each was told.
        """
        self._gathered = []
        refused: list[LpmosError] = []
        try:
            for name in names:
                try:
                    do(name)
                except (NoAnswer, NotSignedIn):
                    raise
                except LpmosError as error:
                    if len(names) == 1:
                        raise
                    refused.append(error)
                    self.note(f"{plain(name)}: {error}")
        finally:
            if self.json and self._gathered:
                self._write(self._gathered)
        if refused:
            raise Unfinished(f"{len(refused)} of {len(names)} were refused")

    def done(self, identity: str, said: str) -> None:
        """Show that a change without an answer was made."""
        self.result({"id": identity, "done": True}, identity, said)

    def fields(self, rows: Iterable[tuple[str, object]]) -> None:
        """Names and values below each other; rows without a value are left out."""
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, value in rows:
            if value not in (None, "", [], {}):
                grid.add_row(name, shown(value))
        self._put(grid)

    def heading(self, text: str) -> None:
        """Above a part of what is shown."""
        self.console.print()
        self.console.print(Text(text, style="bold"))

    def line(self, text: object, style: str = "") -> None:
        """One line of text."""
        self.console.print(Text(printable(str(text)), style=style), soft_wrap=True)

    def _put(self, table: Table) -> None:
        """A table; in a pipe without the blanks that fill its lines."""
        if self.console.is_terminal:
            self.console.print(table)
            return
        with self.console.capture() as captured:
            self.console.print(table)
        for line in captured.get().splitlines():
            print(line.rstrip())

    def note(self, text: str) -> None:
        """A hint beside the result."""
        self.notes.print(Text(printable(text), style="dim"), soft_wrap=True)


def terminal() -> Console:
    """Standard output; as wide as it must be where that is no terminal."""
    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = UNLIMITED
    return console


def shown(value: object) -> Text:
    """A cell: foreign text made harmless, a known word in its colour."""
    if isinstance(value, Text):
        return value
    text = plain("" if value is None else value)
    return Text(text, style=STATUS_STYLES.get(text, ""))


def fitted(rows: Sequence[Document], columns: Sequence[Column], width: int) -> Table:
    """The table with as many of its columns as have room."""
    cells = [[shown(column.cell(row)) for column in columns] for row in rows]
    needs = [
        max([len(column.heading), *(row[at].cell_len for row in cells)])
        for at, column in enumerate(columns)
    ]
    kept = list(range(len(columns)))
    while sum(needs[at] + 2 for at in kept) - 2 > width:
        droppable = [at for at in kept if columns[at].drop]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda at: columns[at].drop))
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for at in kept:
        table.add_column(
            columns[at].heading,
            justify="right" if columns[at].right else "left",
            no_wrap=True,
            overflow="ellipsis",
        )
    for row in cells:
        table.add_row(*(row[at] for at in kept))
    return table


def confirm(chosen: argparse.Namespace, question: str) -> bool:
    """Whether a person agrees; `--yes` agrees beforehand.

    Raises:
        Usage: there is nobody to ask.
    """
    if chosen.yes:
        return True
    if not sys.stdin.isatty():
        raise Usage(f"{question} There is nobody to ask here: add --yes to mean it")
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def utc_now() -> datetime:
    """The time that "ago" counts from."""
    return datetime.now(UTC)


def get(document: Any, *path: str) -> Any:
    """What stands at a path of a document; None where something of it is missing."""
    for name in path:
        if not isinstance(document, dict):
            return None
        document = document.get(name)
    return document
