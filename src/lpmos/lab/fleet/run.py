"""One run of a simulated fleet, from its tasks to the last machine's own system."""

import asyncio
import os
import re
import resource
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from lpmos.lab.api_client import ApiClient, TaskState
from lpmos.lab.errors import ApiRefused
from lpmos.lab.fleet.invariants import Breach, Lived, breaches
from lpmos.lab.fleet.machine import Call, FleetMachine
from lpmos.lab.fleet.profiles import FleetSpec, Profile, idcs, profiles
from lpmos.lab.fleet.site import FleetSite, Part, fleet_site
from lpmos.model.durations import percentile
from lpmos.model.lifecycle import FINAL, Status
from lpmos.model.newtask import NewTask

SAMPLE_S: Final = 1.0
ROWS_AT_ONCE: Final = 5_000
READS_AT_ONCE: Final = 16
LONG_POLL: Final = "approval"
ALL_CALLS: Final = "all"
LEFT_TO_END_S: Final = 120.0
"""What tasks may need when the last machine has said its last word."""

log = structlog.get_logger()


class Sample(msgspec.Struct, frozen=True):
    """The fleet at one moment: tasks by status, and what the second before had of answered calls.

    The percentiles are of those that do not wait on purpose; 0 where there were none.
    """

    at_s: float
    counts: dict[str, int]
    calls: int
    p50_ms: float = 0.0
    p99_ms: float = 0.0


class Latency(msgspec.Struct, frozen=True):
    """How long one kind of call took, in milliseconds."""

    call: str
    count: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    worst_ms: float


class Usage(msgspec.Struct, frozen=True):
    """What a program took: CPU time, and the most memory (proc(5), VmHWM)."""

    part: str
    cpu_s: float
    peak_mb: float


class FleetResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run and what it showed; it is well where there are no breaches."""

    spec: FleetSpec
    took_s: float
    ended: dict[str, int]
    faults: dict[str, int]
    latencies: tuple[Latency, ...]
    usage: tuple[Usage, ...]
    samples: tuple[Sample, ...]
    breaches: tuple[Breach, ...]


Show = Callable[[Sample], None]


async def run_fleet(spec: FleetSpec, directory: Path, show: Show, timeout_s: float) -> FleetResult:
    """Install a fleet; `show` is called with each sample.

    Raises:
        LabError: the site did not start, or a program of it ended.
    """
    _open_many_files()
    fleet = profiles(spec)
    async with fleet_site(directory, idcs(spec)) as site:
        await site.api.approve_all()
        task_ids = await _create(site.api, fleet)
        calls: list[Call] = []
        machines = [FleetMachine(each, site.regions[each.idc], calls.append) for each in fleet]
        begun = time.monotonic()
        samples = await _live(site, machines, calls, show, begun + timeout_s)
        took_s = time.monotonic() - begun
        usage = tuple(_usage(part) for part in site.parts)
        tasks = await read_tasks(site.api, task_ids)
    lived = [_lived(machine) for machine in machines]
    ended = Counter(task.status.value for task in tasks.values())
    return FleetResult(
        spec=spec,
        took_s=round(took_s, 1),
        ended=dict(ended),
        faults=dict(Counter(str(fault) for each in fleet for fault in each.faults)),
        latencies=_latencies(calls),
        usage=usage,
        samples=tuple(samples),
        breaches=breaches(tasks, lived),
    )


async def _create(api: ApiClient, fleet: Sequence[Profile]) -> dict[str, str]:
    """A task for each machine: their ids by serial number."""
    found: dict[str, str] = {}
    for first in range(0, len(fleet), ROWS_AT_ONCE):
        rows = [
            NewTask(
                idc=each.idc,
                sn=each.sn,
                mac=each.mac,
                os_type="debian",
                os_version="12",
                tags={"model": each.model.replace(" ", "-")},
            )
            for each in fleet[first : first + ROWS_AT_ONCE]
        ]
        found |= await api.create_tasks(rows)
    return found


async def _live(
    site: FleetSite,
    machines: Sequence[FleetMachine],
    calls: list[Call],
    show: Show,
    until: float,
) -> list[Sample]:
    """Let all machines live; samples until every task has ended, or the time is over."""
    samples: list[Sample] = []
    begun = time.monotonic()
    living = [asyncio.create_task(_live_one(machine)) for machine in machines]
    over_at = until
    try:
        while time.monotonic() < over_at:
            site.check()
            before = len(calls)
            await asyncio.sleep(SAMPLE_S)
            try:
                counts = await site.api.counts()
            except ApiRefused as error:
                log.warning("no sample", reason=str(error))
                continue
            at_s = round(time.monotonic() - begun, 1)
            samples.append(_sample(at_s, counts, calls[before:]))
            show(samples[-1])
            if all(task.done() for task in living):
                over_at = min(over_at, time.monotonic() + LEFT_TO_END_S)
                if not any(n for status, n in counts.items() if Status(status) not in FINAL):
                    break
    finally:
        for task in living:
            task.cancel()
        await asyncio.gather(*living, return_exceptions=True)
    return samples


def _sample(at_s: float, counts: dict[str, int], calls: Sequence[Call]) -> Sample:
    took_ms = [call.took_s * 1e3 for call in calls if call.name != LONG_POLL]
    p50, p99 = (percentile(took_ms or [0.0], share) for share in (0.5, 0.99))
    return Sample(at_s, counts, len(calls), round(p50, 1), round(p99, 1))


async def _live_one(machine: FleetMachine) -> None:
    try:
        await machine.run()
    except Exception as error:  # one machine's defect is told at the end, and ends no other
        machine.says = f"broke: {error!r}"
        log.exception("a simulated machine broke", sn=machine.profile.sn)


async def read_tasks(api: ApiClient, task_ids: dict[str, str]) -> dict[str, TaskState]:
    """Every task that there still is, by its machine's serial number."""
    waiting = iter(task_ids.items())
    found: dict[str, TaskState] = {}

    async def read() -> None:
        for sn, task_id in waiting:
            try:
                found[sn] = await api.task(task_id)
            except ApiRefused as error:
                if error.status != 404:  # a task that is gone is for the invariants to tell
                    raise

    await asyncio.gather(*(read() for _ in range(READS_AT_ONCE)))
    return found


def _lived(machine: FleetMachine) -> Lived:
    profile = machine.profile
    return Lived(
        profile.sn,
        profile.faults,
        profile.must_fail,
        machine.installs,
        machine.installed,
        machine.says,
        profile.disk,
        tuple(machine.wrote),
    )


def _latencies(calls: Sequence[Call]) -> tuple[Latency, ...]:
    """By kind of call, and of all together; a long poll waits on purpose, and is left out."""
    by_name: dict[str, list[float]] = {}
    for call in calls:
        if call.name != LONG_POLL:
            by_name.setdefault(call.name, []).append(call.took_s * 1e3)
    of_each = [_latency(name, took) for name, took in sorted(by_name.items())]
    every = [ms for took in by_name.values() for ms in took]
    return (*of_each, _latency(ALL_CALLS, every)) if every else ()


def _latency(name: str, took_ms: list[float]) -> Latency:
    p50, p95, p99 = (round(percentile(took_ms, share), 1) for share in (0.5, 0.95, 0.99))
    return Latency(name, len(took_ms), p50, p95, p99, round(max(took_ms), 1))


def _usage(part: Part) -> Usage:
    pid = part.process.pid
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    peak = re.search(r"^VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return Usage(part.name, round(cpu_s, 1), round(int(peak[1]) / 1e3, 1) if peak else 0.0)


def _open_many_files() -> None:
    """Each machine has connections of its own; the site's programs inherit the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
