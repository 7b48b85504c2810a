"""A whole control plane on a free port of this machine, over the embedded store, for tests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import msgspec

from lpmos.control.app import create_app
from lpmos.control.auth import TokenSigner
from lpmos.control.config import ControlConfig
from lpmos.control.server import TlsFiles, listen, serve
from lpmos.control.services import Services
from lpmos.core.clock import utc_now
from lpmos.core.taskstore import Step, TaskStore
from lpmos.model.task import Task
from lpmos.store import keys, records
from lpmos.store.api import Store
from lpmos.store.mirror import SILENCE_S, Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import actor, make_capabilities
from tests.support.polling import until

KEY = b"0123456789abcdef0123456789abcdef"
TIMEOUT_S = 20.0


class RunningControlPlane:
    """What a test may ask of it, and a region's and an agent's part done directly."""

    def __init__(
        self, store: Store, mirror: Mirror, services: Services, port: int, scheme: str
    ) -> None:
        self.store = store
        self._mirror = mirror
        self.services = services
        self.fleet = services.fleet
        self.port = port
        self.host = f"127.0.0.1:{port}"
        self.url = f"{scheme}://{self.host}"
        self.signer = TokenSigner(KEY, utc_now)
        self.token = self.signer.issue("admin", "admin", timedelta(hours=1))

    async def change(self, task_id: str, step: Step) -> Task:
        """Change a task as a region would."""
        task = self.fleet.task(task_id)
        assert task is not None
        return await TaskStore(self.store).change(task, step, by=actor("region:dc1"))

    async def offer_debian(self, idc: str = "dc1") -> None:
        """Make a region known that offers Debian 12."""
        await self._put(keys.capabilities(idc), make_capabilities(idc))

    async def put_task(self, task: Task) -> None:
        """Put a task into the store as it is, and wait until it is seen."""
        await self._put(keys.task(task.idc, task.sn), task)

    async def seen(self, task: Task) -> None:
        """Wait until the fleet shows the task as it is here."""
        await self.fleet.wait_for_task(task.task_id, lambda now: now == task, TIMEOUT_S)

    async def until_connected(self, connected: bool) -> None:
        """Wait until the fleet knows whether the store is there."""

        async def known() -> bool:
            return self.fleet.connected is connected

        await until(known, TIMEOUT_S)

    async def _put(self, key: str, document: msgspec.Struct) -> None:
        revision = await self.store.put(key, records.encode(document))
        async with asyncio.timeout(TIMEOUT_S):
            await self._mirror.wait_for(revision)


@asynccontextmanager
async def running(
    store: Store,
    *,
    port: int = 0,
    tls: TlsFiles | None = None,
    wait_listed: bool = True,
    silence_s: float = SILENCE_S,
    config: ControlConfig | None = None,
) -> AsyncIterator[RunningControlPlane]:
    """A control plane over `store` until the block ends.

    It is not waited for the store's first listing where `wait_listed` is false; a store that is
    silent for `silence_s` is looked after.
    """
    mirror = Mirror(store, keys.ROOT, silence_s=silence_s)
    services = Services(
        store, mirror, signer=TokenSigner(KEY, utc_now), clock=utc_now, config=config
    )
    app = create_app(services)
    (listener,) = listen(f"127.0.0.1:{port}")
    number = listener.getsockname()[1]
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(mirror.run()),
            group.create_task(serve(app, addresses=[listener], tls=tls, ready=ready)),
        ]
        async with asyncio.timeout(TIMEOUT_S):
            await ready.wait()
            if wait_listed:
                await mirror.wait_ready()
        yield RunningControlPlane(store, mirror, services, number, "https" if tls else "http")
        for task in tasks:
            task.cancel()


@asynccontextmanager
async def running_with_debian(
    directory: Path, *, tls: TlsFiles | None = None
) -> AsyncIterator[RunningControlPlane]:
    """A control plane over a new embedded store, with region dc1 that offers Debian 12."""
    async with open_store(directory) as store, running(store, tls=tls) as control_plane:
        await control_plane.offer_debian()
        yield control_plane


@asynccontextmanager
async def open_store(directory: Path) -> AsyncIterator[SqliteStore]:
    """An embedded store in `directory` until the block ends."""
    store = await SqliteStore.open(directory / "store.db")
    try:
        yield store
    finally:
        await store.close()
