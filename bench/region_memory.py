"""How much memory a region takes: with 1,000 machines that install, with none, and with many known.

    python -m bench.region_memory [--active 1000] [--known 100000]

A real `lpmos region` on a real etcd. Each active machine is an agent as the region sees one, on a
connection of its own: it netboots, exchanges its nonce, reports its hardware, is approved, claims
the install and tells its progress each second for the time of the measurement. What is said is the
highest of the samples of that time; PSS counts what the process shares with others by parts, RSS in
full (proc(5), `smaps_rollup`). Afterwards a tenth of them goes on alone, for the time that one call
of a region with room takes its agent. Ends with status 1 where a limit is missed.
"""

import asyncio
import re
import statistics
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec
from bench import known, report
from bench.load import busy_s
from bench.region_process import RegionProcess, region_process

from lpmos.agent.region import IDENTITY
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.model.lifecycle import Status
from lpmos.store import keys
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror
from tests.support.agent_identity import bearer, identified
from tests.support.builders import actor

ACTIVE = 1000
KNOWN = 100_000
SECONDS = 30.0
PROGRESS_EVERY_S = 1.0
STARTING_AT_ONCE = 50
FEW_OF = 10
SAMPLE_S = 0.5
SETTLED_S = 3.0
API = "/api/v1/agent"

LIMIT_MB = 150.0
PER_CORE = 10
"""Installs at once that one core of a region has to bear."""
PROGRESS_LIMIT_MS = 10.0


class Memory(NamedTuple):
    """Of one process, in MB."""

    rss: float
    pss: float


