"""The elected control plane ends in the middle of its work: nothing is lost, nothing is twice."""

import asyncio
import secrets
import signal
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from lpmos.control.auth import TokenSigner
from lpmos.core.audit.reader import AuditQuery, AuditReader
from lpmos.core.clock import utc_now
from lpmos.core.duties import ELECTION
from lpmos.lab.processes import HostProcesses, LabProcess
from lpmos.model.audit import AuditEntry
from lpmos.model.auditcheck import ChainPage, SavedStream, verify
from lpmos.store import keys, records
from lpmos.store.api import Store
from lpmos.store.etcd import EtcdStore
from tests.support.builders import make_capabilities
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.etcd import EtcdServer, free_port
from tests.support.faulty_store import FaultyStore
from tests.support.polling import ANSWER_TIMEOUT_S, until

LPMOS = Path(sys.executable).with_name("lpmos")
TIMEOUT_S = 60.0
TASKS = "/api/v1/tasks"
CLIENTS = 8


def new_task(number: int) -> dict[str, str]:
    mac = f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}"
    return {"idc": "dc1", "sn": f"SN-{number}", "mac": mac, "os_type": "debian", "os_version": "12"}


async def create(place: tuple[str, str], numbers: list[int]) -> int:
    """Create tasks by several clients at once; how many were answered with 201."""
    url, token = place
    made = 0

    async def one(api: httpx.AsyncClient) -> None:
        nonlocal made
        while numbers:
            number = numbers.pop()
            try:
                answer = await api.post(TASKS, json=new_task(number))
            except httpx.HTTPError:  # it was killed under our hands
                continue
            made += answer.status_code == 201

    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT_S) as api:
        await asyncio.gather(*(one(api) for _ in range(CLIENTS)))
    return made


async def whole_log(store: Store, saved: SavedStream | None = None) -> list[AuditEntry]:
    """Every entry, once no event is left, of a log that has no break."""

    async def none_is_left() -> bool:
        return not (await store.range(keys.EVENTS, limit=1)).kvs

    await until(none_is_left, TIMEOUT_S)
    reader = AuditReader(store)
    pages: list[ChainPage] = []
    start: int | None = 1
    while start is not None:
        pages.append(await reader.chain(from_seq=start, limit=1000))
        start = pages[-1].next
    assert list(verify(pages, saved)) == []
    return [entry for page in pages for entry in page.entries]


async def check_tasks_are_told_once(store: Store, entries: list[AuditEntry]) -> int:
    """Each task in the store has one entry that tells of its creation; how many tasks."""
    told = [e.event.target for e in entries if e.event.action == "task.created"]
    places = await store.range("/os/tasks/", keys_only=True)
    tasks = [f"task/{kv.key.rpartition('/')[2]}" for kv in places.kvs]
    assert sorted(told) == sorted(tasks)
    ids = [entry.event.event_id for entry in entries]
    assert len(set(ids)) == len(ids)
    return len(tasks)


async def lead_again(control_planes: list[RunningControlPlane]) -> None:
    async def one_leads() -> bool:
        return any(each.services.duties.leading for each in control_planes)

    await until(one_leads, TIMEOUT_S)


async def test_control_planes_over_one_store_come_and_go(tmp_path: Path) -> None:
    made = 0
    async with open_store(tmp_path) as embedded:
        for round_ in range(4):
            store = FaultyStore(embedded)
            async with running(store) as first, running(FaultyStore(embedded)) as second:
                await first.offer_debian()
                await lead_again([first, second])
                assert first.services.duties.leading is not second.services.duties.leading
                store.lose_answers = 2 * (round_ % 2)
                numbers = list(range(100 * round_, 100 * round_ + 100))
                for each in (first, second):
                    half = [numbers.pop() for _ in range(50)]
                    await create((each.url, each.token), half)
                made += 100
        async with running(embedded):
            entries = await whole_log(embedded)
        # a creation whose answer was lost is told as its own repetition: it is there once
        assert await check_tasks_are_told_once(embedded, entries) == made


