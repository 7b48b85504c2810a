"""Boot scripts of a region that knows 100,000 machines, against a bare handler and nginx.

    python -m bench.boot_scripts [--machines 100000]

A real `lpmos region` on a real etcd answers `GET /boot/ipxe` for every machine in turn: half of
them are installed (they get the script to their own disk), half wait for approval (they get the
agent). wrk never pauses on 50 connections; the steady rate is our own client's. In the same run, in
turns with the region, the peers answer a text of the same size: an aiohttp handler that does
nothing else, which is all that this server can do, and Debian's nginx with a file. wrk shares the
processors with all of them.

Looking a machine up is timed in this process, call by call, over a mirror of 100 and of as many
machines as the region knows. It has to cost the same but for what the processor's caches take: how
much that is, is said by the least that a look-up can be, in turns with it: a dictionary of keys by
MAC, the mirror's own, and the document decoded. Ends with status 1 where a limit is missed.
"""

import asyncio
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
from aiohttp import web
from bench import known, report
from bench.file_serving import nginx_server
from bench.load import FlatOut, busy_s, flat_out, in_turn, steady
from bench.parts import started
from bench.region_process import RegionProcess, region_process

from lpmos.core.agents import Agents
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import KV, Store
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore

MACHINES = 100_000
FEW = 100
CLIENTS = 50
STEADY_PER_S = 300
ASKED = 20_000
"""How many of the machines ask, in turn."""
LOOKUPS = 20_000
STATUSES = (Status.COMPLETED, Status.PENDING_APPROVAL)

BARE_RATIO_LIMIT = 0.05
"""Finding, deciding, signing and a line in the log are much more than a handler's nothing."""
STEADY_LIMIT_MS = 20.0
LOOKUP_LIMIT_MS = 1.0
SAME = 1.2
"""Of the growth that a bare dictionary has: the rest is what the machine's caches take."""

LookUp = Callable[[str], object]
"""By MAC."""


def _path(number: int) -> str:
    mac = known.mac(number).replace(":", "-")
    return f"/boot/ipxe?mac={mac}&sn={known.sn(number)}&arch=x86_64&platform=efi"


