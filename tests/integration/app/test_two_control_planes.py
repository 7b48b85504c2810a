"""Two control planes over one real etcd behave as one (F7); one that ends does so decently (F4).

One is killed in the middle of a bulk creation, of its notifications and of an open socket: the
client repeats its call at the other one, and nothing is lost or done twice.
"""

import asyncio
import base64
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from lpmos.control.auth import TokenSigner
from lpmos.core.clock import utc_now
from lpmos.lab.processes import HostProcesses
from lpmos.model.auditcheck import ChainCheck, ChainPage
from lpmos.store import keys, records
from lpmos.store.etcd import EtcdStore
from tests.support.builders import make_capabilities
from tests.support.etcd import EtcdServer, free_port
from tests.support.polling import until
from tests.support.receiver import Receiver, receiving

KEY = bytes(range(32))
LPMOS = Path(sys.executable).with_name("lpmos")
TIMEOUT_S = 60.0
ROWS = 1500
KILL_AFTER = 300
IN_FLIGHT = 4
"""How many messages to one webhook may be under way (docs/reference/webhooks.md)."""

SERVICE_RESTART = 1012

pytestmark = pytest.mark.slow


class Site(NamedTuple):
    """Both control planes: a client and the process id of each, and who is told."""

    clients: tuple[httpx.AsyncClient, httpx.AsyncClient]
    pids: tuple[int, int]
    token: str
    receiver: Receiver


class Listener:
    """A program on `/ws` that follows the protocol: it resumes from what it heard last."""

    def __init__(self, token: str) -> None:
        self.heard: Counter[tuple[str, str]] = Counter()
        self.revision: int | None = None
        self.resyncs = 0
        self.close_code: int | None = None
        self.listening = asyncio.Event()
        self._token = token

    async def listen(self, url: str) -> None:
        """Listen until the connection ends."""
        self.listening.clear()
        async with connect(f"ws{url.removeprefix('http')}/ws", compression=None) as socket:
            await socket.send(json.dumps({"type": "auth", "token": self._token}))
            wish: dict[str, Any] = {"type": "subscribe", "types": ["status"], "batch": True}
            if self.revision is not None:
                wish["from_revision"] = self.revision
            await socket.send(json.dumps(wish))
            try:
                async for frame in socket:
                    content = json.loads(frame)
                    for message in content if isinstance(content, list) else [content]:
                        self._take(message)
            except ConnectionClosed:
                pass
            self.close_code = socket.close_code

    def _take(self, message: dict[str, Any]) -> None:
        if message["type"] == "subscribed":
            self.listening.set()
        elif message["type"] == "resync":
            self.resyncs += 1
        elif message["type"] == "status":
            self.heard[message["task_id"], message["status"]] += 1
        self.revision = message.get("revision", self.revision)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    key_file, secrets_file = tmp_path / "auth.key", tmp_path / "secrets.key"
    key_file.write_bytes(KEY)
    secrets_file.write_text(f"first {base64.b64encode(KEY).decode()}\n")
    for path in (key_file, secrets_file):
        path.chmod(0o600)
    token = TokenSigner(KEY, utc_now).issue("ops", "admin", timedelta(hours=1))
    async with AsyncExitStack() as stack:
        etcd = await stack.enter_async_context(EtcdServer())
        processes = await stack.enter_async_context(HostProcesses())
        receiver = await stack.enter_async_context(receiving())
        store = await EtcdStore.connect([etcd.endpoint])
        await store.put(keys.capabilities("dc1"), records.encode(make_capabilities()))
        await store.close()
        clients, pids = [], []
        for name in ("a", "b"):
            port = free_port()
            process = await processes.spawn(
                [str(LPMOS), "control-plane", "--etcd-endpoints", etcd.endpoint,
                 "--listen-addr", f"127.0.0.1:{port}", "--state-dir", str(tmp_path / name),
                 "--auth-key-file", str(key_file), "--rate-limit-per-s", "0",
                 "--secrets-key-file", str(secrets_file)],
                log=tmp_path / f"{name}.log",
            )  # fmt: skip
            client = httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}",
                headers={"Authorization": f"Bearer {token}"},
                timeout=TIMEOUT_S,
            )
            clients.append(await stack.enter_async_context(client))
            assert process.pid is not None
            pids.append(process.pid)
            await until(partial(_ready, client), TIMEOUT_S)
        yield Site((clients[0], clients[1]), (pids[0], pids[1]), token, receiver)


