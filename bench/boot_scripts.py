"""Boot scripts of a region that knows 100,000 machines, against a bare handler and nginx.

    python -m bench.boot_scripts [--machines 100000]

A real `lpmos region` on a real etcd answers `GET /boot/ipxe` for every machine in turn: half of
them are installed (they get the script to their own disk), half wait for approval (they get the
agent). wrk never pauses on 50 connections; the steady rate is our own client's. In the same run, in
turns with the region, the peers answer a text of the same size: an aiohttp handler that does
nothing else, which is all that this server can do, and Debian's nginx with a file. wrk shares the
processors with all of them.

Looking a machine up is timed in this process, call by call, over a mirror of 100 and of as many
machines as the region knows: the cost of both has to be the same. Ends with status 1 where a limit
is missed.
"""

import asyncio
import random
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from bench import known, report
from bench.file_serving import nginx_server
from bench.load import FlatOut, busy_s, flat_out, in_turn, steady
from bench.region_process import RegionProcess, region_process

from lpmos.core.agents import Agents
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.lifecycle import Status
from lpmos.store import keys
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
    context = get_context("spawn")
    link, theirs = context.Pipe()
    process = context.Process(target=_serve_bare, args=(theirs, size), daemon=True)
    process.start()
    yield f"http://127.0.0.1:{link.recv()}"
    process.terminate()
    process.join()


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
    """A fleet of so many machines in memory, and the time of each call."""

    def __init__(self, store: Store, machines: int) -> None:
        mirror = Mirror(store, keys.idc_prefix(known.IDC))
        self._fleet = Fleet(mirror)
        self._agents = Agents(
            store, self._fleet, utc_now, idc=known.IDC, unknown=UnknownMachines.DISCOVER
        )
        self._machines = machines
        mirror.restore(self._kvs(), 3 * machines)

    def _kvs(self) -> Iterator[KV]:
        for number in range(self._machines):
            for put in known.puts([number], STATUSES):
                if keys.parse(put.key):
                    yield KV(put.key, put.value, number + 1, number + 1, 1)

    def calls(self) -> dict[str, Callable[[str], object]]:
        """What is timed, by its name."""
        fleet, agents = self._fleet, self._agents
        return {
            "machine by MAC": lambda mac: fleet.machine_by_mac(known.IDC, mac),
            "task by MAC": lambda mac: fleet.task_by_mac(known.IDC, mac),
            "task of a machine that asks": lambda mac: agents.find_task(mac, None),
        }

    def timed_us(self, call: Callable[[str], object], count: int) -> list[float]:
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


async def _lookups(machines: int, count: int, rounds: int) -> list[report.Row]:
    with tempfile.TemporaryDirectory() as directory:
        store = await SqliteStore.open(Path(directory) / "store.db")
        few, many = _Looked(store, FEW), _Looked(store, machines)
        rows = []
        for name in few.calls():
            times: dict[_Looked, list[list[float]]] = {few: [], many: []}
            for number in range(2 * rounds):
                which = (few, many)[number % 2]
                times[which].append(which.timed_us(which.calls()[name], count // rounds))
            rows += _lookup_rows(name, times[few], times[many])
        await store.close()
    return rows


def _lookup_rows(name: str, few: list[list[float]], many: list[list[float]]) -> list[report.Row]:
    p99_us = statistics.median(statistics.quantiles(each, n=100)[98] for each in many)
    medians = [statistics.median(each) for each in few], [statistics.median(each) for each in many]
    growth = statistics.median(b / a for a, b in zip(*medians, strict=True))
    return [
        report.limited(f"{name}, p99", p99_us / 1e3, "ms", at_most=LOOKUP_LIMIT_MS),
        report.compared(
            f"{name}, cost", statistics.median(medians[1]), "us",
            (f"with {FEW} machines", statistics.median(medians[0])),
            ratio=growth, at_most=SAME,
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
