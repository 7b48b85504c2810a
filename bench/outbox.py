"""The outbox: how fast words are kept, and how fast they are handed in, against the bare store.

    python -m bench.outbox

Handing in: 10,000 hardware reports that were kept while the store was away, one for each machine,
into an embedded store. The peer is the same store doing the bare transaction of such a report in
the same run: the reads, the compares and the same bytes, without the rule, the mark and the outbox.
Answering while the store is there: progress of machines through the use cases that can keep words,
against the same use cases that cannot.
Keeping: words of 64, 512 and 1,000 machines at once, each acknowledged when it is on the disk; the
peer is bare SQLite with one durable commit for each word. Ends with status 1 where the hand-in is
below its limit.
"""

import asyncio
import sqlite3
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import msgspec
import structlog
from bench import report

from lpmos.core.agentrun import AgentRun
from lpmos.core.agents import Agents
from lpmos.core.clock import utc_now
from lpmos.core.kept import Reported
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Disk, Inventory, Nic
from lpmos.model.inventory import Memory as Ram
from lpmos.model.lifecycle import Status
from lpmos.model.machine import ServerEntry
from lpmos.model.task import Intent, Progress, StatusChange, Task
from lpmos.region.memory import Memory
from lpmos.region.offline import Offline, offline
from lpmos.region.outbox import Outbox
from lpmos.store import keys, records
from lpmos.store.api import Compare, Put, Store
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore

REPORTS = 10_000
MACHINES_AT_ONCE = (64, 512, 1000)
WORDS = 20_000
BARE_WORDS = 2_000
AT_ONCE = 32
ANSWERED_MACHINES = 100
ANSWER_ROUNDS = 5
RATIO_LIMIT = 0.15
KEPT_RATIO_LIMIT = 1.0
ANSWER_RATIO_LIMIT = 0.7
IDC = "bench"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def _sn(number: int) -> str:
    return f"SN-{number:05d}"


def _mac(number: int) -> str:
    return f"52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def _task(number: int) -> Task:
    return Task(
        task_id=f"00000000-0000-4000-8000-{number:012d}",
        idc=IDC,
        sn=_sn(number),
        mac=_mac(number),
        os_type="debian",
        os_version="12",
        hostname=f"machine-{number}",
        status=Status.BOOTING,
        status_history=(StatusChange(status=Status.BOOTING, timestamp=NOW),),
        created_at=NOW,
        updated_at=NOW,
        created_by="bench",
    )


def _inventory(number: int) -> Inventory:
    """A server with 16 disks."""
    disks = tuple(
        Disk(device=f"/dev/sd{chr(97 + n)}", size_bytes=960 * GIB, kind="ssd", serial=f"D{n:04d}")
        for n in range(16)
    )
    nic = Nic(interface="eth0", mac=_mac(number), booted=True)
    memory = Ram(total_bytes=256 * GIB)
    return Inventory(collected_at=NOW, boot_mode="uefi", memory=memory, disks=disks, nics=(nic,))


async def _seed(store: Store, reports: int) -> None:
    for first in range(0, reports, 50):
        tasks = [_task(number) for number in range(first, min(reports, first + 50))]
        puts = [Put(keys.task(IDC, task.sn), records.encode(task)) for task in tasks]
        await store.txn((), puts)


async def _fill(directory: Path, reports: int) -> None:
    """The outbox of a region that heard all these reports while the store was away."""
    box = await Outbox.open(directory / "outbox.db")

    async def keep(number: int) -> None:
        word = Reported(
            at=utc_now(),
            mac=_mac(number),
            agent_id=f"{number:032x}",
            task_id=_task(number).task_id,
            sn=_sn(number),
            said_sn=_sn(number),
            inventory=_inventory(number),
            required_bytes=GIB,
        )
        await box.append(_sn(number), word.at, msgspec.json.encode(word))

    await asyncio.gather(*(keep(number) for number in range(reports)))
    await box.close()


