"""A simulated fleet on this machine: how long thousands of installs take, and 500 at a time.

    python -m bench.fleet [--machines 5000] [--at-once 500]

One real etcd, one control plane, regions and all machines share the cores. The first run is with
faults, over two regions, until the last machine's own system is up; the second has so many installs
under way at once on one region, each telling its progress each second. Any invariant that does not
hold (a lost task, a doubled install, a wrong end) ends it with status 1, as a missed limit does.
"""

import asyncio
import sys
import tempfile
from pathlib import Path

from bench import report

from lpmos.lab.fleet.profiles import FleetSpec
from lpmos.lab.fleet.run import FleetResult, Sample, run_fleet

MACHINES = 5_000
AT_ONCE = 500
LIMIT_S = 600.0
CALL_P99_MS = 100.0
MACHINES_A_SECOND = 12
"""So fast are they powered on in the first run."""
ONCE_INSTALL_S = 60.0
ONCE_BOOT_S = 20.0


async def measure(machines: int, at_once: int) -> list[report.Row]:
    """All rows."""
    boot_s = machines / MACHINES_A_SECOND
    many = await _run(FleetSpec(machines=machines, regions=2, boot_s=boot_s))
    once = await _run(
        FleetSpec(
            machines=at_once,
            faults=False,
            install_s=ONCE_INSTALL_S,
            boot_s=ONCE_BOOT_S,
        )
    )
    progress = next(each for each in once.latencies if each.call == "progress")
    worst = max(sample.counts.get("installing", 0) for sample in once.samples)
    return [
        report.limited(
            "machines from task to their own system", many.took_s, "s",
            at_most=LIMIT_S * machines / MACHINES, note=f"{machines} of them, 2 regions, faults on",
        ),
        report.limited("invariants broken", len(many.breaches) + len(once.breaches), at_most=0),
        report.limited(
            "p99 of a progress call", progress.p99_ms, "ms", at_most=CALL_P99_MS,
            note=f"one region, up to {worst} installs at once, {progress.count:,} calls",
        ),
        *[
            report.noted(f"CPU of {part.part}", 1e3 * part.cpu_s / machines, "ms",
                         note=f"a machine; at most {part.peak_mb:.0f} MB")
            for part in many.usage
        ],
    ]  # fmt: skip


async def _run(spec: FleetSpec) -> FleetResult:
    with tempfile.TemporaryDirectory(prefix="lpmos-bench-") as directory:
        result = await run_fleet(spec, Path(directory), _say, timeout_s=3 * LIMIT_S)
    for breach in result.breaches:
        print(f"BROKEN: {breach}")
    return result


def _say(sample: Sample) -> None:
    if int(sample.at_s) % 30 == 0:
        counts = {status: count for status, count in sample.counts.items() if count}
        print(f"{sample.at_s:.0f} s: {counts}, {sample.calls} calls/s", flush=True)


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--at-once", type=int, default=AT_ONCE)
    chosen = report.chosen(parser, {"machines": 40, "at_once": 10})
    return report.end(asyncio.run(measure(chosen.machines, chosen.at_once)), chosen)


if __name__ == "__main__":
    sys.exit(main())