def memory(pid: int) -> Memory:
    """What a process takes now."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = dict(re.findall(r"^(Rss|Pss):\s+(\d+) kB$", text, re.MULTILINE))
    return Memory(int(found["Rss"]) * 1024 / 1e6, int(found["Pss"]) * 1024 / 1e6)


class Agent:
    """One machine that installs."""

    def __init__(self, number: int, http: aiohttp.ClientSession) -> None:
        self.task_id = known.task_id(number)
        self._number = number
        self._http = http
        self._agent_id = f"{number:032x}"
        self._mac = known.mac(number)
        self._headers: dict[str, str] = {}
        self._percent = 20.0
        self.latencies_ms: list[float] = []

    async def report(self) -> None:
        """Netboot, say who it is, and what it has."""
        identity = await identified(self._http, "", self._mac, self._agent_id)
        self._headers = bearer(identity)
        hardware = msgspec.to_builtins(known.inventory(self._number))
        await self._call("report", sn=known.sn(self._number), hardware=hardware)

    async def claim(self) -> None:
        """Take the approved install."""
        await self._call("status", task_id=self.task_id, status="installing")

    async def install(self, begin: float, end: float) -> None:
        """Tell the progress each second; the first word somewhere in the first second."""
        due = begin + PROGRESS_EVERY_S * (self._number % 1000) / 1000
        while due < end:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            percent = self._percent = min(59.0, self._percent + 0.5)
            await self._call(
                "progress",
                task_id=self.task_id,
                stage="downloading",
                percentage=percent,
                message=f"debian-12, {percent:.1f} % of the image",
                bytes_done=int(percent * 1e7),
                bytes_total=10**9,
                bytes_per_second=1e7,
                log=[f"[INFO] {percent:.1f} % is written"],
            )
            self.latencies_ms.append((time.monotonic() - due) * 1e3)
            due = max(due + PROGRESS_EVERY_S, time.monotonic())

    async def _call(self, name: str, **fields: object) -> None:
        body = {"mac_address": self._mac, "agent_id": self._agent_id, **fields}
        url = f"{API}/{name}"
        async with self._http.post(url, json=body, headers=self._headers) as answer:
            assert answer.status == 200, await answer.text()
            if renewed := answer.headers.get(IDENTITY):
                self._headers = bearer(renewed)
            await answer.read()


@asynccontextmanager
async def _people(store: Store) -> AsyncIterator[Tasks]:
    """Those who approve."""
    mirror = Mirror(store, keys.ROOT)
    tasks = Tasks(store, Fleet(mirror), utc_now)
    following = asyncio.create_task(mirror.run())
    await mirror.wait_ready()
    yield tasks
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def _begin(agents: Sequence[Agent], tasks: Tasks) -> None:
    """Bring all to the beginning of their installs, so many at once."""
    waiting = iter(agents)

    async def work() -> None:
        for agent in waiting:
            await agent.report()
            await tasks.approve(agent.task_id, by=actor("bench"), notes=None)
            await agent.claim()

    await asyncio.gather(*(work() for _ in range(STARTING_AT_ONCE)))


async def _highest(pid: int, until: float) -> Memory:
    samples = []
    while time.monotonic() < until:
        samples.append(memory(pid))
        await asyncio.sleep(SAMPLE_S)
    return Memory(*map(max, zip(*samples, strict=True)))


async def _with_active(machines: int, seconds: float) -> list[report.Row]:
    async def fill(store: Store) -> None:
        await known.fill(store, machines, [Status.PENDING_APPROVAL])

    connections = aiohttp.TCPConnector(limit=0)
    async with (
        region_process(fill, asked=_last(machines)) as region,
        aiohttp.ClientSession(region.url, connector=connections) as http,
        _people(region.store) as tasks,
    ):
        agents = [Agent(number, http) for number in range(machines)]
        await _begin(agents, tasks)
        begin, before_s = time.monotonic(), busy_s(region.pid)
        end = begin + seconds
        async with asyncio.TaskGroup() as group:
            sampling = group.create_task(_highest(region.pid, end))
            for agent in agents:
                group.create_task(agent.install(begin, end))
        highest = sampling.result()
        took_s, busy = time.monotonic() - begin, busy_s(region.pid) - before_s
        rows = _active_rows(machines, highest, agents, busy / took_s, took_s)
        return [*rows, await _with_room(agents[::FEW_OF], seconds / 3)]


async def _with_room(agents: Sequence[Agent], seconds: float) -> report.Row:
    """How long a call takes where few machines install."""
    for agent in agents:
        agent.latencies_ms.clear()
    begin = time.monotonic()
    await asyncio.gather(*(agent.install(begin, begin + seconds) for agent in agents))
    latencies = [each for agent in agents for each in agent.latencies_ms]
    p99_ms = statistics.quantiles(latencies, n=100)[98]
    return report.limited(
        "progress call with few machines that install, p50", statistics.median(latencies), "ms",
        at_most=PROGRESS_LIMIT_MS, note=f"{len(agents)} of them, p99 {p99_ms:.0f} ms",
    )  # fmt: skip


def _active_rows(
    machines: int, highest: Memory, agents: Sequence[Agent], busy: float, took_s: float
) -> list[report.Row]:
    latencies = [each for agent in agents for each in agent.latencies_ms]
    p99_ms = statistics.quantiles(latencies, n=100)[98]
    who = "machines that install"
    return [
        report.limited(
            f"RSS with {who}", highest.rss, "MB", at_most=LIMIT_MB, note=f"{machines} of them"
        ),
        report.limited(f"PSS with {who}", highest.pss, "MB", at_most=LIMIT_MB),
        report.noted(
            f"progress calls with {who}", len(latencies) / took_s, "/s",
            note=f"p99 {p99_ms:.0f} ms from when each was due; region takes {100 * busy:.0f} % CPU",
        ),
        report.noted(
            f"CPU of a progress call with {who}", busy * took_s / len(latencies) * 1e6, "us"
        ),
        report.limited(
            f"{who}, to one core of the region", machines / busy, at_least=PER_CORE,
            note="their progress each second; for their images see file_serving",
        ),
    ]  # fmt: skip


async def _with_known(machines: int) -> Memory:
    async def fill(store: Store) -> None:
        await known.fill(store, machines, [Status.COMPLETED])

    asked = _last(machines) if machines else "/boot/boot.ipxe"
    async with region_process(fill, asked=asked) as region:
        return await _settled(region)


async def _settled(region: RegionProcess) -> Memory:
    """The highest of some seconds after its start."""
    return await _highest(region.pid, time.monotonic() + SETTLED_S)


def _last(machines: int) -> str:
    """The boot script that only a region with all of them has."""
    return f"/boot/ipxe?mac={known.mac(machines - 1)}"


async def measure(active: int, many: int, seconds: float) -> list[report.Row]:
    """All rows."""
    none = await _with_known(0)
    rows = await _with_active(active, seconds)
    all_known = await _with_known(many)
    each_kb = (all_known.pss - none.pss) / many * 1e3
    return [
        *rows,
        report.noted("PSS with no machine", none.pss, "MB", note=f"RSS {none.rss:.0f} MB"),
        report.noted(
            "PSS with many machines known", all_known.pss, "MB",
            note=f"{many:,} of them, RSS {all_known.rss:.0f} MB",
        ),
        report.noted("PSS for each machine known", each_kb, "kB"),
    ]  # fmt: skip


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--active", type=int, default=ACTIVE)
    parser.add_argument("--known", type=int, default=KNOWN)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = report.chosen(parser, {"active": 20, "known": 200, "seconds": 2.0})
    return report.end(asyncio.run(measure(chosen.active, chosen.known, chosen.seconds)), chosen)


if __name__ == "__main__":
    sys.exit(main())
