"""A control plane put together: mirror, use cases, API."""

import asyncio

from lpmos.app import admin, backup, keyring, single_sign_on
from lpmos.app.images import images_dir, trust_of
from lpmos.app.settings import Settings
from lpmos.app.settled import settle
from lpmos.control.app import create_app
from lpmos.control.config import ControlConfig
from lpmos.control.server import serve
from lpmos.control.services import Services
from lpmos.control.tls import TlsFiles
from lpmos.core.clock import utc_now
from lpmos.core.compaction import keep_compacted
from lpmos.model.errors import SettingsError
from lpmos.model.retry import RetryPolicy
from lpmos.model.waiting import Timeouts
from lpmos.store import keys
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror


async def run_control_plane(settings: Settings, store: Store, hung_up: asyncio.Event) -> None:
    """Serve the API and the dashboard until cancelled; look at the certificate when `hung_up`.

    Raises:
        SettingsError: a key, certificate or address cannot be used.
        RestoreUnfinished: the store has only a part of its backup.
    """
    await admin.wait_for_whole(store)
    signer = admin.prepare(settings.state_dir, settings.auth_key_file)
    mirror = Mirror(store, keys.ROOT)
    config = ControlConfig(
        images_dir=images_dir(settings),
        image_trust=trust_of(settings),
        second_person=settings.second_person,
        audit_days=settings.audit_days,
        unmatched_days=settings.unmatched_days,
        public_url=settings.public_url,
        otlp_url=settings.otlp_url,
        oidc=single_sign_on.provider_from(settings),
        timeouts=Timeouts(**{name: getattr(settings, name) for name in Timeouts.__struct_fields__}),
        retries=RetryPolicy(
            limit=settings.retry_limit,
            first_s=settings.retry_first_s,
            longest_s=settings.retry_longest_s,
        ),
        unmatched_limit=settings.unmatched_limit,
        webhook_networks=settings.webhook_networks,
        backup=backup.plan_from(settings),
        rate_limit_per_s=settings.rate_limit_per_s,
        rate_limit_address_per_s=settings.rate_limit_address_per_s,
    )
    provider = keyring.provider_from(settings)
    ring = await provider.read()
    services = Services(
        store,
        mirror,
        signer=signer,
        clock=utc_now,
        key_provider=provider,
        ring=ring,
        config=config,
    )
    app = create_app(services)
    async with asyncio.TaskGroup() as group:
        group.create_task(settle(mirror), name="settling")
        group.create_task(mirror.run(), name="control mirror")
        group.create_task(services.run(), name="control services")
        group.create_task(keep_compacted(store), name="compaction")
        group.create_task(
            admin.make_first_admin(services.identity.users, settings.state_dir),
            name="first administrator",
        )
        group.create_task(
            serve(
                app,
                addresses=settings.listen_addr,
                tls=_tls(settings),
                hung_up=hung_up,
                trusted_proxies=settings.trusted_proxies,
            ),
            name="control api",
        )


def _tls(settings: Settings) -> TlsFiles | None:
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise SettingsError("--tls-cert and --tls-key go together")
    return TlsFiles(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
