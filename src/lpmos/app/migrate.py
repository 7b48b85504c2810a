"""The store of `lpmos migrate`: etcd where endpoints are given, else the embedded one."""

import asyncio
from collections.abc import Callable

from lpmos.app import logs
from lpmos.app.backend import embedded_store, etcd_store
from lpmos.app.settings import Settings
from lpmos.core.clock import utc_now
from lpmos.core.migration.run import Report, migrate
from lpmos.model.errors import SettingsError
from lpmos.store.api import Unavailable

CONNECT_TIMEOUT_S = 15.0


def run_migration(
    settings: Settings,
    *,
    dry_run: bool,
    delete: bool,
    told: Callable[[str, int, int | None], None] | None = None,
) -> Report:
    """Migrate the store that the settings name; see `lpmos.core.migration.run.migrate`.

    Raises:
        SettingsError: there is no embedded store where the state directory should have it.
        StoreLocked: `lpmos up` runs on it.
        Unavailable: etcd cannot be reached, or went away on the way.
    """
    logs.configure("warning", "text")
    return asyncio.run(_run(settings, dry_run=dry_run, delete=delete, told=told))


async def _run(
    settings: Settings,
    *,
    dry_run: bool,
    delete: bool,
    told: Callable[[str, int, int | None], None] | None,
) -> Report:
    embedded = not settings.etcd_endpoints
    file = settings.state_dir / "store.db"
    if embedded and not file.exists():
        raise SettingsError(
            f"there is no store at {file}: name --state-dir, or --etcd-endpoints for a cluster"
        )
    opening = embedded_store(settings.state_dir) if embedded else etcd_store(settings)
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            store = await opening.__aenter__()
    except TimeoutError:
        raise Unavailable(f"no etcd answers at {', '.join(settings.etcd_endpoints)}") from None
    try:
        return await migrate(store, utc_now, dry_run=dry_run, delete=delete, told=told)
    finally:
        await opening.__aexit__(None, None, None)