def _asked(machines: int) -> list[str]:
    step = max(1, machines // ASKED) | 1  # odd: both kinds of machines are among them
    return [_path(number) for number in range(0, machines, step)]


async def _sizes(url: str, paths: Sequence[str]) -> int:
    """The mean size of the scripts."""
    async with aiohttp.ClientSession(url) as http:
        found = []
        for path in paths[:20]:
            async with http.get(path) as answer:
                text = await answer.text()
                assert text.startswith("#!ipxe"), text
                assert "exit 1" in text or "kernel " in text, text
                found.append(len(text))
    return round(statistics.mean(found))


def _serve_bare(link: Connection, size: int) -> None:
    """A handler that answers a text; says its port."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="#" * size, headers={"Cache-Control": "no-store"})

    async def serve() -> None:
        app = web.Application()
        app.add_routes([web.get("/boot/ipxe", answer)])
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        listening = socket.create_server(("127.0.0.1", 0), backlog=1024)
        await web.SockSite(runner, listening).start()
        link.send(listening.getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(serve())


@contextmanager
def _bare(size: int) -> Iterator[str]:
    with started(_serve_bare, size) as part:
        yield f"http://127.0.0.1:{part.link.recv()}"


async def _served(
    region: RegionProcess, machines: int, seconds: float, rounds: int
) -> list[report.Row]:
    """The region and its peers in turns."""
    paths = _asked(machines)
    size = await _sizes(region.url, paths)
    with tempfile.TemporaryDirectory() as name, _bare(size) as bare:
        directory = Path(name)
        (directory / "images" / "bench").mkdir(parents=True)
        (directory / "images" / "bench" / "script.zst").write_bytes(b"#" * size)
        with nginx_server(directory) as nginx:
            files = f"http://127.0.0.1:{nginx.port}{nginx.path}"
            script = in_turn(directory, paths)
            found: dict[str, list[FlatOut]] = {}
            before_s, cpu_us = 0.0, []
            for _ in range(rounds):
                for who, url, turn in (
                    ("region", region.url, script),
                    ("bare aiohttp", f"{bare}/boot/ipxe", None),
                    ("nginx", files, None),
                ):
                    before_s = busy_s(region.pid)
                    got = await flat_out(url, clients=CLIENTS, seconds=seconds, script=turn)
                    found.setdefault(who, []).append(got)
                    if who == "region":
                        cpu_us.append((busy_s(region.pid) - before_s) / got.answers * 1e6)
    rates = {who: statistics.median(each.per_s for each in got) for who, got in found.items()}
    ratios = {
        who: statistics.median(
            ours.per_s / its.per_s for ours, its in zip(found["region"], got, strict=True)
        )
        for who, got in found.items()
    }
    p99s = {who: statistics.median(each.p99_ms for each in got) for who, got in found.items()}
    steady_ms = await steady(
        region.url, paths, clients=CLIENTS, per_s=STEADY_PER_S, seconds=seconds
    )
    size_note = f"scripts of {size} bytes, {statistics.median(cpu_us):.0f} us of the region each"
    return [
        report.compared(
            "boot scripts, flat out", rates["region"], "/s",
            ("bare aiohttp", rates["bare aiohttp"]), ratio=ratios["bare aiohttp"],
            at_least=BARE_RATIO_LIMIT, note=size_note,
        ),
        report.compared(
            "boot scripts, flat out, to nginx", rates["region"], "/s", ("nginx", rates["nginx"]),
            ratio=ratios["nginx"],
        ),
        report.compared(
            "boot script p99, flat out", p99s["region"], "ms",
            ("bare aiohttp", p99s["bare aiohttp"]), less_is_better=True,
        ),
        report.limited(
            f"boot script p99 at {STEADY_PER_S}/s", steady_ms, "ms", at_most=STEADY_LIMIT_MS
        ),
    ]  # fmt: skip


class _Looked:
    """So many machines in memory: each look-up by MAC, and the least that it can be."""

    def __init__(self, store: Store, machines: int) -> None:
        mirror, bare = (Mirror(store, keys.idc_prefix(known.IDC)) for _ in range(2))
        fleet = Fleet(mirror)
        agents = Agents(store, fleet, utc_now, idc=known.IDC, unknown=UnknownMachines.DISCOVER)
        mirror.restore(_kvs(machines), 3 * machines)
        bare.restore(mirror.items(""), 3 * machines)
        metas = {known.mac(n): keys.meta(known.IDC, known.sn(n)) for n in range(machines)}
        tasks = {known.mac(n): keys.task(known.IDC, known.sn(n)) for n in range(machines)}

        def least_machine(mac: str) -> object:
            return (kv := bare.get(metas[mac])) and records.decode(kv, Machine)

        def least_task(mac: str) -> object:
            return (kv := bare.get(tasks[mac])) and records.decode(kv, Task)

        self._machines = machines
        self.calls: Mapping[str, tuple[LookUp, LookUp]] = {
            "machine by MAC": (lambda mac: fleet.machine_by_mac(known.IDC, mac), least_machine),
            "task by MAC": (lambda mac: fleet.task_by_mac(known.IDC, mac), least_task),
            "task of a machine that asks": (lambda mac: agents.find_task(mac, None), least_task),
        }
        """What is timed, by its name."""

    def timed_us(self, call: LookUp, count: int) -> list[float]:
        """Of so many machines, drawn at random."""
        draw = random.Random(0)  # noqa: S311 - the same machines in each run
        macs = [known.mac(draw.randrange(self._machines)) for _ in range(count)]
        times = []
        for mac in macs:
            began = time.perf_counter_ns()
            found = call(mac)
            times.append((time.perf_counter_ns() - began) / 1e3)
            assert found is not None
        return times


def _kvs(machines: int) -> Iterator[KV]:
    for number in range(machines):
        for put in known.puts([number], STATUSES):
            if keys.parse(put.key):
                yield KV(put.key, put.value, number + 1, number + 1, 1)


class _Turn(NamedTuple):
    """Medians of one round, in us: with few and many machines, ours and the least."""

    few: float
    few_least: float
    many: float
    many_least: float
    many_p99: float

    @property
    def growth(self) -> float:
        """How many times as much many machines cost."""
        return self.many / self.few

    @property
    def least_growth(self) -> float:
        """The same of the least that a look-up can be."""
        return self.many_least / self.few_least


async def _lookups(machines: int, count: int, rounds: int) -> list[report.Row]:
    with tempfile.TemporaryDirectory() as directory:
        store = await SqliteStore.open(Path(directory) / "store.db")
        few, many = _Looked(store, FEW), _Looked(store, machines)
        rows = []
        for name in few.calls:
            turns = [_turn(name, few, many, count // rounds) for _ in range(rounds)]
            rows += _lookup_rows(name, turns)
        await store.close()
    return rows


def _turn(name: str, few: _Looked, many: _Looked, count: int) -> _Turn:
    times = [each.timed_us(call, count) for each in (few, many) for call in each.calls[name]]
    few_us, few_least, many_us, many_least = map(statistics.median, times)
    p99_us = statistics.quantiles(times[2], n=100)[98]
    return _Turn(few_us, few_least, many_us, many_least, p99_us)


def _lookup_rows(name: str, turns: Sequence[_Turn]) -> list[report.Row]:
    few, _, many, _, p99 = map(statistics.median, zip(*turns, strict=True))
    growth = statistics.median(turn.growth for turn in turns)
    least = statistics.median(turn.least_growth for turn in turns)
    return [
        report.limited(f"{name}, p99", p99 / 1e3, "ms", at_most=LOOKUP_LIMIT_MS),
        report.noted(f"{name}, cost", many, "us", note=f"with {FEW} machines {few:.1f} us"),
        report.compared(
            f"{name}, cost to that with {FEW} machines", growth, "times",
            ("bare dictionary", least), at_most=SAME,
        ),
    ]  # fmt: skip


async def measure(machines: int, seconds: float, rounds: int, lookups: int) -> list[report.Row]:
    """All rows."""
    rows = await _lookups(machines, lookups, rounds)

    async def fill(store: Store) -> None:
        await known.fill(store, machines, STATUSES)

    async with region_process(fill, asked=_path(machines - 1)) as region:
        started = report.noted(
            "start of the region to ready", region.started_s, "s", note=f"{machines:,} machines"
        )
        return [*await _served(region, machines, seconds, rounds), *rows, started]


def main() -> int:
    """Measure and report."""
    parser = report.parser(__doc__)
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--seconds", type=float, default=6.0, help="of each part under load")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lookups", type=int, default=LOOKUPS)
    quick: dict[str, Any] = {"machines": 400, "seconds": 1.0, "rounds": 1, "lookups": 400}
    chosen = report.chosen(parser, quick)
    rows = asyncio.run(measure(chosen.machines, chosen.seconds, chosen.rounds, chosen.lookups))
    return report.end(rows, chosen)


if __name__ == "__main__":
    sys.exit(main())
