"""`lpmos migrate` as a process, on both stores: killed in the middle, again, and what it says."""

import asyncio
import contextlib
import json
import signal
import sqlite3
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lpmos.core.audit.chain import AuditChain
from lpmos.core.audit.reader import AuditReader
from lpmos.core.migration.writer import ACTION
from lpmos.model.auditcheck import ChainCheck
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import Store
from lpmos.store.etcd import EtcdStore
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.etcd import EtcdServer
from tests.support.old_layouts import make

LPMOS = Path(sys.executable).with_name("lpmos")
TIMEOUT_S = 60
POLL_S = 0.005
TASKS = 1000
NOTES = f"{keys.MIGRATED}tasks/"


class Place(NamedTuple):
    """Where a store is: for the command, for a test that opens it, and how many tasks are over."""

    flags: tuple[str, ...]
    open: Callable[[], Awaitable[Store]]
    carried: Callable[[], Awaitable[int]]


@pytest.fixture(params=["sqlite", "etcd"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    """A store of its own; the embedded one is closed whenever the command runs."""
    if request.param == "sqlite":
        file = tmp_path / "store.db"

        async def count_rows() -> int:
            return await asyncio.to_thread(_rows, file)

        yield Place(("--state-dir", str(tmp_path)), lambda: SqliteStore.open(file), count_rows)
        return
    async with EtcdServer() as server, contextlib.AsyncExitStack() as stack:
        watching = await EtcdStore.connect([server.endpoint])
        stack.push_async_callback(watching.close)

        async def count_keys() -> int:
            return len((await watching.range(NOTES, keys_only=True)).kvs)

        yield Place(
            ("--etcd-endpoints", server.endpoint),
            lambda: EtcdStore.connect([server.endpoint]),
            count_keys,
        )


def _rows(file: Path) -> int:
    with contextlib.closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        query = "SELECT count(*) FROM live WHERE key >= ? AND key < ?"
        return int(
            database.execute(query, (NOTES.encode(), NOTES.encode() + b"\xff")).fetchone()[0]
        )


async def start(place: Place, *words: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        str(LPMOS), "migrate", *place.flags, *words,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


async def run(place: Place, *words: str) -> tuple[int, Any]:
    """The exit code of the command, and the report that it prints as JSON."""
    process = await start(place, "--json", *words)
    async with asyncio.timeout(TIMEOUT_S):
        out, error = await process.communicate()
    assert process.returncode is not None
    return process.returncode, json.loads(out) if out else error.decode()


@contextlib.asynccontextmanager
async def opened(place: Place) -> AsyncIterator[Store]:
    store = await place.open()
    try:
        yield store
    finally:
        await store.close()


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_migration_killed_in_the_middle_goes_on_and_carries_each_task_once(
    place: Place, how: signal.Signals
) -> None:
    old = make("v2", TASKS)
    async with opened(place) as store:
        await old.put_into(store)
    for share in (0.2, 0.6):
        process = await start(place)
        async with asyncio.timeout(TIMEOUT_S):
            while await place.carried() < share * TASKS:
                assert process.returncode is None
                await asyncio.sleep(POLL_S)
        process.send_signal(how)
        await process.communicate()
        assert process.returncode in (-signal.SIGKILL, 130)
    before = await place.carried()
    assert 0 < before < len(old.good)
    code, report = await run(place)
    assert (code, report["verified"]) == (1, True)
    assert (report["already"], report["migrated"]) == (before, len(old.good) - before)
    async with opened(place) as store:
        events = (await store.range(keys.EVENTS, keys_only=True)).kvs
        assert len(events) == len(old.good)
        tasks = [kv async for page in store.list("/os/dc") for kv in page.kvs]
        ids = [records.decode(kv, Task).task_id for kv in tasks if _is_task(kv.key)]
    assert sorted(ids) == sorted(old.good)


def _is_task(key: str) -> bool:
    name = keys.parse(key)
    return name is not None and name.kind in ("task", "history")


async def test_migrate_command_says_what_it_did_and_ends_with_its_code(
    place: Place, tmp_path: Path
) -> None:
    async with opened(place) as store:
        await make("list", 60).put_into(store)
    file = tmp_path / "report.json"
    code, dry = await run(place, "--dry-run", "--report", str(file))
    assert (code, dry["dry_run"], await place.carried()) == (1, True, 0)
    assert json.loads(file.read_text()) == dry
    process = await start(place)
    out, _ = await process.communicate()
    assert process.returncode == 1
    for word in (b"carried over now", b"by status", b"damaged", b"verified"):
        assert word in out
    code, refused = await run(place, "--delete-old")
    assert (code, "add --yes" in refused) == (2, True)
    code, report = await run(place, "--delete-old", "--yes")
    assert (code, report["verified"]) == (1, True) and report["deleted_keys"] > 0


async def test_migrate_command_with_nothing_wrong_ends_with_0(place: Place) -> None:
    async with opened(place) as store:
        await make("v2.1", 20, damaged=False).put_into(store)
        for kv in (await store.range("/os/unmatched_reports/")).kvs:
            await store.delete(kv.key)
    assert (await run(place))[0] == 0


async def test_migrate_command_that_finds_v3_tampered_with_ends_with_5(place: Place) -> None:
    old = make("v2.1", 20, damaged=False)
    async with opened(place) as store:
        await old.put_into(store)
    await run(place)
    done = next(task for task in old.good.values() if task.status == "completed")
    async with opened(place) as store:
        kv = await store.get(keys.task(done.idc, f"mac-{done.mac.replace(':', '')}"))
        assert kv is not None
        await store.put(kv.key, kv.value.replace(b'"ubuntu"', b'"gentoo"', 1))
    code, report = await run(place, "--delete-old", "--yes")
    assert (code, report["deleted_keys"]) == (5, 0)
    assert "os_type" in next(
        each["reason"] for each in report["findings"] if each["kind"] == "differs"
    )


async def test_migration_is_in_an_audit_log_that_verifies(place: Place) -> None:
    old = make("v1", 100, damaged=False)
    async with opened(place) as store:
        await old.put_into(store)
    await run(place)
    async with opened(place) as store:
        mirror = Mirror(store, keys.ROOT)
        chain = AuditChain(store, mirror, lambda: datetime.now(UTC))
        async with asyncio.timeout(TIMEOUT_S):
            leadership = await store.elect("control-plane", "test", 10)
            running = [asyncio.create_task(mirror.run()),
                       asyncio.create_task(chain.lead(leadership))]  # fmt: skip
            await mirror.wait_ready()
            while chain.pending:  # noqa: ASYNC110 - the chain has no event for it
                await asyncio.sleep(POLL_S)
        for task in running:
            task.cancel()
        await asyncio.wait(running, timeout=TIMEOUT_S)
        await check_chain(AuditReader(store), len(old.good))


async def check_chain(reader: AuditReader, entries: int) -> None:
    check = ChainCheck()
    start: int | None = 1
    while start is not None:
        page = await reader.chain(from_seq=start, limit=500)
        assert list(check.page(page)) == []
        assert all(entry.event.action == ACTION for entry in page.entries)
        start = page.next
    assert (list(check.end()), check.entries) == ([], entries)


async def test_migrate_command_without_a_store_says_where_it_looked(tmp_path: Path) -> None:
    file = tmp_path / "store.db"
    place = Place(("--state-dir", str(tmp_path)), lambda: SqliteStore.open(file), _nothing)
    code, said = await run(place)
    assert (code, "there is no store at" in said) == (2, True)


async def _nothing() -> int:
    return 0
