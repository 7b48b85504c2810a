"""What one event of the store costs a control plane, with few and with many machines known.

    python -m bench.events

A mirror and a fleet in this process follow a store that is only what they ask of it; each event is
the progress of one machine's task, of a machine drawn at random. What is counted is the processor
time of this thread from the event to the moment when the fleet shows it, in turns with 100 and with
100,000 machines known. It ends with status 1 where many cost more than the limit.
"""

import asyncio
import gc
import random
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, cast

import msgspec
from bench import known, report

from lpmos.core.fleet import Fleet
from lpmos.model.lifecycle import Status
from lpmos.model.task import Progress
from lpmos.store import keys, records
from lpmos.store.api import KV, Page, Store, WatchBatch, WatchEvent
from lpmos.store.mirror import Mirror

FEW = 100
MACHINES = 100_000
EVENTS = 500
SAME = 1.2
INSTALLS = (Status.INSTALLING,)


class _Fed:
    """The keys of so many machines, and whatever event it is given."""

    def __init__(self, machines: int) -> None:
        self.revision = 3 * machines
        self._machines = machines
        self._events: asyncio.Queue[WatchBatch] = asyncio.Queue()

    async def list(self, _prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        """All keys, a few machines on each page."""
        for first in range(0, self._machines, page):
            numbers = range(first, min(self._machines, first + page))
            kvs = (KV(put.key, put.value, 1, 1, 1) for put in known.puts(numbers, INSTALLS))
            yield Page(tuple(kvs), self.revision)

    async def watch(self, _prefix: str, **_: object) -> AsyncIterator[WatchBatch]:
        """What is given."""
        while True:
            yield await self._events.get()

    async def range(self, _prefix: str, **_: object) -> Page:
        """That it is there."""
        return Page((), self.revision)

    def give(self, key: str, value: bytes) -> int:
        """One event; its revision."""
        self.revision += 1
        event = WatchEvent("put", KV(key, value, 1, self.revision, 2))
        self._events.put_nowait(WatchBatch(self.revision, (event,)))
        return self.revision


class _Following:
    """A control plane's memory of so many machines."""

    def __init__(self, machines: int) -> None:
        self._machines = machines
        self._store = _Fed(machines)
        self._mirror = Mirror(cast(Store, self._store), keys.ROOT)
        self._fleet = Fleet(self._mirror)
        self._draw = random.Random(0)  # noqa: S311 - the same machines in each run
        self._run = asyncio.create_task(self._mirror.run())

    async def ready(self) -> None:
        """Wait until all are known; raises what ends the mirror."""
        listed = asyncio.create_task(self._mirror.wait_ready())
        await asyncio.wait((listed, self._run), return_when=asyncio.FIRST_COMPLETED)
        if self._run.done():
            self._run.result()

    async def timed_us(self, events: int) -> float:
        """The processor time of one of so many events."""
        total_s = 0.0
        for key, value in list(self._changes(events)):
            began_s = time.thread_time()
            await self._mirror.wait_for(self._store.give(key, value))
            total_s += time.thread_time() - began_s
        return total_s / events * 1e6

    async def close(self) -> None:
        """Follow no more."""
        self._run.cancel()
        await asyncio.gather(self._run, return_exceptions=True)

    def _changes(self, count: int) -> Iterator[tuple[str, bytes]]:
        for _ in range(count):
            task, _machine = known.documents(self._draw.randrange(self._machines), INSTALLS)
            percent = self._draw.randrange(100)
            step = Progress(step="extracting", percent=percent, timestamp=task.created_at)
            changed = msgspec.structs.replace(task, progress=(step,))
            yield keys.task(task.idc, task.sn), records.encode(changed)


async def measure(machines: int, events: int, rounds: int) -> list[report.Row]:
    """The row."""
    few, many = _Following(FEW), _Following(machines)
    await few.ready()
    await many.ready()
    gc.freeze()  # as a control plane does when it has settled
    pairs = [(await few.timed_us(events), await many.timed_us(events)) for _ in range(rounds)]
    await few.close()
    await many.close()
    ours, its = statistics.median(b for _, b in pairs), statistics.median(a for a, _ in pairs)
    ratio = statistics.median(b / a for a, b in pairs)
    return [
        report.compared(
            "CPU of an event", ours, "us", (f"with {FEW} machines", its), ratio=ratio,
            at_most=SAME, note=f"{machines:,} machines known",
        )
    ]  # fmt: skip


def main() -> int:
    """Measure and report; 1 where the limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--machines", type=int, default=MACHINES)
    parser.add_argument("--events", type=int, default=EVENTS, help="of each round")
    parser.add_argument("--rounds", type=int, default=9)
    quick: dict[str, Any] = {"machines": 2000, "events": 100, "rounds": 3}
    chosen = report.chosen(parser, quick)
    return report.end(asyncio.run(measure(chosen.machines, chosen.events, chosen.rounds)), chosen)


if __name__ == "__main__":
    sys.exit(main())
