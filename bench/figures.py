"""The committed table of figures: written from rows, read back, and compared with a new run.

The page is docs/reference/figures.md. What got worse is said by the ratio, where there is one: the
peer was measured on the same machine in the same run, so ratios of two machines can be compared.
A figure without a peer is compared only where both runs had the same processor.
"""

import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path

from bench.report import Row, cells, number

WORSE_BY = 0.2
"""What is worse by less is the machine's own unrest."""

PAGE = Path(__file__).resolve().parents[1] / "docs" / "reference" / "figures.md"
PACKAGES = (
    "dnsmasq-base",
    "etcd-server",
    "kea-dhcp4-server",
    "nginx-light",
    "wrk",
    "chromium",
    "qemu-system-x86",
)
"""Debian packages that are measured, measure, or are peers."""

_ROW = re.compile(r"\| (?P<bench>[a-z_]+) \| (?P<rest>.+) \|")
_PROCESSOR = re.compile(r"^\| Processor \| (.+) \|$", re.MULTILINE)
_VALUE = re.compile(r"(-?[\d,]*\.?\d+(?:e[+-]?\d+)?) ?(.*)")


def machine() -> dict[str, str]:
    """What the figures were taken on, without its name."""
    found = {
        "Processor": _processor(),
        "Cores": str(len(os.sched_getaffinity(0))),
        "Memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 1e9:.0f} GB",
        "Kernel": os.uname().release.partition("-")[0],
        "Python": platform.python_version(),
    }
    return found | _packages()


def page(rows: Mapping[str, Sequence[Row]], on: Mapping[str, str], day: date) -> str:
    """The committed page."""
    lines = [
        "# Figures",
        "",
        f"Written by `make bench WRITE=1` on {day}; how they are taken and read:"
        " [Performance](../explanation/performance.md).",
        "",
        "| machine | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in on.items()),
        "",
        "A ratio is that of the figure to its peer's, measured in the same run, or to its limit;"
        " a limit without a unit is one of the ratio.",
        "",
        "| benchmark | figure | value | against | ratio | limit | |",
        "|---|---|---|---|---|---|---|",
    ]
    for bench, found in rows.items():
        lines += [f"| {bench} | {' | '.join(cells(row))} |" for row in found]
    return "\n".join(lines) + "\n"


def rows_of(text: str) -> dict[str, list[Row]]:
    """The rows of a committed page by benchmark; lines that are none are left out."""
    found: dict[str, list[Row]] = {}
    for line in text.splitlines():
        if (match := _ROW.fullmatch(line)) and (row := _row(match["rest"])):
            found.setdefault(match["bench"], []).append(row)
    return found


def processor_of(text: str) -> str:
    """The processor that a committed page was measured on; empty where it does not say."""
    found = _PROCESSOR.search(text)
    return found[1] if found else ""


def worse(rows: Mapping[str, Sequence[Row]], committed: str, processor: str) -> Iterator[str]:
    """A line for each figure that got worse by more than `WORSE_BY`, or is there no more."""
    before, alike = rows_of(committed), processor_of(committed) == processor
    for bench, found in rows.items():
        now = {row.name: row for row in found}
        for known in before.get(bench, []):
            if known.name not in now:
                yield f"{bench}: {known.name}: was measured before, and is not now"
            elif line := _worse(now[known.name], known, alike=alike):
                yield f"{bench}: {known.name}: {line}"


def _worse(now: Row, before: Row, *, alike: bool) -> str:
    """What got worse in words, or nothing."""
    if now.peer and now.ratio is not None and before.ratio is not None:
        what, old, new = "ratio ", before.ratio, now.ratio
    elif alike and now.bound:
        what, old, new = "", before.value, now.value
    else:
        return ""
    if old <= 0 or new <= 0:
        return ""
    change = new / old if now.less_is_better else old / new
    return f"{what}{number(old)} before, {number(new)} now" if change > 1 + WORSE_BY else ""


def _row(cells_of_line: str) -> Row | None:
    parts = [part.strip() for part in cells_of_line.split("|")]
    if len(parts) != 6 or (value := _VALUE.fullmatch(parts[1])) is None:
        return None
    name, _, peer, ratio, bound, missed = parts
    return Row(
        name=name,
        value=float(value[1].replace(",", "")),
        unit=value[2],
        peer=peer,
        ratio=float(ratio) if ratio else None,
        bound=bound,
        ok=not missed,
    )


def _processor() -> str:
    found = re.search(r"^model name\s*: (.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return found[1] if found else os.uname().machine


def _packages() -> dict[str, str]:
    query = shutil.which("dpkg-query")
    if query is None:
        return {}
    argv = [query, "-W", "-f", "${Package} ${Version}\\n", *PACKAGES]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    pairs = (line.partition(" ") for line in done.stdout.splitlines())
    return {name: version for name, _, version in pairs if version}
