"""The table of faults at the end of a run: what each fault did at each step of the lifecycle.

Tests record `cell` (store, part, step, outcome) and `fault` (what, outcome) as properties, which
come here from whichever process tested; a test that failed shows as such whatever it recorded.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

STEPS = (
    "created",
    "ready",
    "booting",
    "pending_approval",
    "approved",
    "claimed",
    "partitioning",
    "downloading",
    "installing",
    "configuring",
    "restarting",
    "finished",
)
FILE = Path("build/faults.md")
_MARK = {"installed once": "1", "failed: restarted": "F"}
_LEGEND = (
    "1: installed exactly once, nothing lost. F: failed as restarted in the middle, not installed"
    " again without a new approval. WRONG: a rule did not hold."
)

Properties = tuple[bool, Mapping[str, Any]]
"""Whether the test passed, and what it recorded."""


def table(results: Iterable[Properties]) -> str:
    """The table and the list of the other faults as Markdown; empty where none was tested."""
    rows: dict[tuple[str, str], dict[str, str]] = {}
    others: list[str] = []
    for passed, properties in results:
        if "cell" in properties:
            store, part, step, outcome = properties["cell"]
            mark = _MARK.get(outcome, outcome) if passed else "WRONG"
            rows.setdefault((store, part), {})[step] = mark
        if "fault" in properties:
            what, outcome = properties["fault"]
            others.append(f"| {what} | {outcome if passed else 'WRONG'} |")
    lines: list[str] = []
    if rows:
        lines += [_row("store", "what broke", *STEPS), _row(*["---"] * (len(STEPS) + 2))]
        lines += [
            _row(*names, *(row.get(step, "") for step in STEPS))
            for names, row in sorted(rows.items())
        ]
        cells = [mark for row in rows.values() for mark in row.values()]
        lines += ["", f"{len(cells)} cells, {cells.count('WRONG')} wrong. {_LEGEND}", ""]
    if others:
        lines += [_row("fault", "what came of it"), _row("---", "---"), *sorted(others), ""]
    return "\n".join(lines)


def results_of(stats: Mapping[str, Iterable[Any]]) -> list[Properties]:
    """What the tests recorded, from a terminal reporter's statistics."""
    return [
        (outcome == "passed", dict(report.user_properties))
        for outcome in ("passed", "failed")
        for report in stats.get(outcome, [])
        if getattr(report, "when", "") == "call"
    ]


def write(text: str, file: Path = FILE) -> None:
    """Keep the table of this run in a file that git does not see."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
