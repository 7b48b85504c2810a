"""1,000 browsers and 1,000 task updates a second: from the write to the last browser.

    python -m bench.live_updates

Three processes. The *server* is a whole control plane over the embedded store, as `lpmos` runs it,
and the updates are made in it: every one durably stores a whole task document with its inventory,
compared with the revision before. They are made in two ways: by the store's transaction alone, and
by `TaskStore.change`, which reads the document first, as a region in the same process does it for
its agents. The *browsers* are one process with a thousand bare sockets, each of which says what the
dashboard says. This one starts both, and compares.

An update carries the time at which its write was begun; it has arrived when the last of all
browsers has the batch that it is in. So the time includes the store's own (the durable commit is
also given apart), the wait for the next batch, and the browsers' own reading on the same two cores.
CPU is of one core; the first row has the same writes and nobody listening: what is above it is the
cost of the sockets, which is also given for each message. How long the server itself takes, from a
change that its store told of to the last write to a socket, is its own metric
(`lpmos_live_delivery_seconds`): what is beyond that is the store's commit, and the browsers' turn
at the processor. `not all` counts updates that some browser did not get: none may be. Ends with
status 1 where the 99th percentile of the row of transactions is not below its limit.
"""

import asyncio
import base64
import json
import logging
import os
import re
import resource
import select
import socket
import struct
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import quantiles
from typing import NamedTuple

import httpx
import msgspec
import structlog
from bench import report

from lpmos.agent.options import Options
from lpmos.agent.simulation import SimulatedMachine
from lpmos.app import admin
from lpmos.app.control_plane import run_control_plane
from lpmos.app.settings import load
from lpmos.core.clock import utc_now
from lpmos.core.taskstore import Step, TaskStore
from lpmos.model.audit import Actor
from lpmos.model.diskplan import GIB, RootDiskHints, plan_disk
from lpmos.model.inventory import Inventory
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress, StatusChange, Task
from lpmos.store import keys, records
from lpmos.store.api import Compare, Put
from lpmos.store.sqlite import SqliteStore

_DELIVERED = re.compile(r'lpmos_live_delivery_seconds_bucket{le="([^"]+)"} (\S+)')
LIMIT_MS = 50.0
LIMITED = "transaction"
"""The way of writing that the limit is for."""
BROWSERS = 1000
UPDATES_PER_S = 1000
SECONDS = 15.0
WARM_UP_S = 3.0
LAST_WORDS_S = 1.0
METRICS_S = 60.0
TASKS = 1000
WRITERS = 100
BROWSERS_PER_USER = 50
READ_BYTES = 1 << 18
READ_EVERY_S = 0.001
"""The browsers' process looks so often: woken by every single frame it would slow the server, which
has to wake it. It only ever makes an arrival later."""

REGION = Actor(name="region:dc1")

Change = Callable[[Task, Step], Awaitable[None]]
"""How an update is made."""


class Written(NamedTuple):
    """What the server did; times are of the machine's monotonic clock, in nanoseconds."""

    commits: dict[int, int]
    """For each update the time it was begun: the time its commit was known."""
    cpu: float
    seconds: float
    delivered: dict[float, float]
    """How many changes the server itself had brought to all within so many seconds."""


class Arrived(NamedTuple):
    """What the browsers heard."""

    last: dict[int, int]
    """For each update the time at which the last browser had it."""
    copies: dict[int, int]
    """For each update how many browsers had it."""
    frames: int
    frame_bytes: int
    cpu_s: float


class Row(NamedTuple):
    """One line of the table."""

    written_by: str
    browsers: int
    written: Written
    arrived: Arrived


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


# The server


def serve(
    link: Connection, updates_per_s: int, bare: bool, others: int = 0, role: str = "viewer"
) -> None:
    """A control plane; says where it listens, and writes for as many seconds as it is told.

    It has `others` tasks beside those that are updated; the tokens that it gives are of this role.
    """
    logging.disable()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="lpmos-bench-") as directory:
        asyncio.run(_serve(link, Path(directory), updates_per_s, bare, others, role))


