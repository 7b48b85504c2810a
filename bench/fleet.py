"""A simulated fleet on this machine: how long thousands of installs take, and 500 at a time.

    python -m bench.fleet [--machines 5000] [--at-once 500]

One real etcd, one control plane, regions and all machines share the cores. The first run is with
faults, over two regions, until the last machine's own system is up; the second has so many installs
under way at once on one region, each telling its progress each second. After the first the store is
read: what is kept of a finished task, without the record of its machine, which stays one however
many tasks it has. With `--pages` the report of the first becomes a page of the documents. Any
invariant that does not hold (a lost task, a doubled install, a wrong end) ends it with status 1, as
a missed limit does.
"""

import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from bench import fleet_page, report

from lpmos.core.backup.kinds import kind_of
from lpmos.lab.fleet.profiles import FleetSpec
from lpmos.lab.fleet.run import ALL_CALLS, FleetResult, Sample, run_fleet
from lpmos.store import keys
from lpmos.store.etcd import EtcdStore
from tests.support.etcd import EtcdServer

MACHINES = 5_000
AT_ONCE = 500
LIMIT_S = 600.0
CALL_P99_MS = 100.0
TASK_KB = 8.0
MACHINES_A_SECOND = 12
"""So fast are they powered on in the first run."""
ONCE_INSTALL_S = 60.0
ONCE_BOOT_S = 20.0


class Ran(NamedTuple):
    """A run, what the store has after it in kB by what the keys are, and the size of its file."""

    result: FleetResult
    kept_kb: dict[str, float]
    database_mb: float


async def measure(machines: int, at_once: int, pages: Path | None) -> list[report.Row]:
    """All rows; the first run's report goes to `pages`."""
    boot_s = machines / MACHINES_A_SECOND
    many, kept_kb, _ = await _run(FleetSpec(machines=machines, regions=2, boot_s=boot_s))
    if pages is not None:
        fleet_page.write(many, pages)
    once, _, once_mb = await _run(
        FleetSpec(
            machines=at_once,
            faults=False,
            install_s=ONCE_INSTALL_S,
            boot_s=ONCE_BOOT_S,
        )
    )
    progress = next(each for each in once.latencies if each.call == "progress")
    of_machines = kept_kb.pop("machines") / machines
    parts = ", ".join(f"{kind} {kb / machines:.1f}" for kind, kb in sorted(kept_kb.items()))
    every = next(each for each in once.latencies if each.call == ALL_CALLS)
    worst = max(sample.counts.get("installing", 0) for sample in once.samples)
    etcd_mb = next(part.peak_mb for part in once.usage if part.part == "etcd")
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
        report.limited(
            "p99 of all agents' calls", every.p99_ms, "ms", at_most=CALL_P99_MS,
            note=f"the same run, without the long poll, {every.count:,} calls",
        ),
        report.noted("installs at once", worst, note="at most, in that run"),
        report.noted("database of etcd at its highest", once_mb, "MB", note="in that run"),
        report.noted("memory of etcd at its highest", etcd_mb, "MB", note="in that run"),
        report.limited(
            "store for a finished task", sum(kept_kb.values()) / machines, "kB", at_most=TASK_KB,
            note=parts,
        ),
        report.noted("store for a machine", of_machines, "kB"),
        *[
            report.noted(f"CPU of {part.part}", 1e3 * part.cpu_s / machines, "ms",
                         note=f"a machine; at most {part.peak_mb:.0f} MB")
            for part in many.usage
        ],
    ]  # fmt: skip


async def _run(spec: FleetSpec) -> Ran:
    with tempfile.TemporaryDirectory(prefix="lpmos-bench-") as directory:
        result = await run_fleet(spec, Path(directory), _say, timeout_s=3 * LIMIT_S)
        data = Path(directory) / "etcd"
        database = data / "member/snap/db"  # it never becomes smaller
        database_mb = database.stat().st_size / 1e6
        kept_kb = await _kept_kb(data)
    for breach in result.breaches:
        print(f"BROKEN: {breach}")
    return Ran(result, kept_kb, database_mb)


async def _kept_kb(data: Path) -> dict[str, float]:
    """What the store of a run that is over has, by kind; its etcd is started again for it."""
    server = EtcdServer()
    await asyncio.to_thread(shutil.copytree, data, server.directory / "data")
    sizes: Counter[str] = Counter()
    async with server:
        store = await EtcdStore.connect([server.endpoint])
        for prefix in (keys.ROOT, keys.AUDIT):
            async for page in store.list(prefix):
                for kv in page.kvs:
                    sizes[kind_of(kv.key)] += len(kv.key) + len(kv.value)
        await store.close()
    return {kind: size / 1e3 for kind, size in sizes.items()}


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
    return report.end(asyncio.run(measure(chosen.machines, chosen.at_once, chosen.pages)), chosen)


if __name__ == "__main__":
    sys.exit(main())