async def hand_in(directory: Path, reports: int) -> tuple[float, float]:
    """Kept reports a second, from the store's return to the empty outbox; and seconds to start."""
    store = await SqliteStore.open(directory / "store.db")
    await _seed(store, reports)
    await _fill(directory, reports)
    mirror = Mirror(store, keys.idc_prefix(IDC))
    await _remember(store, directory)
    began = time.perf_counter()
    async with offline(
        store,
        mirror,
        utc_now,
        idc=IDC,
        unknown=UnknownMachines.DISCOVER,
        state_dir=directory,
        unfenced=store,
    ) as kept:
        started = time.perf_counter()
        running = [asyncio.create_task(mirror.run()), asyncio.create_task(kept.run())]
        while kept.agents.outbox_state.waiting:  # noqa: ASYNC110 - a bench, not a service
            await asyncio.sleep(0.01)
        rate = reports / (time.perf_counter() - started)
        await _check(store, kept, reports)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    await store.close()
    return rate, started - began


async def _remember(store: Store, directory: Path) -> None:
    """Let a region write down what it knows."""
    mirror = Mirror(store, keys.idc_prefix(IDC))
    memory = Memory(directory / "memory.db", mirror)
    await memory.restore()
    following = asyncio.create_task(mirror.run())
    await mirror.wait_ready()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    await memory.flush()


async def _check(store: Store, kept: Offline, reports: int) -> None:
    kv = await store.get(keys.task(IDC, _sn(reports - 1)))
    assert kv is not None
    assert records.decode(kv, Task).status is Status.PENDING_APPROVAL
    assert kept.agents.outbox_state.refused == 0


async def bare_rate(directory: Path, reports: int) -> float:
    """The transactions of such reports a second, with nothing around them."""
    store = await SqliteStore.open(directory / "store.db")
    await _seed(store, reports)
    numbers = iter(range(reports))

    async def work() -> None:
        for number in numbers:
            await _bare(store, number)

    started = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    rate = reports / (time.perf_counter() - started)
    await store.close()
    return rate


async def _bare(store: Store, number: int) -> None:
    """Task with the hardware, machine, server's entry and event in one transaction."""
    sn, inventory = _sn(number), _inventory(number)
    key, meta, server = keys.task(IDC, sn), keys.meta(IDC, sn), keys.server(IDC, sn)
    kv = await store.get(key)
    await store.get(server)
    await store.get(meta)
    assert kv is not None
    task = records.decode(kv, Task)
    status = Status.PENDING_APPROVAL
    written = records.encode(msgspec.structs.replace(task, status=status, hardware=inventory))
    entry = ServerEntry(sn=sn, status=status.value, mac=task.mac, added_at=NOW)
    event = msgspec.json.encode({"task": task.task_id, "status": status.value})
    await store.txn(
        [Compare(key, "mod", "=", kv.mod_revision), Compare(meta, "mod", "=", 0)],
        [
            Put(key, written),
            Put(meta, msgspec.json.encode(inventory)),
            Put(server, records.encode(entry)),
            Put(keys.event(f"{number:020d}"), event),
        ],
    )


async def answer_rates(directory: Path) -> tuple[float, float]:
    """Progress calls a second with the store there: bare use cases, and those that can keep."""
    store = await SqliteStore.open(directory / "store.db")
    mirror = Mirror(store, keys.idc_prefix(IDC))
    for number in range(ANSWERED_MACHINES):
        intent = Intent(intent_id="i", claimed_by=f"{number:032x}")
        task = msgspec.structs.replace(_task(number), status=Status.INSTALLING, intent=intent)
        await store.put(keys.task(IDC, task.sn), records.encode(task))
    unknown = UnknownMachines.DISCOVER
    async with offline(
        store, mirror, utc_now, idc=IDC, unknown=unknown, state_dir=directory, unfenced=store
    ) as kept:
        running = [asyncio.create_task(mirror.run()), asyncio.create_task(kept.run())]
        await mirror.wait_ready()
        plain = Agents(store, kept.fleet, utc_now, idc=IDC, unknown=unknown)
        rates: dict[int, list[float]] = {0: [], 1: []}
        for turn in range(2 * ANSWER_ROUNDS):
            rates[turn % 2].append(await _answered((plain, kept.agents)[turn % 2]))
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)
    await store.close()
    return median(rates[0]), median(rates[1])


