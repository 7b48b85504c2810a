"""A whole control plane on a free port of this machine, over the embedded store, for tests."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

import msgspec

from lpmos.control.auth import TokenSigner, Use
from lpmos.control.config import ControlConfig
from lpmos.control.server import listen, serve
from lpmos.control.services import Services
from lpmos.control.tls import TlsFiles
from lpmos.core.audit.reader import AuditQuery
from lpmos.core.clock import utc_now
from lpmos.core.secrets.keyring import KeyProvider
from lpmos.core.taskstore import Step, TaskStore
from lpmos.model.access import Role
from lpmos.model.audit import SYSTEM, AuditEvent
from lpmos.model.task import Task
from lpmos.model.user import Caller, new_id
from lpmos.store import keys, records
from lpmos.store.api import Store
from lpmos.store.mirror import SILENCE_S, Mirror
from lpmos.store.sqlite import SqliteStore
from tests.support.builders import actor, make_capabilities, make_user
from tests.support.control_application import application
from tests.support.polling import until
from tests.support.secret_keys import KeptKeys

KEY = b"0123456789abcdef0123456789abcdef"
TIMEOUT_S = 20.0
KEPT_DAYS = 36_500
"""Reports of the tests' fixed time are not too old to be kept, whatever the date is."""
LOG_READER = "/log_reader"
"""What the elected control plane writes to each region at some time after its start."""
NOTED = (keys.EVENTS, keys.control("key-tokens"), keys.control("alerts"))


KEPT_DAYS = 36_500
"""Most reports of tests are of one fixed day."""


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

    async def as_user(
        self, roles: Iterable[Role], tenant: str | None = None, name: str | None = None
    ) -> str:
        """The bearer token of a user with these roles, made where there is none of this name."""
        roles = tuple(roles)
        name = name or "-".join([tenant or "provider", *roles])
        identity = self.services.identity
        held = identity.users.documents.get(name)
        if held is None:
            user = make_user(name=name, roles=roles, tenant=tenant)
            held = await identity.users.documents.create(name, user, by=SYSTEM)
        session_id = new_id()
        session = await identity.open(session_id, held.document, Caller(address="127.0.0.1"))
        return self.signer.of_session(Use.ACCESS, session_id, name, session.document.expires_at)

    async def documents(self) -> dict[str, int]:
        """Every key of the store with its revision, but for what is only noted of a call."""
        page = await self.store.range(keys.ROOT, keys_only=True)
        kvs = [kv for kv in page.kvs if not kv.key.startswith(NOTED)]
        kvs = [kv for kv in kvs if not kv.key.endswith(LOG_READER)]
        return {kv.key: kv.mod_revision for kv in kvs}

    async def audited(self, **fields: object) -> AuditEvent:
        """The newest event of the audit log with these fields, as soon as it is there."""

        async def found() -> bool:
            page = await self.services.audit.newest_first(AuditQuery(), from_seq=None, limit=500)
            events.extend(
                entry.event
                for entry in page.entries
                if all(getattr(entry.event, name) == value for name, value in fields.items())
            )
            return bool(events)

        events: list[AuditEvent] = []
        await until(found, TIMEOUT_S)
        return events[0]

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
    trusted_proxies: Sequence[IPv4Network | IPv6Network] = (),
    wait_listed: bool = True,
    silence_s: float = SILENCE_S,
    config: ControlConfig | None = None,
    key_provider: KeyProvider | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> AsyncIterator[RunningControlPlane]:
    """A control plane over `store` until the block ends.

    It is not waited for the store's first listing where `wait_listed` is false; a store that is
    silent for `silence_s` is looked after. Limits of rates go by `monotonic`. Reports without a
    task are kept whatever their date.
    """
    config = msgspec.structs.replace(config or ControlConfig(), unmatched_days=KEPT_DAYS)
    mirror = Mirror(store, keys.ROOT, silence_s=silence_s)
    provider = key_provider or KeptKeys()
    services = Services(
        store,
        mirror,
        signer=TokenSigner(KEY, utc_now),
        clock=utc_now,
        key_provider=provider,
        ring=await provider.read(),
        config=msgspec.structs.replace(config or ControlConfig(), unmatched_days=KEPT_DAYS),
        monotonic=monotonic,
    )
    (listener,) = listen(f"127.0.0.1:{port}")
    number = listener.getsockname()[1]
    ready = asyncio.Event()
    with application(services) as app:
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(mirror.run()),
                group.create_task(services.run()),
                group.create_task(
                    serve(
                        app,
                        addresses=[listener],
                        tls=tls,
                        trusted_proxies=trusted_proxies,
                        ready=ready,
                    )
                ),
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
    config = ControlConfig(images_dir=directory / "images")
    async with (
        open_store(directory) as store,
        running(store, tls=tls, config=config) as control_plane,
    ):
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
