"""A control plane put together: mirror, use cases, API."""

import asyncio

from lpmos.app import admin
from lpmos.app.settings import Settings
from lpmos.control.app import create_app
from lpmos.control.server import TlsFiles, serve
from lpmos.core.clock import utc_now
from lpmos.core.compaction import keep_compacted
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.model.errors import SettingsError
from lpmos.store import keys
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror


async def run_control_plane(settings: Settings, store: Store) -> None:
    """Serve the API and the dashboard until cancelled.

    Raises:
        SettingsError: a key, certificate or address cannot be used.
    """
    signer = admin.prepare(settings.state_dir, settings.auth_key_file)
    mirror = Mirror(store, keys.ROOT)
    fleet = Fleet(mirror)
    tasks = Tasks(store, fleet, utc_now)
    app = create_app(store=store, fleet=fleet, tasks=tasks, signer=signer, clock=utc_now)
    async with asyncio.TaskGroup() as group:
        group.create_task(mirror.run(), name="control mirror")
        group.create_task(keep_compacted(store), name="compaction")
        group.create_task(
            serve(app, addresses=settings.listen_addr, tls=_tls(settings)), name="control api"
        )


def _tls(settings: Settings) -> TlsFiles | None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsError("--tls-cert and --tls-key go together")
    return TlsFiles(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