async def _serve(
    link: Connection, directory: Path, updates_per_s: int, bare: bool, others: int, role: str
) -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    port = listener.getsockname()[1]
    flags = {
        "state_dir": str(directory),
        "listen_addr": f"fd:{listener.detach()}",
        "rate_limit_address_per_s": "0",  # all browsers come from one address here
    }
    settings = load("control-plane", flags, environment={})
    signer = admin.prepare(directory, None)
    users = range(1 + BROWSERS // BROWSERS_PER_USER)
    tokens = [signer.issue(f"user{n}", role, timedelta(hours=1)) for n in users]
    store = await SqliteStore.open(directory / "store.db")
    await _put_ended(store, others)
    tasks = [_installing(number) for number in range(TASKS)]
    revisions = {
        task.sn: await store.put(keys.task(task.idc, task.sn), records.encode(task))
        for task in tasks
    }
    change = _by_transaction(store, revisions) if bare else _by_task_store(store)
    running = asyncio.create_task(run_control_plane(settings, store, asyncio.Event()))
    link.send((port, tokens))
    metrics = f"http://127.0.0.1:{port}/metrics", tokens[0]
    while (write_s := await asyncio.to_thread(link.recv)) is not None:
        before = await _delivered(*metrics)
        written = await _write(change, tasks, updates_per_s, write_s)
        after = await _delivered(*metrics)
        link.send(written._replace(delivered={le: after[le] - before[le] for le in after}))
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await store.close()


async def _delivered(url: str, token: str) -> dict[float, float]:
    """The server's own histogram of the time from a change that it heard to the last write."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(headers=headers, timeout=METRICS_S) as client:
        text = (await client.get(url)).raise_for_status().text
    return {float(le): float(count) for le, count in _DELIVERED.findall(text)}


async def _put_ended(store: SqliteStore, count: int) -> None:
    """Tasks that nobody changes any more, of machines that are not among those that install."""
    for first in range(0, count, 50):
        ended = [_installing(TASKS + first + number) for number in range(min(50, count - first))]
        await store.txn(
            [],
            [Put(keys.task(task.idc, task.sn), records.encode(_completed(task))) for task in ended],
        )


def _completed(task: Task) -> Task:
    change = StatusChange(status=Status.COMPLETED, timestamp=task.updated_at)
    return msgspec.structs.replace(
        task, status=Status.COMPLETED, status_history=(*task.status_history, change)
    )


def _installing(number: int) -> Task:
    """A task with all that a real one has when its machine installs."""
    sn, mac = f"SN-{number:05d}", f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
    found = SimulatedMachine(Options("", sn=sn, mac=mac, simulate=True)).inventory()
    inventory = msgspec.convert(found, Inventory)
    now = utc_now()
    return Task(
        task_id=f"0b0b6f5e-0000-4000-8000-{number:012d}",
        idc="dc1",
        sn=sn,
        mac=mac,
        os_type="debian",
        os_version="12",
        hostname=sn.lower(),
        status=Status.INSTALLING,
        status_history=(StatusChange(status=Status.INSTALLING, timestamp=now),),
        hardware=inventory,
        plan=plan_disk(inventory, "auto", RootDiskHints(), GIB),
        created_at=now,
        updated_at=now,
        created_by="bench",
    )


async def _write(
    change: Change, tasks: Sequence[Task], updates_per_s: int, seconds: float
) -> Written:
    """So many updates a second, each at its own time whatever the others take."""
    commits: dict[int, int] = {}
    started, cpu = time.monotonic(), _cpu_s()
    count = round(seconds * updates_per_s)

    async def writer(first: int) -> None:
        for number in range(first, count, WRITERS):
            due = started + number / updates_per_s
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            begun = time.monotonic_ns()
            task = tasks[number % len(tasks)]
            percent = 100.0 * number / count
            progress = Progress(
                step="downloading", percent=percent, timestamp=utc_now(), message=str(begun)
            )
            await change(task, _with(progress))
            commits[begun] = time.monotonic_ns()

    async with asyncio.TaskGroup() as group:
        for first in range(WRITERS):
            group.create_task(writer(first))
    took_s = time.monotonic() - started
    return Written(commits, (_cpu_s() - cpu) / took_s, took_s, {})


def _by_task_store(store: SqliteStore) -> Change:
    """As the use cases change a task: read, step, compare-and-swap."""
    changes = TaskStore(store)

    async def change(task: Task, step: Step) -> None:
        await changes.change(task, step, by=REGION)

    return change


def _by_transaction(store: SqliteStore, revisions: dict[str, int]) -> Change:
    """The compare-and-swap alone; the writer remembers what it wrote."""

    async def change(task: Task, step: Step) -> None:
        key = keys.task(task.idc, task.sn)
        compare = [Compare(key, "mod", "=", revisions[task.sn])]
        done = await store.txn(compare, [Put(key, records.encode(step(task)))])
        if not done.succeeded:
            raise RuntimeError("somebody else writes here")
        revisions[task.sn] = done.revision

    return change


def _with(progress: Progress) -> Step:
    return lambda task: msgspec.structs.replace(
        task, progress=(progress,), updated_at=progress.timestamp
    )


# The browsers


def browse(link: Connection, port: int, tokens: Sequence[str], browsers: int) -> None:
    """Connect so many browsers; what comes between two words of the link is what arrived."""
    sockets = [_browser(port, tokens[number // BROWSERS_PER_USER]) for number in range(browsers)]
    link.send("connected")
    link.recv()
    heard = Heard(sockets)
    cpu = _cpu_s()
    heard.until_readable(link.fileno())
    used = _cpu_s() - cpu
    link.send(heard.arrived(used))


class Heard:
    """What the browsers hear: each frame once, with how many had it and when the last."""

    def __init__(self, sockets: Sequence[socket.socket]) -> None:
        self._sockets = {each.fileno(): each for each in sockets}
        self._rest = {number: bytearray() for number in self._sockets}
        self._frames: dict[bytes, list[int]] = {}

    def until_readable(self, link: int) -> None:
        """Read from all sockets until there is something on the link."""
        watched = select.epoll()
        for number in (link, *self._sockets):
            watched.register(number, select.EPOLLIN)
        while True:
            time.sleep(READ_EVERY_S)
            for number, _ in watched.poll(0, len(self._sockets) + 1):
                if number == link:
                    return
                self._read(number)

    def _read(self, number: int) -> None:
        came = self._sockets[number].recv(READ_BYTES)
        if not came:
            raise ConnectionError("a browser was cut off")
        now = time.monotonic_ns()
        for payload in _payloads(self._rest[number], came):
            known = self._frames.get(payload)
            if known is None:
                self._frames[payload] = [now, 1]
            else:
                known[0] = now
                known[1] += 1

    def arrived(self, cpu_s: float) -> Arrived:
        """Each update with the time at which the last browser had it, and in how many it was."""
        last: dict[int, int] = {}
        copies: dict[int, int] = {}
        for payload, (at, count) in self._frames.items():
            for message in json.loads(payload):
                if message["type"] == "progress":
                    begun = int(message["message"])
                    last[begun] = max(at, last.get(begun, 0))
                    copies[begun] = copies.get(begun, 0) + count
        return Arrived(
            last=last,
            copies=copies,
            frames=sum(count for _, count in self._frames.values()),
            frame_bytes=sum(len(frame) * count for frame, (_, count) in self._frames.items()),
            cpu_s=cpu_s,
        )


def _payloads(rest: bytearray, came: bytes) -> list[bytes]:
    """The text frames that are whole now; what is not stays in `rest`."""
    if rest:
        rest += came
        came = bytes(rest)
        rest.clear()
    found, place = [], 0
    while True:
        left = len(came) - place
        if left < 2:
            break
        length, start = came[place + 1], 2
        if length == 126:
            length, start = int.from_bytes(came[place + 2 : place + 4]), 4
        elif length == 127:
            length, start = int.from_bytes(came[place + 2 : place + 10]), 10
        if left < start + length:
            break
        if came[place] == 0x81:  # a ping is not answered here: a run is shorter than its timeout
            found.append(came[place + start : place + start + length])
        place += start + length
    rest += came[place:]
    return found


def _browser(port: int, token: str) -> socket.socket:
    """Connected, authenticated and subscribed, as the dashboard is."""
    browser = socket.create_connection(("127.0.0.1", port))
    key = base64.b64encode(os.urandom(16)).decode()
    browser.sendall(
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
        "Sec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    _read_until(browser, b"\r\n\r\n")
    _say(browser, {"type": "auth", "token": token})
    _read_until(browser, b'"ready"}')
    _say(browser, {"type": "subscribe", "batch": True})
    _read_until(browser, b'"subscribed"')
    return browser


def _read_until(browser: socket.socket, end: bytes) -> None:
    came = b""
    while end not in came:
        part = browser.recv(4096)
        if not part:
            raise ConnectionError(f"the server ended the connection after {came!r}")
        came += part


def _say(browser: socket.socket, message: object) -> None:
    payload = json.dumps(message).encode()
    length = len(payload)
    short = length < 126
    head = bytes((0x81, 0x80 | length)) if short else struct.pack("!BBH", 0x81, 0xFE, length)
    browser.sendall(head + bytes(4) + payload)  # masked with zeros


# The comparison


def measure(browsers: int, updates_per_s: int, seconds: float, *, bare: bool) -> Row:
    """Start both, warm up, write, and see what arrived."""
    link, server = start(serve, updates_per_s, bare)
    port, tokens = link.recv()
    browsers_link, listening = start(browse, port, tokens, browsers)
    browsers_link.recv()
    browsers_link.send("read")
    written = _ask(link, WARM_UP_S)
    written = _ask(link, seconds)
    time.sleep(LAST_WORDS_S)
    browsers_link.send("end")
    arrived = browsers_link.recv()
    link.send(None)
    for process in (server, listening):
        process.join()
    return Row(LIMITED if bare else "task store", browsers, written, arrived)


def start(part: Callable[..., None], *values: object) -> tuple[Connection, BaseProcess]:
    """Start a part in a process of its own; a link to one that dies ends."""
    context = get_context("spawn")
    link, theirs = context.Pipe()
    process = context.Process(target=part, args=(theirs, *values), daemon=True)
    process.start()
    theirs.close()
    return link, process


def _ask(link: Connection, seconds: float) -> Written:
    link.send(seconds)
    written: Written = link.recv()
    return written


def rows_of(row: Row) -> Iterator[report.Row]:
    """The figures of one run; a newer progress of a task may stand for one a moment before."""
    written, arrived = row.written, row.arrived
    store_ms = [(done - begun) / 1e6 for begun, done in written.commits.items()]
    rate = len(written.commits) / written.seconds
    wall_s = written.seconds + WARM_UP_S + LAST_WORDS_S
    of = f"{row.browsers} browsers, written by the {row.written_by}"
    yield report.noted(
        f"CPU of the server, {of}", 100 * written.cpu, "%",
        note=f"{rate:.0f} updates/s, store p99 {quantiles(store_ms, n=100)[98]:.1f} ms",
    )  # fmt: skip
    if not row.browsers:
        return
    late_ms = [
        (arrived.last[begun] - begun) / 1e6 for begun in written.commits if begun in arrived.last
    ]
    cuts = quantiles(late_ms, n=100)
    batches = arrived.frames / row.browsers / wall_s
    kilobytes = arrived.frame_bytes / wall_s / row.browsers / 1000
    busy = 100 * arrived.cpu_s / wall_s
    yield report.noted(f"write to the last of {of}, p50", cuts[49], "ms")
    name = f"write to the last of {of}, p99"
    note = f"{batches:.1f} batches/s, {kilobytes:.0f} kB/s each; browsers take {busy:.0f} % CPU"
    if row.written_by == LIMITED:
        yield report.limited(name, cuts[98], "ms", at_most=LIMIT_MS, note=note)
    else:
        yield report.noted(name, cuts[98], "ms", note=note)
    yield report.noted(
        f"change heard to the server's last write to one of {of}, p99",
        1000 * _quantile(written.delivered, 0.99), "ms",
        note=f"p50 {1000 * _quantile(written.delivered, 0.5):.0f} ms",
    )  # fmt: skip
    incomplete = sum(arrived.copies.get(begun, 0) != row.browsers for begun in written.commits)
    yield report.Row(
        name=f"updates that some of {of} did not get", value=incomplete, bound="none",
        ok=not incomplete,
    )  # fmt: skip


def _quantile(counts: dict[float, float], share: float) -> float:
    """The quantile of a histogram of Prometheus, as `histogram_quantile` has it: seconds."""
    bounds = sorted(counts)
    wanted = share * counts[bounds[-1]]
    lower, below = 0.0, 0.0
    for bound in bounds[:-1]:
        if counts[bound] >= wanted > below:
            return lower + (bound - lower) * (wanted - below) / (counts[bound] - below)
        lower, below = bound, counts[bound]
    return lower


def _message(silent: Row, heard: Row) -> report.Row:
    """What a message to one browser costs the server: what it takes beyond nobody listening."""
    wall_s = heard.written.seconds + WARM_UP_S + LAST_WORDS_S
    messages_per_s = sum(heard.arrived.copies.values()) / wall_s
    frames_per_s = heard.arrived.frames / wall_s
    beyond = heard.written.cpu - silent.written.cpu
    return report.noted(
        f"CPU of a message to one of {heard.browsers} browsers, written by the {heard.written_by}",
        1e6 * beyond / messages_per_s, "us",
        note=f"{messages_per_s:,.0f} messages/s, {1e6 * beyond / frames_per_s:.1f} us a frame",
    )  # fmt: skip


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--browsers", type=int, default=BROWSERS)
    parser.add_argument("--updates", type=int, default=UPDATES_PER_S, help="in a second")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    chosen = report.chosen(parser, {"browsers": 20, "updates": 50, "seconds": 2.0})
    rows: list[report.Row] = []
    for bare in (True, False):
        runs = [
            measure(browsers, chosen.updates, chosen.seconds, bare=bare)
            for browsers in (0, chosen.browsers)
        ]
        for run in runs:
            rows += rows_of(run)
        rows.append(_message(*runs))
    return report.end(rows, chosen)


if __name__ == "__main__":
    sys.exit(main())