async def _ready(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/health/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def _total(client: httpx.AsyncClient) -> int:
    return int((await client.get("/api/v1/tasks", params={"limit": 1})).json()["total"])


def _rows() -> list[dict[str, str]]:
    return [
        {
            "idc": "dc1",
            "sn": f"SN-{number:04d}",
            "mac": f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}",
            "os_type": "debian",
            "os_version": "12",
        }
        for number in range(ROWS)
    ]


async def _create_all(client: httpx.AsyncClient) -> httpx.Response:
    headers = {"Idempotency-Key": "rack-7"}
    return await client.post("/api/v1/tasks/bulk", json=_rows(), headers=headers)


async def _created_entries(client: httpx.AsyncClient) -> Counter[str]:
    """The targets of `task.created` in the audit log, whose chain holds from end to end."""
    check, created = ChainCheck(), Counter[str]()
    from_seq: int | None = 1
    while from_seq is not None:
        params = {"from_seq": from_seq, "limit": 1000}
        answer = await client.get("/api/v1/audit/chain", params=params)
        assert answer.status_code == 200, answer.text
        page = msgspec.json.decode(answer.content, type=ChainPage)
        assert list(check.page(page)) == []
        events = (entry.event for entry in page.entries)
        created.update(event.target for event in events if event.action == "task.created")
        from_seq = page.next
    assert list(check.end()) == []
    return created


async def test_control_plane_killed_in_a_bulk_creation_leaves_nothing_lost_or_done_twice(
    site: Site,
) -> None:
    first, second = site.clients
    made = await first.post(
        "/api/v1/webhooks",
        json={"name": "all", "url": site.receiver.url, "events": ["task.created"]},
    )
    assert made.status_code == 201, made.text
    staying, moving = Listener(site.token), Listener(site.token)
    async with asyncio.TaskGroup() as group:
        listening = [
            group.create_task(staying.listen(str(second.base_url).rstrip("/"))),
            group.create_task(moving.listen(str(first.base_url).rstrip("/"))),
        ]
        await asyncio.gather(staying.listening.wait(), moving.listening.wait())

        creating = group.create_task(_outcome(first))
        await until(partial(_at_least, second, KILL_AFTER), TIMEOUT_S)
        os.kill(site.pids[0], signal.SIGKILL)
        assert await creating is None, "the first call ended before the kill"
        listening.append(group.create_task(moving.listen(str(second.base_url).rstrip("/"))))

        done = await _create_all(second)
        assert done.status_code == 201, done.text
        counts = done.json()["counts"]
        assert counts["exists"] >= KILL_AFTER
        assert sum(counts.values()) == await _total(second) == ROWS

        tasks = {row["task_id"] for row in done.json()["rows"]}
        wanted = Counter({(task_id, "pending"): 1 for task_id in tasks})
        for listener in (staying, moving):
            await until(partial(_has_heard, listener, ROWS), TIMEOUT_S)
            assert listener.heard == wanted
            assert listener.resyncs == 0

        await until(partial(_all_told, site.receiver), TIMEOUT_S)
        told = Counter(site.receiver.message_ids)
        assert sum(told.values()) - ROWS <= IN_FLIGHT
        created = await _created_entries(second)
        assert created == Counter({f"task/{task_id}": 1 for task_id in tasks})
        for task in listening:
            task.cancel()


async def test_control_plane_that_ends_tells_its_open_sockets_and_goes_in_time(site: Site) -> None:
    listener = Listener(site.token)
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as group:
        group.create_task(listener.listen(str(site.clients[0].base_url).rstrip("/")))
        await listener.listening.wait()
        os.kill(site.pids[0], signal.SIGTERM)
    assert listener.close_code == SERVICE_RESTART
    made = await site.clients[1].post("/api/v1/tasks", json=_rows()[0])
    assert made.status_code == 201


async def test_task_made_at_one_control_plane_is_there_at_the_other_at_once(site: Site) -> None:
    first, second = site.clients
    for row in _rows()[:20]:
        made = (await first.post("/api/v1/tasks", json=row)).json()
        seen = await second.get(made["links"]["self"])
        assert seen.status_code == 200, seen.text
        assert (await second.delete(made["links"]["self"])).status_code == 204
        gone = (await first.get(made["links"]["self"])).json()
        assert gone["status"] == "cancelled"


async def _outcome(client: httpx.AsyncClient) -> httpx.Response | None:
    """The answer to the bulk creation; None where the connection was cut."""
    try:
        return await _create_all(client)
    except httpx.TransportError:
        return None


async def _at_least(client: httpx.AsyncClient, count: int) -> bool:
    return await _total(client) >= count


async def _has_heard(listener: Listener, count: int) -> bool:
    return len(listener.heard) >= count


async def _all_told(receiver: Receiver) -> bool:
    return len(set(receiver.message_ids)) >= ROWS
