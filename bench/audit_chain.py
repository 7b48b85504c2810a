"""How fast the elected control plane chains what changes leave behind, on both stores.

    python -m bench.audit_chain

The peer is the change itself: `TASKS` tasks are created by `WRITERS` at once, each with its event
in its transaction; then their events are chained, and the whole chain is verified. Ends with status
1 where events are chained more slowly than tasks can be created, or the chain does not hold.
"""

import asyncio
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import structlog
from bench import report

from lpmos.core.audit.chain import AuditChain
from lpmos.core.audit.reader import AuditReader
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.model.auditcheck import ChainCheck
from lpmos.store import keys, records
from lpmos.store.api import Store
from lpmos.store.etcd import EtcdStore
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import actor, make_capabilities, make_spec
from tests.support.etcd import EtcdServer
from tests.support.polling import until

TASKS = 10_000
WRITERS = 50


class Rates(NamedTuple):
    """What was done in a second, and how many breaks the chain has."""

    created: float
    chained: float
    verified: float
    breaks: int


async def _create(tasks: Tasks, numbers: Iterator[int]) -> None:
    for number in numbers:
        mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
        await tasks.create(make_spec(sn=f"SN-{number}", mac=mac), by=actor())


async def _verify(store: Store) -> int:
    check, breaks, start = ChainCheck(), 0, 1
    while start:
        page = await AuditReader(store).chain(from_seq=start, limit=1000)
        breaks += len(list(check.page(page)))
        start = page.next or 0
    return breaks + len(list(check.end()))


async def measure(store: Store, count: int) -> Rates:
    """Create, chain and verify over one store."""
    await store.put(keys.capabilities("dc1"), records.encode(make_capabilities()))
    mirror = Mirror(store, keys.ROOT)
    fleet = Fleet(mirror)
    chain = AuditChain(store, mirror, utc_now)
    tasks = Tasks(store, fleet, utc_now)
    mirroring = asyncio.create_task(mirror.run())
    await mirror.wait_ready()

    async def all_heard() -> bool:
        return chain.pending == count

    async def all_chained() -> bool:
        return chain.pending == 0

    moments = [time.perf_counter()]
    numbers = iter(range(count))
    await asyncio.gather(*(_create(tasks, numbers) for _ in range(WRITERS)))
    moments.append(time.perf_counter())
    await until(all_heard)
    leadership = await store.elect("bench", "bench", 10)
    moments.append(time.perf_counter())
    leading = asyncio.create_task(chain.lead(leadership))
    await until(all_chained)
    moments.append(time.perf_counter())
    breaks = await _verify(store)
    moments.append(time.perf_counter())
    for task in (leading, mirroring):
        task.cancel()
    await asyncio.gather(leading, mirroring, return_exceptions=True)
    created_s, _, chained_s, verified_s = (b - a for a, b in pairwise(moments))
    return Rates(count / created_s, count / chained_s, count / verified_s, breaks)


async def _on_both(count: int) -> list[report.Row]:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    with tempfile.TemporaryDirectory() as directory:
        embedded = await SqliteStore.open(Path(directory) / "store.db")
        found = {"embedded": await measure(embedded, count)}
        await embedded.close()
        async with EtcdServer() as server:
            etcd = await EtcdStore.connect([server.endpoint])
            found["etcd"] = await measure(etcd, count)
            await etcd.close()
    return [row for name, rates in found.items() for row in _rows(name, rates)]


def _rows(name: str, rates: Rates) -> Iterator[report.Row]:
    created = ("tasks created", rates.created)
    yield report.compared(f"events chained, {name}", rates.chained, "/s", created, at_least=1)
    yield report.noted(f"events verified, {name}", rates.verified, "/s")
    yield report.Row(
        name=f"breaks in the chain, {name}", value=rates.breaks, bound="none", ok=not rates.breaks
    )


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    chosen = report.chosen(parser, {"tasks": 200})
    return report.end(asyncio.run(_on_both(chosen.tasks)), chosen)


if __name__ == "__main__":
    sys.exit(main())
