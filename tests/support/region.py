"""A whole region on a free port of this machine, over the embedded store, for tests."""

import asyncio
import hashlib
import io
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

import aiohttp
import msgspec

from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.core.tasksecrets import ReadRing, no_ring
from lpmos.images.agent_manifest import AgentFile, AgentManifest
from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.installers import Installers
from lpmos.model.bootplan import UnknownMachines
from lpmos.model.diskplan import GIB
from lpmos.model.errors import InvalidInput
from lpmos.model.image import ImageManifest
from lpmos.model.machine import parse_mac
from lpmos.model.task import Task
from lpmos.region.dhcp_networks import DhcpSettings
from lpmos.region.health import FRESH_S
from lpmos.region.image_fetching import ImageFetching
from lpmos.region.offline import offline
from lpmos.region.service import Region
from lpmos.region.settings import RegionSettings
from lpmos.region.tls import TlsFiles
from lpmos.store import keys, records
from lpmos.store.api import Lease, Page, Store
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.agent_identity import Minted, bearer
from tests.support.builders import MAC, NOW, actor, make_inventory, make_spec
from tests.support.faulty_store import FaultyStore

START_TIMEOUT_S = 20.0
AGENT_ID = "a" * 32
OTHER_AGENT_ID = "b" * 32


class KnownLeases(FaultyStore):
    """A store that a test can take leases away from, and keep from being listed."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.leases: list[Lease] = []
        self.may_list = asyncio.Event()
        self.may_list.set()

    async def list(self, prefix: str, *, page: int = 500) -> AsyncIterator[Page]:
        await self.may_list.wait()
        async for part in super().list(prefix, page=page):
            yield part

    async def grant(self, ttl_s: int) -> Lease:
        lease = await super().grant(ttl_s)
        self.leases.append(lease)
        return lease


class RunningRegion:
    """A region, its parts, and an agent's and an operator's calls."""

    def __init__(
        self,
        region: Region,
        store: KnownLeases,
        embedded: SqliteStore,
        fleet: Fleet,
        catalog: Catalog,
        http: aiohttp.ClientSession,
        state_dir: Path,
    ) -> None:
        self.region = region
        self.store = store
        self.embedded = embedded
        self.fleet = fleet
        self.catalog = catalog
        self.http = http
        self.state_dir = state_dir
        self.tasks = Tasks(store, fleet, utc_now)
        self.url = region.base_url
        self.minted = Minted(state_dir)
        self.address = str(urlsplit(self.url).hostname)
        """Where calls to it come from on this machine."""

    async def create_task(self, **fields: Any) -> Task:
        """A task that the region has prepared."""
        task = await self.tasks.create(make_spec(**fields), by=actor("admin"))
        return await self.task_in(task.task_id, "ready")

    async def approved_task(self) -> Task:
        """A task that was reported and approved, and whose approval the region knows."""
        task = await self.create_task()
        status, _ = await self.report()
        assert status == 200
        await self.task_in(task.task_id, "pending_approval")
        await self.tasks.approve(task.task_id, by=actor("admin"), notes=None)
        return await self.task_in(task.task_id, "approved")

    async def installing_task(self) -> Task:
        """A task that the agent run `AGENT_ID` installs."""
        task = await self.approved_task()
        status, body = await self.claim(task)
        assert status == 200, body
        return await self.task_in(task.task_id, "installing")

    async def task_in(self, task_id: str, status: str) -> Task:
        """The task, once the region knows it in this state."""
        return await task_in(self.fleet, task_id, status)

    async def stored_task(self, task: Task) -> Task:
        """The task as it is in the store now."""
        kv = await self.store.get(keys.task(task.idc, task.sn))
        assert kv is not None
        return records.decode(kv, Task)

    async def report(self, **fields: Any) -> tuple[int, dict[str, Any]]:
        """B1 of the machine with one blank disk."""
        hardware = json.loads(msgspec.json.encode(make_inventory()))
        body = {"mac_address": MAC, "sn": "SN-1", "agent_id": AGENT_ID, "hardware": hardware}
        return await self.post("/api/v1/agent/report", {**body, **fields})

    async def plan_of(self, task: Task, wait_s: int = 0) -> dict[str, Any]:
        """What the agent is given to do; the task is approved."""
        path = f"/api/v1/agent/approval/{MAC}?task_id={task.task_id}&wait={wait_s}"
        _, body = await self.get(path)
        assert body["status"] == "approved", body
        return dict(body["plan"])

    async def claim(self, task: Task, agent_id: str = AGENT_ID) -> tuple[int, dict[str, Any]]:
        """B2 before the disk is touched."""
        intent = task.intent or (await self.stored_task(task)).intent
        return await self.post(
            "/api/v1/agent/status",
            {
                "mac_address": MAC,
                "task_id": task.task_id,
                "agent_id": agent_id,
                "status": "installing",
                "intent_id": intent and intent.intent_id,
                "progress": 0,
                "message": "starting",
            },
        )

    async def progress(
        self, task: Task, stage: str, percentage: float, **fields: Any
    ) -> tuple[int, dict[str, Any]]:
        """B3."""
        body = {
            "mac_address": MAC,
            "task_id": task.task_id,
            "agent_id": AGENT_ID,
            "stage": stage,
            "percentage": percentage,
        }
        return await self.post("/api/v1/agent/progress", {**body, **fields})

    async def post(self, path: str, body: object) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a POST; bytes go as they are. An agent's call shows its identity."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = self.shown(body if isinstance(body, dict) else {})
        async with self.http.post(
            self.url + path, data=io.BytesIO(data), headers=headers
        ) as answer:
            return answer.status, await answer.json(content_type=None)

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a GET; an agent's call shows its identity."""
        parts = urlsplit(path)
        task_id = dict(parse_qsl(parts.query)).get("task_id")
        said = {"mac_address": parts.path.rpartition("/")[2], "task_id": task_id}
        headers = self.shown(said) if "/approval/" in path else {}
        async with self.http.get(self.url + path, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    def shown(self, said: dict[str, Any]) -> dict[str, str]:
        """The header of an agent run that says this, bound to the task that it names or has."""
        mac = MAC
        with suppress(InvalidInput, AttributeError):
            mac = parse_mac(said.get("mac_address", MAC))
        agent_id = said.get("agent_id", AGENT_ID if "mac_address" not in said else mac)
        task_id = said.get("task_id")
        if task_id is None and "hardware" not in said:
            known = self.fleet.task_by_mac("dc1", mac)
            task_id = known.task_id if known else None
        return bearer(self.minted.identity(mac, str(agent_id), task_id, address=self.address))

    async def fresh_health(self) -> tuple[int, dict[str, Any]]:
        """`GET /health` when the answers of before are no longer good."""
        await asyncio.sleep(FRESH_S)
        return await self.get("/health")

    async def health_that_is(self, status: str) -> tuple[int, dict[str, Any]]:
        """`GET /health` as soon as it says this; answers are kept for `FRESH_S`."""
        answer: tuple[int, dict[str, Any]] = (0, {})

        async def said() -> bool:
            nonlocal answer
            answer = await self.get("/health")
            return bool(answer[1]["status"] == status)

        await until(said, f"health to be {status}")
        return answer

    async def text(self, path: str) -> tuple[int, str]:
        """Status and text of a GET."""
        async with self.http.get(self.url + path) as answer:
            return answer.status, await answer.text()


@asynccontextmanager
async def running(
    directory: Path,
    *,
    dhcp: DhcpSettings | None = None,
    address: str = "127.0.0.1",
    host: str | None = None,
    port: int = 0,
    unknown: UnknownMachines = UnknownMachines.DISCOVER,
    images: bool = True,
    listed: bool = True,
    agent_identity: Literal["required", "optional"] = "required",
    agent_tls: TlsFiles | None = None,
    read_ring: ReadRing = no_ring,
    kernel_arguments: str = "",
    fetching: Callable[[Fleet], ImageFetching] | None = None,
) -> AsyncIterator[RunningRegion]:
    """Region dc1 with the images of `fill`, until the block ends.

    It listens on `host`, its address where not given. Where not `listed`, its mirrors wait for
    `store.may_list`.
    """
    state_dir = directory / "state"
    catalog = Catalog(directory / "images")
    if images:
        fill(catalog, directory)
    embedded = await SqliteStore.open(directory / "store.db")
    store = KnownLeases(embedded)
    if not listed:
        store.may_list.clear()
    mirrors = [Mirror(store, keys.idc_prefix("dc1")), Mirror(store, "/os/region/dc1/")]
    settings = RegionSettings(
        idc="dc1",
        address=address,
        state_dir=state_dir,
        identity="test",
        version="0.1.0",
        api_host=host or address,
        api_port=port,
        dhcp=dhcp,
        agent_identity=agent_identity,
        agent_tls=agent_tls,
        kernel_arguments=kernel_arguments,
    )
    try:
        async with offline(
            store,
            mirrors[0],
            utc_now,
            idc="dc1",
            unknown=unknown,
            state_dir=state_dir,
            unfenced=store,
            others=mirrors[1:],
        ) as kept:
            fleet = kept.fleet
            region = Region(
                settings,
                store=store,
                fleet=fleet,
                agents=kept.agents,
                evidence=kept.evidence,
                catalog=catalog,
                installers=Installers(directory / "images"),
                clock=utc_now,
                read_ring=read_ring,
                fetching=fetching(fleet) if fetching else None,
            )
            async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as services:
                tasks = [services.create_task(mirror.run()) for mirror in mirrors]
                tasks.append(services.create_task(kept.run()))
                tasks.append(services.create_task(region.run()))
                await until(region.ready.is_set, "the region to be ready", START_TIMEOUT_S)
                if images and listed:
                    await until(lambda: bool(fleet.region("dc1").capabilities), "capabilities")
                yield RunningRegion(region, store, embedded, fleet, catalog, http, state_dir)
                for task in tasks:
                    task.cancel()
    finally:
        await store.close()


def fill(catalog: Catalog, directory: Path, *, first_boot: bool = False) -> ImageManifest:
    """An image of Debian 12 of some 300 kB, and an agent of two small files."""
    directory.mkdir(exist_ok=True)
    archive = directory / "root.tar.zst"
    archive.write_bytes(b"".join(number.to_bytes(3, "big") for number in range(100_000)))
    manifest = catalog.add(
        ImageFields(
            name="debian-12",
            family="debian",
            os_type="debian",
            os_version="12",
            unpacked_bytes=GIB,
            first_boot=first_boot,
        ),
        archive,
    )
    put_agent(catalog, directory)
    return manifest


def put_agent(
    catalog: Catalog, directory: Path, *, line: bytes = b"a kernel\n", **changes: Any
) -> None:
    """A boot agent whose files are text; `changes` are fields of its manifest."""
    kernel, initramfs = directory / "vmlinuz", directory / "initramfs"
    kernel.write_bytes(line * 100)
    initramfs.write_bytes(b"an initramfs\n" * 1000)
    manifest = AgentManifest(
        version="0.1.0",
        recipe="0" * 64,
        architecture="x86_64",
        kernel_version="6.1",
        compression="zstd",
        built_at=NOW,
        kernel=_file(kernel),
        initramfs=_file(initramfs),
        payload_bytes=1,
        parts=(),
        modules=0,
        unknown_modules=(),
        modules_wanting_firmware=(),
        packages=(),
    )
    catalog.put_agent(msgspec.structs.replace(manifest, **changes), kernel, initramfs)


async def task_in(fleet: Fleet, task_id: str, status: str) -> Task:
    """The task, once a region's memory has it in this state."""
    found: list[Task] = []

    def there() -> bool:
        task = fleet.task(task_id)
        found[:] = [task] if task else []
        return task is not None and task.status.value == status

    await until(there, f"task {task_id} to be {status}")
    return found[0]


async def until(
    condition: Callable[[], bool | Awaitable[bool]], what: str, timeout_s: float = 60.0
) -> None:
    """Wait until `condition` holds; an AssertionError says what did not come."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                held = condition()
                if held if isinstance(held, bool) else await held:
                    return
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"waited {timeout_s} s in vain for {what}") from None


def _file(path: Path) -> AgentFile:
    content = path.read_bytes()
    return AgentFile(sha256=hashlib.sha256(content).hexdigest(), size_bytes=len(content))
