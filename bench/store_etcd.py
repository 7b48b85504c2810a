"""How fast the etcd backend is: against the bare gRPC call on the same etcd, in the same run.

`python -m bench.store_etcd` starts an etcd of its own, prints a table and ends with status 1 where
the ratio of compare-and-swaps is below its limit. The bare call is the least that a client can do:
one message, made before and only changed, sent over a plain channel, its answer not decoded into
anything. Rounds of both alternate, so that a busy machine slows both, and the median ratio counts.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import grpc.aio
from bench import report

from lpmos.store.etcd import EtcdStore, wire
from tests.support.etcd import EtcdServer

RATIO_LIMIT = 0.7
VALUE = b"v" * 512
WARM_UP_S = 0.5

# Writes one key again and again until the time is over; returns how often.
Worker = Callable[[str, float], Awaitable[int]]


async def _bare_worker(txn: Callable[..., Awaitable[wire.Message]], key: str, end: float) -> int:
    request = wire.TXN.request()
    compare = request.compare.add()
    compare.target = wire.COMPARE_TARGET["mod"]
    compare.key = key.encode()
    compare.mod_revision = 0
    put = request.success.add().request_put
    put.key = key.encode()
    put.value = VALUE
    done = 0
    while time.monotonic() < end:
        answer = await txn(request)
        assert answer.succeeded
        compare.mod_revision = answer.header.revision
        done += 1
    return done


async def _cas_worker(store: EtcdStore, key: str, end: float) -> int:
    revision = done = 0
    while time.monotonic() < end:
        revision = await store.cas(key, revision, VALUE)
        done += 1
    return done


async def _put_worker(store: EtcdStore, key: str, end: float) -> int:
    done = 0
    while time.monotonic() < end:
        await store.put(key, VALUE)
        done += 1
    return done


class Rate(NamedTuple):
    """How often a worker's call was done, and what it cost this process."""

    per_s: float
    cpu_us: float


async def _rate(worker: Worker, name: str, tasks: int, seconds: float) -> Rate:
    begin, cpu_begin = time.monotonic(), time.process_time()
    done = await asyncio.gather(
        *(worker(f"/bench/{name}/{task}", begin + seconds) for task in range(tasks))
    )
    cpu_s = time.process_time() - cpu_begin
    return Rate(sum(done) / (time.monotonic() - begin), cpu_s / sum(done) * 1e6)


async def _watch_latency_ms(store: EtcdStore, changes: int = 500) -> list[float]:
    """From just before a put to its event, for one change at a time."""
    first = (await store.status()).revision + 1
    batches = store.watch("/latency/", from_revision=first)
    latencies = []
    for number in range(changes):
        begin = time.perf_counter()
        put = asyncio.create_task(store.put(f"/latency/{number}", VALUE))
        await anext(batches)
        latencies.append((time.perf_counter() - begin) * 1e3)
        await put
    return latencies


async def _measure(tasks: int, rounds: int, seconds: float) -> list[report.Row]:
    async with EtcdServer() as server:
        store = await EtcdStore.connect([server.endpoint])
        async with grpc.aio.insecure_channel(urlsplit(server.endpoint).netloc) as channel:
            txn = channel.unary_unary(
                wire.TXN.path,
                request_serializer=wire.TXN.request.SerializeToString,
                response_deserializer=wire.TXN.response.FromString,
            )

            async def bare(key: str, end: float) -> int:
                return await _bare_worker(txn, key, end)

            async def cas(key: str, end: float) -> int:
                return await _cas_worker(store, key, end)

            async def put(key: str, end: float) -> int:
                return await _put_worker(store, key, end)

            for name, worker in (("warm-bare", bare), ("warm-cas", cas)):
                await _rate(worker, name, tasks, WARM_UP_S)
            pairs = []
            for number in range(rounds):
                bare_rate = await _rate(bare, f"bare-{number}", tasks, seconds)
                pairs.append((await _rate(cas, f"cas-{number}", tasks, seconds), bare_rate))
            puts = await _rate(put, "put", tasks, seconds)
        latencies = statistics.quantiles(await _watch_latency_ms(store), n=100)
        await store.close()
    return [*_rows(pairs), report.noted("puts", puts.per_s, "/s"), *_latency_rows(latencies)]


def _rows(pairs: list[tuple[Rate, Rate]]) -> Iterator[report.Row]:
    ours, its = zip(*pairs, strict=True)
    peer = ("bare gRPC call", statistics.median(rate.per_s for rate in its))
    yield report.compared(
        "compare-and-swaps", statistics.median(rate.per_s for rate in ours), "/s", peer,
        ratio=statistics.median(our.per_s / bare.per_s for our, bare in pairs),
        at_least=RATIO_LIMIT,
    )  # fmt: skip
    cost = ("bare gRPC call", statistics.median(rate.cpu_us for rate in its))
    yield report.compared(
        "CPU of a compare-and-swap", statistics.median(rate.cpu_us for rate in ours), "us", cost,
        less_is_better=True,
    )  # fmt: skip


def _latency_rows(cuts: list[float]) -> Iterator[report.Row]:
    yield report.noted("watch latency, put included, p50", cuts[49], "ms")
    yield report.noted("watch latency, put included, p99", cuts[98], "ms")


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--tasks", type=int, default=64, help="calls under way at once")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.7, help="length of each half round")
    chosen = report.chosen(parser, {"rounds": 2, "seconds": 0.2})
    rows = asyncio.run(_measure(chosen.tasks, chosen.rounds, chosen.seconds))
    return report.end(rows, chosen)


if __name__ == "__main__":
    sys.exit(main())
