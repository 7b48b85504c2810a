"""All benchmarks one after the other, each in a process of its own, and one table of what they say.

    python -m bench [--quick] [--write] [NAME…]

At the end stands what got worse against the committed table (docs/reference/figures.md), which
`--write` writes anew: the rows of what ran, the others as they were, and the pages that benchmarks
have of their own. Ends with status 1 where a limit is missed or a benchmark fails.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from bench import figures, report

from lpmos.lab.processes import ENDS_WITH_PARENT

BENCHES = (
    "boot_scripts",
    "dhcp",
    "region_memory",
    "fleet",
    "finished_task",
    "failover",
    "outbox",
    "store_etcd",
    "store_embedded",
    "audit_chain",
    "control_plane",
    "events",
    "live_updates",
    "dashboard",
    "file_serving",
    "agent_payload",
    "agent_boot",
    "agent_memory",
    "install_time",
)
TIMEOUT_S = 3600.0
END_TIMEOUT_S = 30.0
ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    """Run what is asked for; 1 where something failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="small numbers: it works, no more")
    parser.add_argument("--write", action="store_true", help="write the committed table anew")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(BENCHES):
        parser.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if chosen.write and chosen.quick:
        parser.error("a quick run is not to be written: its figures say nothing")
    rows, failed = _run_all(chosen.names or BENCHES, quick=chosen.quick, write=chosen.write)
    on = figures.machine()
    _show(rows, on)
    committed = figures.PAGE.read_text() if figures.PAGE.exists() else ""
    if not chosen.quick:
        _compare(rows, committed, on["Processor"])
    if chosen.write:
        kept = figures.rows_of(committed)
        whole = {name: rows.get(name) or kept.get(name) for name in BENCHES}
        known = {name: found for name, found in whole.items() if found}
        figures.PAGE.write_text(figures.page(known, on, datetime.now(UTC).date()))
    for name in failed:
        print(f"FAILED: {name}; its own words are above")
    missed = not chosen.quick and any(not row.ok for found in rows.values() for row in found)
    return 1 if failed or missed else 0


def _run_all(
    names: Sequence[str], *, quick: bool, write: bool
) -> tuple[dict[str, list[report.Row]], list[str]]:
    """The rows of each, and those that gave none."""
    rows: dict[str, list[report.Row]] = {}
    arguments = ["--quick"] if quick else []
    arguments += ["--pages", str(figures.PAGE.parent)] if write else []
    with tempfile.TemporaryDirectory(prefix="lpmos-bench-") as directory:
        for name in names:
            print(f"== {name}", flush=True)
            began = time.monotonic()
            found = _run(name, Path(directory) / f"{name}.json", arguments)
            if found is not None:
                rows[name] = found
            print(f"-- {name} took {time.monotonic() - began:.0f} s\n", flush=True)
    return rows, [name for name in names if name not in rows]


def _run(name: str, file: Path, arguments: Sequence[str]) -> list[report.Row] | None:
    argv = [sys.executable, "-m", f"bench.{name}", "--rows", str(file), *arguments]
    process = subprocess.Popen([*ENDS_WITH_PARENT, *argv], cwd=ROOT, start_new_session=True)
    try:
        process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        print(f"{name} did not end in {TIMEOUT_S:.0f} s")
    finally:
        _end(process)
    if not file.exists():
        return None
    return msgspec.json.decode(file.read_bytes(), type=list[report.Row])


def _end(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a benchmark that runs still, and give it time to end what it started."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _show(rows: dict[str, list[report.Row]], on: dict[str, str]) -> None:
    print(report.aligned(list(on.items())))
    head = ("benchmark", "figure", "value", "against", "ratio", "limit", "")
    lines = [(name, *report.cells(row)) for name, found in rows.items() for row in found]
    print(report.aligned([head, *lines]))


def _compare(rows: dict[str, list[report.Row]], committed: str, processor: str) -> None:
    if not committed:
        print(f"there is no committed table to compare with; --write writes {figures.PAGE.name}")
        return
    lines = list(figures.worse(rows, committed, processor))
    print(f"worse by more than {figures.WORSE_BY:.0%} than the committed table:")
    print("".join(f"  {line}\n" for line in lines) or "  nothing")


if __name__ == "__main__":
    sys.exit(main())
