"""The control plane with 10,000 tasks: start, memory, list and detail under load, creation.

`python -m bench.control_plane` starts an etcd and `lpmos control-plane` of its own, fills the store
with machines that have whole inventories, and asks with 50 parallel clients: at a steady rate, and
as fast as they can (wrk: each sends when its answer is there, so that the percentile is mostly 50
over the rate). Both ask for one list page and one task again and again; `any of all` asks for every
task in turn, so that hardly an answer is kept. wrk, etcd and the server share the machine: beside
each rate stands the processor time that the server alone took for a request.
Creation is the use case against its own transaction sent to the same store with nothing around it,
in turns, on both stores. It ends with status 1 where a figure is beyond its limit.
"""

import argparse
import asyncio
import os
import re
import statistics
import sys
import tempfile
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path

import httpx
import msgspec

from lpmos.agent.options import Options
from lpmos.agent.simulation import SimulatedMachine
from lpmos.control.auth import TokenSigner
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.journal import told_of_task
from lpmos.core.tasks import Tasks
from lpmos.lab.processes import HostProcesses
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.machine import Machine, ServerEntry
from lpmos.model.task import Task, TaskPlace, TaskSpec
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
MEMORY_LIMIT_MB = 300.0
START_LIMIT_S = 3.0
CREATE_RATIO_LIMIT = 0.7
STATUSES = (Status.PENDING_APPROVAL, Status.INSTALLING, Status.COMPLETED, Status.FAILED)


def _task_id(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_OID, f"SN-{number:05d}"))


def _details(tasks: int) -> list[str]:
    return [f"/api/v1/tasks/{_task_id(number)}" for number in range(tasks)]


def _machine(number: int) -> tuple[Task, Machine]:
    """A task whose machine has reported, and the machine."""
    sn, mac = f"SN-{number:05d}", f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
    found = SimulatedMachine(Options("", sn=sn, mac=mac, simulate=True)).inventory()
    inventory = msgspec.convert(found, Inventory)
    task = make_task(
        task_id=_task_id(number),
        sn=sn,
        mac=mac,
        hostname=sn.lower(),
        tags={"rack": f"r{number % 40}", "owner": "platform"},
        status=STATUSES[number % len(STATUSES)],
        hardware=inventory,
        plan=plan_disk(inventory, "auto", RootDiskHints(overwrite=True), GIB),
        logs=tuple(f"2026-01-02T03:04:{n:02d}.000Z [INFO] a line of the log" for n in range(20)),
    )
    machine = Machine(
        idc="dc1",
        sn=sn,
        macs=(mac,),
        inventory=inventory,
        first_seen_at=task.created_at,
        updated_at=task.created_at,
    )
    return task, machine


async def _fill(store: Store, tasks: int) -> str:
    """Put tasks and machines into the store; the id of one task."""
    await store.put(keys.capabilities("dc1"), records.encode(make_capabilities()))
    task_id = ""
    for first in range(0, tasks, 40):
        operations: list[Put] = []
        for number in range(first, min(tasks, first + 40)):
            task, machine = _machine(number)
            task_id = task.task_id
            place = TaskPlace(idc=task.idc, sn=task.sn)
            operations += [
                Put(keys.task(task.idc, task.sn), records.encode(task)),
                Put(keys.meta(task.idc, task.sn), records.encode(machine)),
                Put(keys.task_place(task.task_id), records.encode(place)),
            ]
        await store.txn([], operations)
    return task_id


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