async def _answered(agents: Agents) -> float:
    async def say(number: int) -> None:
        run = AgentRun(mac=_mac(number), agent_id=f"{number:032x}")
        for percent in range(20, 30):
            word = Progress(step="downloading", percent=percent, timestamp=utc_now())
            await agents.progress(run, _task(number).task_id, word, ["[INFO] a line"])

    started = time.perf_counter()
    await asyncio.gather(*(say(number) for number in range(ANSWERED_MACHINES)))
    return 10 * ANSWERED_MACHINES / (time.perf_counter() - started)


async def keep_rate(directory: Path, machines: int, words: int) -> tuple[float, int]:
    """Words a second that are acknowledged, and how many shared a commit."""
    box = await Outbox.open(directory / f"{machines}.db")
    body = b"x" * 400

    async def say(lane: str) -> None:
        seq: int | None = None
        for _ in range(words // machines):  # progress: each word takes the place of the last
            seq = await box.append(lane, NOW, body, replaces=seq)

    started = time.perf_counter()
    await asyncio.gather(*(say(f"m{number}") for number in range(machines)))
    rate = (words // machines) * machines / (time.perf_counter() - started)
    shared = (words // machines) * machines // box.commits
    await box.close()
    return rate, shared


def one_by_one_rate(directory: Path) -> float:
    """Words a second with a durable commit for each."""
    connection = sqlite3.connect(directory / "bare.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE words (seq INTEGER PRIMARY KEY AUTOINCREMENT, body BLOB)")
    started = time.perf_counter()
    for _ in range(BARE_WORDS):
        connection.execute("INSERT INTO words (body) VALUES (?)", (b"x" * 400,))
    rate = BARE_WORDS / (time.perf_counter() - started)
    connection.close()
    return rate


async def measure(reports: int, words: int) -> list[report.Row]:
    """All rows: keeping, answering, handing in."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    rows = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        single = one_by_one_rate(directory)
        for machines in MACHINES_AT_ONCE:
            rate, shared = await keep_rate(directory, machines, words)
            rows.append(
                report.compared(
                    f"words kept, {machines} machines at once", rate, "/s",
                    ("one durable commit each", single), at_least=KEPT_RATIO_LIMIT,
                    note=f"{shared} to a commit",
                )
            )  # fmt: skip
        for part in ("bare", "kept", "answered"):
            (directory / part).mkdir()
        plain, able = await answer_rates(directory / "answered")
        bare = await bare_rate(directory / "bare", reports)
        handed, started_s = await hand_in(directory / "kept", reports)
    return [
        *rows,
        report.compared(
            "progress answered with the store there", able, "/s",
            ("use cases that cannot keep", plain), at_least=ANSWER_RATIO_LIMIT,
        ),
        report.compared(
            "hand-in of kept reports", handed, "/s", ("bare transactions", bare),
            at_least=RATIO_LIMIT, note=f"{reports:,} reports in {reports / handed:.1f} s",
        ),
        report.noted("start of a region with words that wait", started_s, "s"),
    ]  # fmt: skip


def main() -> int:
    """Measure and report; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--reports", type=int, default=REPORTS)
    parser.add_argument("--words", type=int, default=WORDS)
    chosen = report.chosen(parser, {"reports": 200, "words": 2000})
    return report.end(asyncio.run(measure(chosen.reports, chosen.words)), chosen)


if __name__ == "__main__":
    sys.exit(main())
