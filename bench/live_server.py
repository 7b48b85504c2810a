"""The server's part of `bench.live_updates`: a control plane in which tasks are updated.

It is a whole one over the embedded store, as `lpmos` runs it, in a process of its own. Every update
durably stores a whole task document with its inventory, compared with the revision before, and
carries the time at which it was begun in its progress message.
"""

import asyncio
import contextlib
import logging
import re
import socket
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import httpx
import msgspec
import structlog
from bench.parts import received

from lpmos.agent.options import Options
from lpmos.agent.simulation import SimulatedMachine
from lpmos.app import admin
from lpmos.app.control_plane import run_control_plane
from lpmos.app.run import TURN_S
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

TASKS = 1000
WRITERS = 100
TOKENS = 41
"""So many users listen at most; one may have 100 connections, and all together 2,000."""
METRICS_S = 60.0
REGION = Actor(name="region:dc1")

Change = Callable[[Task, Step], Awaitable[None]]
"""How an update is made."""

_DELIVERED = re.compile(r'lpmos_live_delivery_seconds_bucket{le="([^"]+)"} (\S+)')


class Commit(NamedTuple):
    """An update that is in the store."""

    task_id: str
    known_ns: int
    """When who wrote it knew, on the machine's monotonic clock."""


class Written(NamedTuple):
    """What the server did."""

    commits: dict[int, Commit]
    """By the time at which each was begun, on the machine's monotonic clock in nanoseconds."""
    cpu_s: float
    loop_cpu_s: float
    """Of it the event loop's; the rest is that of the store's threads."""
    seconds: float
    delivered: dict[float, float]
    """How many changes the server itself had brought to all within so many seconds."""


def serve(
    link: Connection, updates_per_s: int, bare: bool, others: int = 0, role: str = "viewer"
) -> None:
    """A control plane until it is interrupted: says where it listens, writes as long as it is told.

    It has `others` tasks beside those that are updated; the tokens that it gives are of this role.
    """
    logging.disable()
    sys.setswitchinterval(TURN_S)
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
    tokens = [signer.issue(f"user{n}", role, timedelta(hours=1)) for n in range(TOKENS)]
    async with contextlib.AsyncExitStack() as at_end:
        store = await SqliteStore.open(directory / "store.db")
        at_end.push_async_callback(store.close)
        await _put_ended(store, others)
        tasks = [_installing(number) for number in range(TASKS)]
        revisions = {
            task.sn: await store.put(keys.task(task.idc, task.sn), records.encode(task))
            for task in tasks
        }
        change = _by_transaction(store, revisions) if bare else _by_task_store(store)
        group = await at_end.enter_async_context(asyncio.TaskGroup())
        group.create_task(run_control_plane(settings, store, asyncio.Event()))
        link.send((port, tokens))
        metrics = f"http://127.0.0.1:{port}/metrics", tokens[0]
        while True:
            write_s = await received(link)
            before = await _delivered(*metrics)
            written = await _write(change, tasks, updates_per_s, write_s)
            after = await _delivered(*metrics)
            link.send(written._replace(delivered={le: after[le] - before[le] for le in after}))


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
    commits: dict[int, Commit] = {}
    started, cpu, loop_cpu = time.monotonic(), time.process_time(), time.thread_time()
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
            commits[begun] = Commit(task.task_id, time.monotonic_ns())

    async with asyncio.TaskGroup() as group:
        for first in range(WRITERS):
            group.create_task(writer(first))
    return Written(
        commits,
        cpu_s=time.process_time() - cpu,
        loop_cpu_s=time.thread_time() - loop_cpu,
        seconds=time.monotonic() - started,
        delivered={},
    )


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
