"""How the building of one image is shown: a bar in a terminal, a line for each step elsewhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from lpmos.images.progress import Progress as BuildProgress

MESSAGE_CHARACTERS: Final = 60


@contextmanager
def build_display(console: Console, title: str) -> Iterator[BuildProgress]:
    """The callback for a build of what `title` names; the display ends with the context."""
    if not console.is_terminal:
        yield _lines(console, title)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[message]}[/]"),
    )
    with Progress(*columns, console=console) as bars:
        row = bars.add_task(title, total=1.0, message="")

        def report(step: str, fraction: float, message: str) -> None:
            text = escape(f"{step}: {message}"[:MESSAGE_CHARACTERS])
            bars.update(row, completed=fraction, message=text)

        yield report


def _lines(console: Console, title: str) -> BuildProgress:
    last = ""

    def report(step: str, fraction: float, message: str) -> None:
        nonlocal last
        if step != last:
            last = step
            text = f"{title}  {fraction:4.0%}  {step}: {message}"
            console.print(text, markup=False, highlight=False, soft_wrap=True)

    return report