def _busy_s(pid: int) -> float:
    """Processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


IN_TURN = """
local paths = {}
for line in io.lines("%s") do paths[#paths + 1] = wrk.format("GET", line) end
local at = 0
function request() at = at %% #paths + 1; return paths[at] end
"""
"""wrk's script that asks for each path of a file in turn."""


async def _flat_out(
    url: str, token: str, seconds: int, coding: str = "identity", script: Path | None = None
) -> tuple[int, float, float]:
    """Requests, requests a second, and the 99th percentile in ms of 50 clients that never pause."""
    command = ["wrk", "-t1", f"-c{CLIENTS}", f"-d{seconds}s", "--latency"]
    command += ["-H", f"Authorization: Bearer {token}", "-H", f"Accept-Encoding: {coding}"]
    command += ["-s", str(script)] if script else []
    process = await asyncio.create_subprocess_exec(*command, url, stdout=asyncio.subprocess.PIPE)
    text = (await process.communicate())[0].decode()
    assert "Non-2xx" not in text, text
    count = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    p99 = re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    assert count and rate and p99, text
    milliseconds = float(p99[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]]
    return int(count[1]), float(rate[1]), milliseconds


async def _steady(url: str, token: str, seconds: int) -> float:
    """The 99th percentile in ms at `STEADY_PER_S` requests a second over 50 connections."""
    place = httpx.URL(url)
    request = (
        f"GET {place.raw_path.decode()} HTTP/1.1\r\nHost: {place.host}\r\n"
        f"Authorization: Bearer {token}\r\n\r\n"
    ).encode()
    latencies: list[float] = []
    loop = asyncio.get_running_loop()
    begin = loop.time() + 0.2

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_connection(place.host, place.port)
        due = begin + number / STEADY_PER_S
        while due < begin + seconds:
            await asyncio.sleep(max(0.0, due - loop.time()))
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            assert b" 200 " in head[:20], head
            size = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
            assert size
            await reader.readexactly(int(size[1]))
            latencies.append((loop.time() - due) * 1e3)
            due += CLIENTS / STEADY_PER_S
        writer.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    return statistics.quantiles(latencies, n=100)[98]


async def _serve_figures(tasks: int, seconds: int) -> list[tuple[str, float, float]]:
    """The figures of a control plane on etcd: name, measured, limit."""
    token = TokenSigner(KEY, utc_now).issue("bench", "admin", timedelta(hours=1))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "auth.key").write_bytes(KEY)
        (directory / "auth.key").chmod(0o600)
        async with EtcdServer() as etcd, HostProcesses() as processes:
            store = await EtcdStore.connect([etcd.endpoint])
            task_id = await _fill(store, tasks)
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
            figures = [("start to ready, s", time.monotonic() - begin, START_LIMIT_S)]
            paths = (("list page", "/api/v1/tasks"), ("detail", f"/api/v1/tasks/{task_id}"))
            for what, path in paths:
                figures.append(
                    (
                        f"{what}, p99 ms at {STEADY_PER_S}/s",
                        await _steady(url + path, token, seconds),
                        P99_LIMIT_MS,
                    )
                )
            assert process.pid is not None
            in_turn = directory / "in_turn.lua"
            (directory / "paths").write_text("".join(f"{path}\n" for path in _details(tasks)))
            in_turn.write_text(IN_TURN % (directory / "paths"))
            for what, path, coding, script in (
                (*paths[0], "identity", None),
                (*paths[0], "gzip", None),
                (*paths[0], "zstd", None),
                (*paths[1], "identity", None),
                ("detail, any of all", "", "identity", in_turn),
            ):
                before_s = _busy_s(process.pid)
                count, rate, p99 = await _flat_out(url + path, token, seconds, coding, script)
                each_us = (_busy_s(process.pid) - before_s) / count * 1e6
                label = f"{what}, {coding}, p99 ms flat out ({rate:.0f}/s, {each_us:.0f} us)"
                figures.append((label, p99, P99_LIMIT_MS))
            memory_mb = _resident_mb(process.pid)
            return [*figures, ("memory at its highest, MB", memory_mb, MEMORY_LIMIT_MB)]


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


async def _create_ratio(store: Store, rounds: int, count: int) -> float:
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

    ratios = []
    for number in range(rounds):
        first = number * 2 * count
        bare_rate = await _rate(bare, first, count)
        ratios.append(await _rate(create, first + count, count) / bare_rate)
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return statistics.median(ratios)


async def _create_figures(rounds: int, count: int) -> list[tuple[str, float, float]]:
    with tempfile.TemporaryDirectory() as name:
        embedded = await SqliteStore.open(Path(name) / "store.db")
        sqlite = await _create_ratio(embedded, rounds, count)
        await embedded.close()
    async with EtcdServer() as server:
        store = await EtcdStore.connect([server.endpoint])
        etcd = await _create_ratio(store, rounds, count)
        await store.close()
    return [
        ("create / bare transaction, embedded", sqlite, CREATE_RATIO_LIMIT),
        ("create / bare transaction, etcd", etcd, CREATE_RATIO_LIMIT),
    ]


def _show(figures: Sequence[tuple[str, float, float]], *, at_most: bool) -> bool:
    """Print the figures; whether all are within their limits."""
    good = True
    for name, measured, limit in figures:
        within = measured <= limit if at_most else measured >= limit
        good = good and within
        sign = "<=" if at_most else ">="
        print(f"{name:64} {measured:10.2f}  {sign} {limit:g}  {'' if within else 'MISSED'}")
    return good


def main() -> int:
    """Measure and print; 1 where a limit is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    served = _show(asyncio.run(_serve_figures(chosen.tasks, chosen.seconds)), at_most=True)
    created = _show(asyncio.run(_create_figures(chosen.rounds, 1000)), at_most=False)
    return 0 if served and created else 1


if __name__ == "__main__":
    sys.exit(main())
