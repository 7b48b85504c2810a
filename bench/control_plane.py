"""The control plane with 10,000 tasks: start, memory, list and detail under load, creation.

`python -m bench.control_plane` starts an etcd and `lpmos control-plane` of its own, fills the store
with machines that have whole inventories, and asks with 50 parallel clients: at a steady rate, and
as fast as they can (wrk: each sends when its answer is there, so that the percentile is mostly 50
over the rate). Both ask for one list page and one task again and again; `any of all` asks for every
task in turn, so that hardly an answer is kept: flat out it stands beside the one task, whose answer
is. wrk, etcd and the server share the machine: beside each rate stands the processor time that the
server alone took for a request. A server is added by
one client, one after the other, each with its task, as a script of an operator does.
Creation is the use case against its own transaction sent to the same store with nothing around it,
in turns, on both stores. It ends with status 1 where a figure is beyond its limit.
"""

import asyncio
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import httpx
from bench import known, report
from bench.load import busy_s, flat_out, in_turn, steady

from lpmos.control.auth import TokenSigner
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.journal import told_of_task
from lpmos.core.tasks import Tasks
from lpmos.lab.processes import HostProcesses
from lpmos.model.machine import ServerEntry
from lpmos.model.newtask import TaskSpec
from lpmos.model.task import TaskPlace
from lpmos.store import keys, records
from lpmos.store.api import Compare, Put, Store
from lpmos.store.etcd import EtcdStore
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import actor, make_capabilities, make_spec, make_task
from tests.support.etcd import EtcdServer, free_port

KEY = bytes(range(32))
LPMOS = Path(sys.executable).with_name("lpmos")
CLIENTS = 50
STEADY_PER_S = 400
P99_LIMIT_MS = 10.0
ANY_RATIO_LIMIT = 2.5
LIST = "/api/v1/tasks"
MEMORY_LIMIT_MB = 300.0
START_LIMIT_S = 3.0
CREATE_RATIO_LIMIT = 0.7
ADDED = 200
ADDED_LIMIT_MS = 10.0
ADDED_FIELDS = ("idc", "sn", "mac", "hostname", "os_type", "os_version")


def _details(tasks: int) -> list[str]:
    return [f"/api/v1/tasks/{known.task_id(number)}" for number in range(tasks)]


async def _until_ready(url: str) -> None:
    async with httpx.AsyncClient() as client:
        while True:
            try:
                if (await client.get(f"{url}/health/ready")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.01)


def _resident_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024 / 1e6


async def _served(tasks: int, seconds: float) -> list[report.Row]:
    """The figures of a control plane on etcd."""
    token = TokenSigner(KEY, utc_now).issue("bench", "admin", timedelta(hours=1))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "auth.key").write_bytes(KEY)
        (directory / "auth.key").chmod(0o600)
        async with EtcdServer() as etcd, HostProcesses() as processes:
            store = await EtcdStore.connect([etcd.endpoint])
            await known.fill(store, tasks)
            await store.close()
            port = free_port()
            url = f"http://127.0.0.1:{port}"
            begin = time.monotonic()
            process = await processes.spawn(
                [str(LPMOS), "control-plane", "--etcd-endpoints", etcd.endpoint,
                 "--listen-addr", f"127.0.0.1:{port}", "--state-dir", name,
                 "--auth-key-file", str(directory / "auth.key"), "--rate-limit-per-s", "0"],
                log=directory / "control.log",
            )  # fmt: skip
            await _until_ready(url)
            started_s = time.monotonic() - begin
            rows = [report.limited("start to ready", started_s, "s", at_most=START_LIMIT_S)]
            details = _details(tasks)
            headers = {"Authorization": f"Bearer {token}"}
            for what, paths in (
                ("list page", [LIST]),
                ("detail", details[:1]),
                ("detail, any of all", details),
            ):
                p99_ms = await steady(
                    url, paths, clients=CLIENTS, per_s=STEADY_PER_S, seconds=seconds,
                    headers=headers,
                )  # fmt: skip
                name = f"{what}, p99 at {STEADY_PER_S}/s"
                rows.append(report.limited(name, p99_ms, "ms", at_most=P99_LIMIT_MS))
            rows.append(await _added(url, headers))
            assert process.pid is not None
            rows += await _flat_out(url, process.pid, headers, seconds, directory, details)
            memory_mb = _resident_mb(process.pid)
            return [
                *rows,
                report.limited("memory at its highest", memory_mb, "MB", at_most=MEMORY_LIMIT_MB),
            ]


