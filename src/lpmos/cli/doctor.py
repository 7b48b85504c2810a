"""`lpmos doctor`: look for what is wrong, and say what to do about each."""

import argparse
from collections.abc import Iterator

from rich.text import Text

from lpmos.cli.display import Display
from lpmos.cli.doctor_host import look_at_host
from lpmos.cli.doctor_server import look_at_server
from lpmos.cli.findings import Finding, Level
from lpmos.cli.options import declared
from lpmos.cli.running_parts import running_parts
from lpmos.cli.words import plain

STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.WRONG: "bold red"}
CALLS = (
    "GET /health", "GET /session", "GET /regions", "GET /images", "GET /unmatched-reports",
)  # fmt: skip


def define(parser: argparse.ArgumentParser) -> None:
    """The arguments of `doctor`."""
    declared(parser, _run, CALLS)
    parser.description = (
        "Look for what is wrong and say what to do: the control plane as it is seen from here, and,"
        " where this machine runs a part of LPMOS, that part. Exit code 1 when something is wrong."
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--local", action="store_true", help="only this machine")
    where.add_argument("--remote", action="store_true", help="only the control plane")


def _run(chosen: argparse.Namespace) -> int:
    display = Display(chosen)
    found: list[Finding] = []
    for finding in _look(chosen):
        found.append(finding)
        if display.people:
            _show(display, finding)
    worst = [each for each in found if each.level is Level.WRONG]
    if display.json:
        display.document({"findings": [each._asdict() for each in found]})
    elif display.quiet:
        display.ids(each.subject for each in worst)
    return int(bool(worst))


def _look(chosen: argparse.Namespace) -> Iterator[Finding]:
    if not chosen.local:
        yield from look_at_server(chosen)
    if chosen.local or (not chosen.remote and any(running_parts())):
        yield from look_at_host()


def _show(display: Display, finding: Finding) -> None:
    line = Text.assemble(
        (f"{finding.level.value:<9}", STYLES[finding.level]),
        (f"{plain(finding.subject):<14} ", "bold"),
        plain(finding.found),
    )
    display.console.print(line, soft_wrap=True)
    if finding.do:
        display.console.print(Text(f"{'':<24}→ {plain(finding.do)}"), soft_wrap=True)
