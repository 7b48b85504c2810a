"""How the demo looks: bars in a terminal, plain lines elsewhere, and the table at the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column, Table
from rich.text import Text

from lpmos.lab.journey import Display, JourneyProgress

MB: Final = 1_000_000
PHASES: Final = (
    ("netboot to report", "power on", "pending_approval"),
    ("approval", "pending_approval", "approved"),
    ("install", "installing", "restarting"),
    ("restart to login", "restarting", "login"),
    ("to its word", "restarting", "completed"),
    ("total", "power on", "up"),
)
"""The columns of the summary: a name, and the two moments between which it lies."""
MESSAGE_CHARACTERS: Final = 60
WIDE_COLUMNS: Final = 110
"""From this width of the terminal on there is room for long bars."""


class _MessageColumn(ProgressColumn):
    """The column that gives way where the terminal is narrow: cut to one line, never wrapped."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["message"], style="dim", no_wrap=True, overflow="ellipsis")


class BarDisplay:
    """One live bar for each server."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._rows: dict[str, TaskID] = {}

    def show(self, progress: JourneyProgress) -> None:
        """Redraw a server's bar."""
        if progress.name not in self._rows:
            label = f"{escape(progress.name)} [dim]{progress.kind}[/]"
            row = self._bars.add_task(label, total=100, stage="", rate="", message="")
            self._rows[progress.name] = row
        row = self._rows[progress.name]
        colour = "red" if progress.failed else "green" if progress.up else "cyan"
        self._bars.update(
            row,
            completed=progress.percent,
            stage=f"[{colour}]{progress.stage}[/]",
            rate=_rate(progress),
            message=progress.message[:MESSAGE_CHARACTERS],
        )
        if progress.failed or progress.up:
            self._bars.stop_task(row)


class LineDisplay:
    """A line at each change of stage, and at each quarter of the install."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: dict[str, tuple[str, int]] = {}

    def show(self, progress: JourneyProgress) -> None:
        """Print a line where there is something new to say."""
        mark = (progress.stage, int(progress.percent // 25))
        if self._last.get(progress.name) == mark:
            return
        self._last[progress.name] = mark
        percent = f"{progress.percent:3.0f} %"
        words = (progress.name, progress.kind, percent, _rate(progress), progress.stage)
        line = "  ".join(word for word in words if word)
        text = f"{line}: {progress.message}"
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def journeys_display(console: Console) -> Iterator[Display]:
    """The display that suits the output."""
    if not console.is_terminal:
        yield LineDisplay(console)
        return
    columns = (
        TextColumn("{task.description}"),
        TextColumn("{task.fields[stage]}"),
        BarColumn(bar_width=30 if console.width >= WIDE_COLUMNS else 10),
        TextColumn("{task.percentage:>3.0f} %"),
        TextColumn("{task.fields[rate]:>9}"),
        TimeElapsedColumn(Column(no_wrap=True)),
        _MessageColumn(Column(no_wrap=False)),
    )
    with Progress(*columns, console=console, refresh_per_second=5) as bars:
        yield BarDisplay(bars)


def summary_table(servers: Sequence[JourneyProgress]) -> Table:
    """How long each server took for each phase, in seconds."""
    table = Table("server", "", *(name for name, _, _ in PHASES), "outcome", box=None)
    for server in servers:
        times = (server.seconds(begin, end) for _, begin, end in PHASES)
        cells = ("-" if time is None else f"{time:.1f} s" for time in times)
        outcome = "[green]up[/]" if server.up else f"[red]{escape(server.stage)}[/]"
        table.add_row(server.name, server.kind, *cells, outcome)
    return table


def _rate(progress: JourneyProgress) -> str:
    rate = progress.bytes_per_second
    return f"{rate / MB:.1f} MB/s" if rate else ""