async def _flat_out(
    url: str,
    pid: int,
    headers: Mapping[str, str],
    seconds: float,
    directory: Path,
    details: Sequence[str],
) -> list[report.Row]:
    """What clients that never pause get of the server with this process."""

    async def ask(path: str, coding: str, turn: Path | None = None) -> tuple[float, float, str]:
        """The p99 in ms, the server's processor time for each in us, and a word of both."""
        before_s = busy_s(pid)
        got = await flat_out(
            url + path, clients=CLIENTS, seconds=seconds, script=turn,
            headers={**headers, "Accept-Encoding": coding},
        )  # fmt: skip
        each_us = (busy_s(pid) - before_s) / got.answers * 1e6
        return got.p99_ms, each_us, f"{got.per_s:.0f}/s, {each_us:.0f} us of the server each"

    rows = []
    p99_ms = cpu_us = 0.0
    for what, path, coding in (
        ("list page", LIST, "identity"),
        ("list page", LIST, "gzip"),
        ("list page", LIST, "zstd"),
        ("detail", details[0], "identity"),
    ):
        p99_ms, cpu_us, note = await ask(path, coding)
        name = f"{what}, {coding}, p99 flat out"
        rows.append(report.limited(name, p99_ms, "ms", at_most=P99_LIMIT_MS, note=note))
    any_ms, any_us, note = await ask("", "identity", in_turn(directory, details))
    kept = "one that is kept"
    return [
        *rows,
        report.compared(
            "detail, any of all, identity, p99 flat out", any_ms, "ms", (kept, p99_ms),
            less_is_better=True, note=note,
        ),
        report.compared(
            "CPU of a detail, any of all", any_us, "us", (kept, cpu_us), at_most=ANY_RATIO_LIMIT
        ),
    ]  # fmt: skip


async def _added(url: str, headers: Mapping[str, str]) -> report.Row:
    """How long the call that adds a server takes its client."""
    latencies_ms = []
    async with httpx.AsyncClient(base_url=url, headers=headers) as client:
        for number in range(ADDED):
            spec = _spec(number)
            body = {name: getattr(spec, name) for name in ADDED_FIELDS}
            began = time.perf_counter()
            answer = await client.post("/api/v1/tasks", json=body)
            latencies_ms.append((time.perf_counter() - began) * 1e3)
            assert answer.status_code == 201, answer.text
    p99_ms = statistics.quantiles(latencies_ms, n=100)[98]
    return report.limited(
        "add a server, p50", statistics.median(latencies_ms), "ms", at_most=ADDED_LIMIT_MS,
        note=f"p99 {p99_ms:.1f} ms of {ADDED}, one after the other",
    )  # fmt: skip


async def _rate(worker: Callable[[int], Awaitable[None]], first: int, count: int) -> float:
    """How often a second `worker` is done, 64 at once."""
    numbers = iter(range(first, first + count))

    async def work() -> None:
        for number in numbers:
            await worker(number)

    begin = time.monotonic()
    await asyncio.gather(*(work() for _ in range(64)))
    return count / (time.monotonic() - begin)


def _spec(number: int) -> TaskSpec:
    mac = f"52:54:01:{number >> 16:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"
    return make_spec(sn=f"N-{number}", mac=mac)


async def _created(name: str, store: Store, rounds: int, count: int) -> report.Row:
    """The use case's rate over that of its own transaction, sent as it is."""
    await store.put(keys.capabilities("dc1"), records.encode(make_capabilities()))
    mirror = Mirror(store, keys.ROOT)
    fleet = Fleet(mirror)
    following = asyncio.create_task(mirror.run())
    await mirror.wait_ready()
    tasks = Tasks(store, fleet, utc_now)

    async def create(number: int) -> None:
        await tasks.create(_spec(number), by=actor("bench"))

    async def bare(number: int) -> None:
        spec = _spec(number)
        task = make_task(task_id=str(uuid.uuid4()), sn=spec.sn, mac=spec.mac)
        place = records.encode(TaskPlace(idc="dc1", sn=spec.sn))
        entry = ServerEntry(sn=spec.sn, status="pending", mac=spec.mac, added_at=task.created_at)
        compare = [
            Compare(keys.task("dc1", spec.sn), "mod", "=", 0),
            Compare(keys.mac_place("dc1", spec.mac), "mod", "=", 0),
            Compare(keys.task_place(task.task_id), "create", "=", 0),
        ]
        operations = [
            Put(keys.server("dc1", spec.sn), records.encode(entry)),
            Put(keys.task("dc1", spec.sn), records.encode(task)),
            Put(keys.task_place(task.task_id), place),
            Put(keys.mac_place("dc1", spec.mac), place),
            told_of_task(None, task, actor("bench")),
        ]
        assert (await store.txn(compare, operations)).succeeded

    rates = []
    for number in range(rounds):
        first = number * 2 * count
        bare_rate = await _rate(bare, first, count)
        rates.append((await _rate(create, first + count, count), bare_rate))
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    ours, its = map(statistics.median, zip(*rates, strict=True))
    ratio = statistics.median(ours / its for ours, its in rates)
    peer = ("bare transaction", its)
    return report.compared(
        f"create, {name}", ours, "/s", peer, ratio=ratio, at_least=CREATE_RATIO_LIMIT
    )


async def _created_on_both(rounds: int, count: int) -> list[report.Row]:
    with tempfile.TemporaryDirectory() as name:
        embedded = await SqliteStore.open(Path(name) / "store.db")
        sqlite = await _created("embedded", embedded, rounds, count)
        await embedded.close()
    async with EtcdServer() as server:
        store = await EtcdStore.connect([server.endpoint])
        etcd = await _created("etcd", store, rounds, count)
        await store.close()
    return [sqlite, etcd]


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--created", type=int, default=1000, help="tasks in each round")
    quick = {"tasks": 200, "seconds": 1, "rounds": 1, "created": 128}
    chosen = report.chosen(parser, quick)
    rows = asyncio.run(_served(chosen.tasks, chosen.seconds))
    rows += asyncio.run(_created_on_both(chosen.rounds, chosen.created))
    return report.end(rows, chosen)


if __name__ == "__main__":
    sys.exit(main())
