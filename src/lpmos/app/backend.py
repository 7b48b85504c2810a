"""Which store a part uses: etcd where endpoints are given, the embedded one under `lpmos up`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from lpmos.app.settings import Settings
from lpmos.model.errors import SettingsError
from lpmos.store.api import Store
from lpmos.store.etcd import EtcdStore
from lpmos.store.sqlite import SqliteStore

CLOSE_TIMEOUT_S = 10


@asynccontextmanager
async def embedded_store(state_dir: Path) -> AsyncIterator[Store]:
    """The embedded store in `state_dir`, closed at the end; raises as `SqliteStore.open`."""
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
    if not settings.etcd_endpoints:
        raise SettingsError(
            "--etcd-endpoints is missing: several parts share an etcd cluster"
            " (one machine on its own: `lpmos up`)"
        )
    store = await EtcdStore.connect(
        settings.etcd_endpoints,
        ca=settings.etcd_ca,
        cert=settings.etcd_cert,
        key=settings.etcd_key,
        user=settings.etcd_user,
        password=_secret(settings.etcd_password_file),
    )
    try:
        yield store
    finally:
        await store.close()


def _secret(file: Path | None) -> str | None:
    try:
        return file.read_text().strip() if file else None
    except OSError as error:
        raise SettingsError(f"--etcd-password-file: {error}") from error
