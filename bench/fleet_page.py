"""The report of a large run of a simulated fleet, as a page of the documents with its pictures."""

from pathlib import Path

from lpmos.lab.fleet.report import plots, verdict
from lpmos.lab.fleet.run import FleetResult

NAME = "fleet-run"


def write(result: FleetResult, directory: Path) -> Path:
    """Write the page, and its pictures in a folder beside it; the page's path."""
    pictures = directory / NAME
    pictures.mkdir(parents=True, exist_ok=True)
    shown = plots(result)
    for number, svg in enumerate(shown.values(), start=1):
        (pictures / f"{number}.svg").write_text(f"{svg}\n")
    page = directory / f"{NAME}.md"
    page.write_text(text(result, tuple(shown)))
    return page


def text(result: FleetResult, titles: tuple[str, ...]) -> str:
    """The page, with a picture for each title."""
    spec = result.spec
    lines = [
        f"# A run of {spec.machines:,} simulated machines",
        "",
        "Written by `make bench BENCH=fleet WRITE=1`, on the machine of the [figures](figures.md)."
        " What is simulated, and what goes wrong on purpose: [fleets](../how-to/fleet.md).",
        "",
        f"By hand: `lpmos lab fleet --machines {spec.machines} --regions {spec.regions}"
        f" --seed {spec.seed} --boot-s {spec.boot_s:.0f}`.",
        "",
        *(f"- {line}" for line in verdict(result).splitlines()),
    ]
    for number, title in enumerate(titles, start=1):
        lines += ["", f"## {title}", "", f"![{title}]({NAME}/{number}.svg)"]
    lines += [
        "",
        "| call | count | p50 ms | p95 ms | p99 ms | worst ms |",
        "|---|---|---|---|---|---|",
    ]
    for each in result.latencies:
        figures = (each.count, each.p50_ms, each.p95_ms, each.p99_ms, each.worst_ms)
        lines.append(f"| {each.call} | {' | '.join(f'{figure:,}' for figure in figures)} |")
    lines += [
        "",
        "## What it took",
        "",
        "| program | CPU s | CPU % | most MB |",
        "|---|---|---|---|",
    ]
    for part in result.usage:
        share = 100 * part.cpu_s / result.took_s
        lines.append(f"| {part.part} | {part.cpu_s:.1f} | {share:.0f} | {part.peak_mb:.0f} |")
    return "\n".join(lines) + "\n"
