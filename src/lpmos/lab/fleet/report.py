"""How a run of a fleet is shown: bars while it runs, a table at its end, and a page with plots.

The page is one HTML file that fetches nothing: the plots are SVG in it.
"""

import html
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from lpmos.lab.fleet.run import FleetResult, Sample, Show

SHOWN: Final = (
    ("booting", ("ready", "booting"), "cyan"),
    ("waiting for approval", ("pending_approval", "approved"), "yellow"),
    ("installing", ("installing",), "blue"),
    ("completed", ("completed",), "green"),
    ("failed", ("failed", "rejected", "cancelled"), "red"),
)
"""The bars: a name, the statuses that it counts, and its colour."""
WIDTH: Final = 760
HEIGHT: Final = 220
MARGIN: Final = 46
LINES_EVERY_S: Final = 10


class Line(NamedTuple):
    """One line of a plot: what it is, and its points."""

    name: str
    colour: str
    points: Sequence[tuple[float, float]]


@contextmanager
def watching(console: Console, machines: int) -> Iterator[Show]:
    """What shows each sample: live bars in a terminal, else a line now and then."""
    if not console.is_terminal:
        yield _lines(console)
        return
    columns = (
        TextColumn("{task.description}", justify="right"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        rows = [bars.add_task(f"[{colour}]{name}", total=machines) for name, _, colour in SHOWN]
        calls = bars.add_task("calls a second", total=None)

        def show(sample: Sample) -> None:
            for row, (_, statuses, _) in zip(rows, SHOWN, strict=True):
                bars.update(row, completed=_count(sample, statuses))
            bars.update(calls, completed=sample.calls)

        yield show


def tables(result: FleetResult) -> Iterator[Table]:
    """The result for a person."""
    calls = Table("call", "count", "p50 ms", "p95 ms", "p99 ms", "worst ms", title="agents' calls")
    for each in result.latencies:
        numbers = (each.count, each.p50_ms, each.p95_ms, each.p99_ms, each.worst_ms)
        calls.add_row(each.call, *(f"{number:,}" for number in numbers))
    yield calls
    usage = Table("program", "CPU s", "CPU %", "most MB", title="what it took")
    for part in result.usage:
        share = 100 * part.cpu_s / result.took_s
        usage.add_row(part.part, f"{part.cpu_s:.1f}", f"{share:.0f}", f"{part.peak_mb:.0f}")
    yield usage


def verdict(result: FleetResult) -> str:
    """The run in one paragraph; each invariant that does not hold on a line of its own."""
    ended = ", ".join(f"{count} {status}" for status, count in sorted(result.ended.items()))
    faults = ", ".join(f"{count} {name}" for name, count in sorted(result.faults.items()))
    lines = [
        f"{result.spec.machines} machines in {result.took_s:.0f} s"
        f" ({60 * result.spec.machines / result.took_s:.0f} a minute): {ended}",
        f"faults: {faults or 'none'} (seed {result.spec.seed})",
    ]
    lines += [
        f"BROKEN: {each.invariant}: {each.count} machines: {'; '.join(each.examples)}"
        for each in result.breaches
    ]
    if not result.breaches:
        lines.append(
            "every task has ended, none was lost, nothing was installed twice, and only what had to"
            " fail failed"
        )
    return "\n".join(lines)


def write(result: FleetResult, directory: Path) -> tuple[Path, Path]:
    """Write `report.json` and `report.html`; their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    document, page = directory / "report.json", directory / "report.html"
    document.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    page.write_text(render(result))
    return document, page


def plots(result: FleetResult) -> Mapping[str, str]:
    """The run over its seconds, as SVG, by what each picture shows."""
    samples = result.samples
    statuses = [
        Line(name, colour, [(each.at_s, _count(each, of)) for each in samples])
        for name, of, colour in SHOWN
    ]
    calls = [Line("answered calls a second", "teal", [(s.at_s, s.calls) for s in samples])]
    took = [
        Line("p50 ms", "teal", [(s.at_s, s.p50_ms) for s in samples]),
        Line("p99 ms", "purple", [(s.at_s, s.p99_ms) for s in samples]),
    ]
    return {
        "Tasks by status": plot(statuses),
        "Calls of agents": plot(calls),
        "How long their answers took, second by second": plot(took),
    }


def render(result: FleetResult) -> str:
    """The page with the plots."""
    pictures = "".join(f"<h2>{title}</h2>{svg}" for title, svg in plots(result).items())
    latency = "".join(
        f"<tr><td>{html.escape(each.call)}</td><td>{each.count:,}</td><td>{each.p50_ms}</td>"
        f"<td>{each.p95_ms}</td><td>{each.p99_ms}</td><td>{each.worst_ms}</td></tr>"
        for each in result.latencies
    )
    usage = "".join(
        f"<tr><td>{html.escape(each.part)}</td><td>{each.cpu_s}</td><td>{each.peak_mb}</td></tr>"
        for each in result.usage
    )
    return f"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>A simulated fleet</title>
<style>body{{font:15px/1.5 system-ui;max-width:50rem;margin:2rem auto;padding:0 1rem}}
td,th{{padding:.2rem .8rem;text-align:right}}td:first-child,th:first-child{{text-align:left}}
svg{{width:100%;height:auto}}</style>
<h1>A simulated fleet</h1><p>{html.escape(verdict(result)).replace(chr(10), "<br>")}</p>
{pictures}
<table><tr><th>call</th><th>count</th><th>p50 ms</th><th>p95 ms</th><th>p99 ms</th><th>worst ms</th>
</tr>{latency}</table>
<h2>What it took</h2><table><tr><th>program</th><th>CPU s</th><th>most MB</th></tr>{usage}</table>
</html>
"""


def plot(lines: Sequence[Line]) -> str:
    """Lines over seconds as SVG, with a key and a grid of four."""
    points = [point for line in lines for point in line.points] or [(0.0, 0.0)]
    right = max(max(x for x, _ in points), 1.0)
    top = max(max(y for _, y in points), 1.0)
    x_of = _scale(right, MARGIN, WIDTH - 10)
    y_of = _scale(top, HEIGHT - 24, 24)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img"'
        ' font-family="system-ui, sans-serif" font-size="11" fill="#777">'
    ]
    for step in range(5):
        x, y = x_of(right * step / 4), y_of(top * step / 4)
        drawn.append(
            f'<path d="M{MARGIN} {y}H{WIDTH - 10}" stroke="#aaa" stroke-opacity=".5"/>'
            f'<text x="{MARGIN - 6}" y="{y + 4}" text-anchor="end">{top * step / 4:,.0f}</text>'
            f'<text x="{x}" y="{HEIGHT - 6}" text-anchor="middle">{right * step / 4:.0f} s</text>'
        )
    at = MARGIN
    for line in lines:
        path = " ".join(f"{x_of(x)},{y_of(y)}" for x, y in line.points)
        drawn.append(
            f'<polyline points="{path}" fill="none" stroke="{line.colour}" stroke-width="2"/>'
            f'<text x="{at}" y="14" style="fill:{line.colour}">{html.escape(line.name)}</text>'
        )
        at += 9 * len(line.name) + 12
    return "".join([*drawn, "</svg>"])


def _scale(most: float, first: float, last: float) -> Callable[[float], float]:
    return lambda value: round(first + (last - first) * value / most, 1)


def _count(sample: Sample, statuses: Sequence[str]) -> int:
    return sum(sample.counts.get(status, 0) for status in statuses)


def _lines(console: Console) -> Show:
    """A line for each so many seconds."""
    said_at = float("-inf")

    def show(sample: Sample) -> None:
        nonlocal said_at
        if sample.at_s - said_at < LINES_EVERY_S:
            return
        said_at = sample.at_s
        counts = ", ".join(f"{_count(sample, of)} {name}" for name, of, _ in SHOWN)
        console.print(f"{sample.at_s:6.0f} s  {counts}; {sample.calls} calls/s", highlight=False)

    return show
