"""`lpmos region` with its etcd cut off, killed meanwhile, and what the store hears then."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.lab.processes import HostProcesses, LabProcess
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.lab.simulated_server import SimulatedServer
from lpmos.model.lifecycle import Status
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.etcd import EtcdStore
from lpmos.store.mirror import Mirror
from tests.support.agent_identity import Minted, bearer
from tests.support.builders import actor, make_spec
from tests.support.etcd import EtcdServer, free_port
from tests.support.tcp_proxy import TcpProxy

TIMEOUT_S = 60.0
LPMOS = Path(sys.executable).with_name("lpmos")
SN, MAC = "SN-1", "52:54:00:00:00:01"
SPEED_MBIT = 8.0
"""The image takes some seconds: time to kill its region."""
WHOLE_WAY = [
    Status.PENDING,
    Status.READY,
    Status.BOOTING,
    Status.PENDING_APPROVAL,
    Status.APPROVED,
    Status.INSTALLING,
    Status.COMPLETED,
]


class Site:
    """A region behind a cable that can be cut, and people who are at the store itself."""

    def __init__(
        self, directory: Path, link: TcpProxy, store: EtcdStore, processes: HostProcesses
    ) -> None:
        self.link = link
        self.store = store
        self._directory = directory
        self.processes = processes
        self._port = free_port()
        self._region: LabProcess | None = None
        self._mirrors = [Mirror(store, keys.idc_prefix("dc1")), Mirror(store, "/os/region/dc1/")]
        fleet = Fleet(*self._mirrors)
        self.tasks = Tasks(store, fleet, utc_now)
        self._following = [asyncio.create_task(mirror.run()) for mirror in self._mirrors]
        self.fleet = fleet
        self.url = f"http://127.0.0.1:{self._port}"

    def machine(self, processes: HostProcesses) -> SimulatedServer:
        """The machine, powered by `processes`."""
        return SimulatedServer(
            SN,
            MAC,
            starter=processes,
            region_url=self.url,
            directory=self._directory,
            speed_mbit=SPEED_MBIT,
        )

    async def start_region(self) -> None:
        """Start it, and wait until it answers machines."""
        self._region = await self.processes.spawn(
            [str(LPMOS), "region", "--idc", "dc1", "--etcd-endpoints", self.link.endpoint,
             "--region-addr", "127.0.0.1", "--api-port", str(self._port), "--dhcp-mode", "off",
             "--images-dir", str(self._directory / "images"),
             "--state-dir", str(self._directory / "region")],
            log=self._directory / "region.log",
        )  # fmt: skip
        await until(self._answers)

    async def kill_region(self) -> None:
        """kill -9."""
        assert self._region is not None
        self._region.send(signal.SIGKILL)
        await self._region.wait()

    async def _answers(self) -> bool:
        return (await self.get("/boot/boot.ipxe"))[0] == 200

    def identity(self, task: Task) -> dict[str, str]:
        """The header of an agent run of this task."""
        made = Minted(self._directory / "region").identity(MAC, "a" * 32, task.task_id)
        return bearer(made)

    async def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """A GET of the region; status 0 where it does not answer."""
        try:
            async with (
                aiohttp.ClientSession(self.url) as http,
                http.get(path, headers=headers) as answer,
            ):
                is_json = "json" in answer.content_type
                return answer.status, await (answer.json() if is_json else answer.text())
        except aiohttp.ClientError:
            return 0, {}

    async def outbox(self) -> dict[str, Any]:
        """What the region says of its outbox."""
        status, health = await self.get("/health")
        return dict(health["outbox"]) if status == 200 else {}

    async def waiting(self) -> int:
        """How many words wait; -1 where the region does not say."""
        return int((await self.outbox()).get("waiting", -1))

    async def stored(self, task: Task) -> Task:
        """The task as the store has it."""
        kv = await self.store.get(keys.task(task.idc, task.sn))
        assert kv is not None
        return records.decode(kv, Task)

    async def close(self) -> None:
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)


async def until(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not await condition():  # noqa: ASYNC110 - it asks other processes
            await asyncio.sleep(0.05)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    make_simulated_images(tmp_path / "images", 4_000_000)
    async with EtcdServer() as etcd, TcpProxy(etcd.port) as link, HostProcesses() as processes:
        store = await EtcdStore.connect([etcd.endpoint])
        site = Site(tmp_path, link, store, processes)
        try:
            await site.start_region()
            yield site
        finally:
            await site.close()
            await store.close()


async def approved_task(site: Site) -> Task:
    """A task whose machine was off when it was approved; the region knows that it was."""

    async def offered() -> bool:
        return bool(site.fleet.region("dc1").capabilities)

    await until(offered)
    task = await site.tasks.create(make_spec(), by=actor("admin"))

    async def prepared() -> bool:
        return (await site.stored(task)).status is Status.READY

    async def reported() -> bool:
        return (await site.stored(task)).status is Status.PENDING_APPROVAL

    await until(prepared)
    async with HostProcesses() as power:
        await site.machine(power).power_on()
        await until(reported)
    await site.tasks.approve(task.task_id, by=actor("boss"), notes=None)

    async def known() -> bool:
        path = f"/api/v1/agent/approval/{MAC}"
        _, answer = await site.get(path, site.identity(task))
        return bool(answer.get("status") == "approved")

    await until(known)
    return task


async def test_approved_machine_installs_without_the_store_over_kills_of_the_region(
    site: Site,
) -> None:
    task = await approved_task(site)
    machine = site.machine(site.processes)
    await site.link.cut()

    async def offline() -> bool:
        return bool((await site.outbox()).get("offline_since"))

    await until(offline)
    await machine.power_on()

    async def under_way() -> bool:
        return await site.waiting() >= 2

    await until(under_way)
    await site.kill_region()
    await site.start_region()
    await machine.wait_up("sn-1", TIMEOUT_S)
    assert await site.waiting() >= 4
    assert (await site.stored(task)).status is Status.APPROVED
    await site.kill_region()
    await site.start_region()
    await site.link.heal()

    async def begun() -> bool:
        return (await site.stored(task)).status is not Status.APPROVED

    await until(begun)
    await site.kill_region()
    await site.start_region()

    async def handed_in() -> bool:
        return await site.waiting() == 0

    await until(handed_in)
    stored = await site.stored(task)
    assert [change.status for change in stored.status_history] == WHOLE_WAY
    assert len(set(stored.logs)) == len(stored.logs)
    assert [word.step for word in stored.progress] == [
        "partitioning",
        "downloading",
        "installing",
        "configuring",
        "restarting",
    ]
