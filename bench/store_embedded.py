"""The embedded store against bare SQLite doing the same durable work in the same run.

    python -m bench.store_embedded

The peer writes the same rows of a plain table in one thread, as many in each durable commit as
there are tasks here. The ratio is what is left of its rate with revisions, history, compares,
watches and the event loop on top. Both take turns, and the median ratio of the rounds counts. Ends
with status 1 where the compare-and-swaps of 64 tasks are below their limit.
"""

import asyncio
import sqlite3
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from statistics import median, quantiles
from typing import NamedTuple

from bench import report

from lpmos.store.sqlite import SqliteStore

WRITES = 20_000
ROUNDS = 5
TASKS = (1, 64, 512)
LIMITED_TASKS = 64
RATIO_LIMIT = 0.12
KEYS_PER_TASK = 20
VALUE = b"x" * 500
LATENCIES = 500

Write = Callable[[str, int], Awaitable[int]]


def bare_rate(directory: Path, group: int, writes: int) -> float:
    """Rows a second into a plain table, `group` rows in each durable commit."""
    connection = sqlite3.connect(directory / f"bare{group}.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE kv (key BLOB PRIMARY KEY, value BLOB)")
    keys = [b"/os/%d/%d" % (task, n) for n in range(KEYS_PER_TASK) for task in range(group)]
    started = time.perf_counter()
    for first in range(0, writes, group):
        connection.execute("BEGIN IMMEDIATE")
        for number in range(first, first + group):
            row = (keys[number % len(keys)], VALUE)
            connection.execute("INSERT OR REPLACE INTO kv VALUES (?, ?)", row)
        connection.execute("COMMIT")
    rate = writes / (time.perf_counter() - started)
    connection.close()
    return rate


async def store_rate(write: Write, tasks: int, writes: int) -> float:
    """Writes a second by so many tasks at once."""

    async def one(task: int) -> None:
        revisions = dict.fromkeys((f"/os/{task}/{n}" for n in range(KEYS_PER_TASK)), 0)
        keys = list(revisions)
        for number in range(writes // tasks):
            key = keys[number % KEYS_PER_TASK]
            revisions[key] = await write(key, revisions[key])

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for task in range(tasks):
            group.create_task(one(task))
    return writes / (time.perf_counter() - started)


async def watch_latencies(store: SqliteStore) -> list[float]:
    """Milliseconds from asking for a put to its event, which comes after the durable commit."""
    revision = (await store.status()).revision
    watch = store.watch("/os/watched", from_revision=revision + 1)
    found = []
    coming = asyncio.ensure_future(anext(watch))
    for _ in range(LATENCIES):
        await asyncio.sleep(0)
        started = time.perf_counter()
        writing = asyncio.create_task(store.put("/os/watched", VALUE))
        await coming
        found.append((time.perf_counter() - started) * 1000)
        await writing
        coming = asyncio.ensure_future(anext(watch))
    coming.cancel()
    await asyncio.gather(coming, return_exceptions=True)
    return found


class Round(NamedTuple):
    """Writes a second of one round."""

    bare: float
    put: float
    cas: float


async def one_round(directory: Path, tasks: int, writes: int) -> Round:
    """The peer, then puts, then compare-and-swaps, each on an empty store."""
    writes = writes if tasks > 1 else writes // 10
    writes -= writes % tasks
    bare = await asyncio.to_thread(bare_rate, directory, tasks, writes)
    rates = []
    for kind in ("put", "cas"):
        store = await SqliteStore.open(directory / f"{kind}.db")
        rates.append(await store_rate(_writes(store, kind), tasks, writes))
        await store.close()
    return Round(bare, *rates)


async def measure(rounds: int, writes: int) -> list[report.Row]:
    """Puts and compare-and-swaps for each number of tasks, then the watch latency."""
    rows: list[report.Row] = []
    for tasks in TASKS:
        done = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="lpmos-bench-") as directory:
                done.append(await one_round(Path(directory), tasks, writes))
        rows += _rows(tasks, done)
    with tempfile.TemporaryDirectory(prefix="lpmos-bench-") as directory:
        store = await SqliteStore.open(Path(directory) / "watch.db")
        latencies = await watch_latencies(store)
        await store.close()
    return [
        *rows,
        report.noted("put to watch event, p50", median(latencies), "ms"),
        report.noted("put to watch event, p99", quantiles(latencies, n=100)[98], "ms"),
    ]


def _rows(tasks: int, rounds: list[Round]) -> Iterator[report.Row]:
    bare, put, cas = (median(rates) for rates in zip(*rounds, strict=True))
    peer = ("bare SQLite", bare)
    put_ratio = median(each.put / each.bare for each in rounds)
    cas_ratio = median(each.cas / each.bare for each in rounds)
    limit = RATIO_LIMIT if tasks == LIMITED_TASKS else None
    yield report.compared(f"puts of {tasks} tasks", put, "/s", peer, ratio=put_ratio)
    yield report.compared(
        f"compare-and-swaps of {tasks} tasks", cas, "/s", peer, ratio=cas_ratio, at_least=limit
    )


def _writes(store: SqliteStore, kind: str) -> Write:
    if kind == "cas":
        return lambda key, revision: store.cas(key, revision, VALUE)
    return lambda key, _: store.put(key, VALUE)


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--writes", type=int, default=WRITES, help="in each round")
    chosen = report.chosen(parser, {"rounds": 1, "writes": 1024})
    return report.end(asyncio.run(measure(chosen.rounds, chosen.writes)), chosen)


if __name__ == "__main__":
    sys.exit(main())
