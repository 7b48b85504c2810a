"""Which store a part uses: etcd where endpoints are given, the embedded one under `lpmos up`."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from lpmos.app.deferred import deferred
from lpmos.app.settings import Settings
from lpmos.model.errors import SettingsError
from lpmos.store.api import Store, Unavailable

if TYPE_CHECKING:
    from lpmos.store.etcd import EtcdStore

log = structlog.get_logger()

RETRY_S = 3


@asynccontextmanager
async def embedded_store(state_dir: Path) -> AsyncIterator[Store]:
    """The embedded store in `state_dir`, closed at the end; raises as `SqliteStore.open`."""
    from lpmos.store.sqlite import SqliteStore

    store = await SqliteStore.open(state_dir / "store.db")
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def etcd_store(settings: Settings) -> AsyncIterator[Store]:
    """The etcd cluster that the settings name.

    Raises:
        SettingsError: no endpoint is given.
        StoreError: as `EtcdStore.connect`.
    """
    _check_endpoints(settings)
    store = await _connect(settings)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def etcd_store_later(settings: Settings) -> AsyncIterator[Store]:
    """As `etcd_store`, but usable while the cluster is away: calls are `Unavailable` until then."""
    _check_endpoints(settings)
    async with deferred(lambda: _connect(settings)) as store:
        yield store


def _check_endpoints(settings: Settings) -> None:
    if not settings.etcd_endpoints:
        raise SettingsError(
            "--etcd-endpoints is missing: several parts share an etcd cluster"
            " (one machine on its own: `lpmos up`)"
        )


async def _connect(settings: Settings) -> "EtcdStore":
    """Wait for the cluster: a part that starts before it goes on when it is there."""
    from lpmos.store.etcd import EtcdStore

    password = _secret(settings.etcd_password_file)
    while True:
        try:
            return await EtcdStore.connect(
                settings.etcd_endpoints,
                ca=settings.etcd_ca,
                cert=settings.etcd_cert,
                key=settings.etcd_key,
                user=settings.etcd_user,
                password=password,
            )
        except Unavailable as error:
            log.warning("the store is away, trying again", reason=str(error), wait_s=RETRY_S)
            await asyncio.sleep(RETRY_S)


def _secret(file: Path | None) -> str | None:
    try:
        return file.read_text().strip() if file else None
    except OSError as error:
        raise SettingsError(f"--etcd-password-file: {error}") from error