async def test_embedded_control_plane_leads_at_once(tmp_path: Path) -> None:
    async with open_store(tmp_path) as store, running(store) as control_plane:
        start = asyncio.get_running_loop().time()
        await lead_again([control_plane])
        assert asyncio.get_running_loop().time() - start < 2.0


class Cluster(NamedTuple):
    """Two control planes as processes over one etcd."""

    store: EtcdStore
    control_planes: dict[int, tuple[LabProcess, str]]
    token: str
    logs: list[Path]

    async def leader(self) -> int:
        """The process id of the one that leads."""
        page = await self.store.range(f"/os-election/{ELECTION}/")
        first = min(page.kvs, key=lambda kv: kv.create_revision)
        return int(first.value.decode().rpartition(":")[2])

    def saved(self) -> SavedStream:
        """What both told in their log streams."""
        saved = SavedStream()
        for path in self.logs:
            for line in path.read_text().splitlines():
                assert saved.add(line) is None
        return saved


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    key_file = tmp_path / "auth.key"
    key_file.touch(mode=0o600)
    key_file.write_bytes(key := secrets.token_bytes(32))
    token = TokenSigner(key, utc_now).issue("admin", "admin", timedelta(hours=1))
    async with EtcdServer() as etcd, HostProcesses() as processes:
        store = await EtcdStore.connect([etcd.endpoint])
        await store.put(keys.capabilities("dc1"), records.encode(make_capabilities()))
        found: dict[int, tuple[LabProcess, str]] = {}
        logs = [tmp_path / f"{name}.log" for name in ("first", "second")]
        for log in logs:
            address = f"127.0.0.1:{free_port()}"
            process = await processes.spawn(
                [str(LPMOS), "control-plane", "--etcd-endpoints", etcd.endpoint,
                 "--listen-addr", address, "--state-dir", str(tmp_path / log.stem),
                 "--auth-key-file", str(key_file), "--log-format", "json",
                 "--rate-limit-per-s", "0"],
                log=log,
            )  # fmt: skip
            assert process.pid is not None
            found[process.pid] = process, f"http://{address}"
        cluster = Cluster(store, found, token, logs)
        for process, url in found.values():
            await until(partial(is_ready, process, url), TIMEOUT_S)
        yield cluster
        await store.close()


async def is_ready(process: LabProcess, url: str) -> bool:
    assert process.returncode is None
    try:
        async with httpx.AsyncClient(base_url=url, timeout=ANSWER_TIMEOUT_S) as api:
            return (await api.get("/health/ready")).status_code == 200
    except httpx.HTTPError:
        return False


@pytest.mark.slow
async def test_leader_killed_while_tasks_are_created_is_followed_by_the_other(
    cluster: Cluster,
) -> None:
    leader = await cluster.leader()
    process, leaders_url = cluster.control_planes.pop(leader)
    ((_, others_url),) = cluster.control_planes.values()
    first, second = list(range(400)), list(range(400, 800))
    creating = [
        asyncio.create_task(create((leaders_url, cluster.token), first)),
        asyncio.create_task(create((others_url, cluster.token), second)),
    ]

    async def is_in_the_middle() -> bool:
        page = await AuditReader(cluster.store).newest_first(AuditQuery(), from_seq=None, limit=1)
        return bool(page.entries) and page.entries[0].seq > 100

    await until(is_in_the_middle, TIMEOUT_S)
    process.send(signal.SIGKILL)
    first.clear()
    _, made_by_the_other = await asyncio.gather(*creating)
    assert made_by_the_other == 400

    entries = await whole_log(cluster.store)
    assert await check_tasks_are_told_once(cluster.store, entries) >= 400
    assert await cluster.leader() != leader

    async def all_told() -> bool:
        return cluster.saved().count == len(await whole_log(cluster.store))

    await until(all_told, TIMEOUT_S)
    await whole_log(cluster.store, cluster.saved())
