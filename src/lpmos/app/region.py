"""A regional client put together: mirror of its own prefix, use cases, boot services."""

import asyncio
import socket
from functools import partial

import structlog

from lpmos import __version__
from lpmos.app.images import catalog_of, images_dir, trust_of
from lpmos.app.settings import Settings
from lpmos.app.settled import settle
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.secrets.keyring import KeyRing
from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.model.errors import SettingsError
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.region.image_fetching import ImageFetching, needed_systems
from lpmos.region.image_source import ImageSource, SourceSettings
from lpmos.region.offline import offline
from lpmos.region.service import Region
from lpmos.region.settings import RegionSettings
from lpmos.region.standby import Standby
from lpmos.region.tls import TlsFiles
from lpmos.store import keys
from lpmos.store.api import Store
from lpmos.store.fenced import FencedStore
from lpmos.store.mirror import Mirror
from lpmos.store.traced import TracedStore

_ONE_NETWORK = ("dhcp_interface", "dhcp_subnet", "dhcp_range", "dhcp_router", "dhcp_dns")


async def run_region(settings: Settings, store: Store, *, stands: bool) -> None:
    """Serve one data center until cancelled; every log line carries its name.

    Args:
        settings: of the part.
        store: may be used by others too.
        stands: there may be another client of this data center: one of them is elected.

    Raises:
        SettingsError: a setting is missing or cannot be used.
    """
    if settings.idc is None:
        raise SettingsError("--idc is missing: the data center that this region serves")
    structlog.contextvars.bind_contextvars(idc=settings.idc)
    region_settings = _region_settings(settings)
    store = TracedStore(store) if region_settings.otlp_url else store
    standby, unfenced = None, store
    if stands:
        fenced = FencedStore(store)
        standby = Standby(region_settings, store, fenced, utc_now)
        store = fenced
    mirror = Mirror(store, keys.idc_prefix(settings.idc))
    async with offline(
        store,
        mirror,
        utc_now,
        idc=settings.idc,
        unknown=settings.unknown_machines,
        state_dir=settings.state_dir,
        unfenced=unfenced,
    ) as kept:
        region = Region(
            region_settings,
            store=store,
            fleet=kept.fleet,
            agents=kept.agents,
            evidence=kept.evidence,
            catalog=_catalog(settings),
            installers=Installers(images_dir(settings)),
            clock=utc_now,
            standby=standby,
            read_ring=partial(_ring, settings),
            fetching=_fetching(settings, kept.fleet) if stands else None,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(settle(mirror), name="settling")
            group.create_task(mirror.run(), name="region mirror")
            group.create_task(kept.run(), name="offline region")
            group.create_task(region.run(), name="region")


def images_source(settings: Settings) -> SourceSettings | None:
    """Where a region fetches images from; None where it fetches none.

    Raises:
        SettingsError: it is not said where from, or as whom.
    """
    url, token_file, ca = settings.images_url, settings.images_token_file, settings.images_ca
    if url is None and token_file is None and ca is None:
        return None
    if url is None or token_file is None:
        raise SettingsError(
            "--images-url and --images-token-file belong together: where the images are fetched"
            " from, and as whom"
        )
    return SourceSettings(url=url, token_file=token_file, ca=ca)


def _fetching(settings: Settings, fleet: Fleet) -> ImageFetching | None:
    source = images_source(settings)
    if source is None:
        return None
    return ImageFetching(
        ImageSource(source),
        images_dir(settings),
        partial(needed_systems, fleet),
        utc_now,
        trust=trust_of(settings),
    )


async def _ring(settings: Settings) -> KeyRing:
    """The keys that the settings name; a region makes none."""
    from lpmos.app import keyring  # few regions need it, and it loads much

    return await keyring.provider_from(settings, make=False).read()


def _catalog(settings: Settings) -> Catalog:
    directory = images_dir(settings)
    if directory.exists() and not directory.is_dir():
        raise SettingsError(
            f"--images-dir: {directory} is not a directory; name the one that the images are in"
        )
    return catalog_of(settings)


def _region_settings(settings: Settings) -> RegionSettings:
    if settings.region_addr is None:
        raise SettingsError("--region-addr is missing: the address at which machines reach us")
    return RegionSettings(
        idc=settings.idc,
        address=settings.region_addr,
        state_dir=settings.state_dir,
        identity=settings.identity or socket.gethostname(),
        version=__version__,
        api_host=settings.api_host,
        api_port=settings.api_port,
        dhcp=_dhcp(settings) if settings.dhcp_mode != "off" else None,
        service_address=settings.service_address,
        service_interface=settings.service_interface or _first_interface(settings),
        agent_identity=settings.agent_identity,
        agent_tls=agent_tls_files(settings),
        mirror_limit_bytes=settings.mirror_gib * 1024**3,
        kernel_arguments=settings.kernel_arguments,
        otlp_url=settings.otlp_url,
    )


def agent_tls_files(settings: Settings) -> TlsFiles | None:
    """The files of the agent API's TLS; None without it.

    Raises:
        SettingsError: one of them is not named.
    """
    files = (settings.agent_tls_cert, settings.agent_tls_key, settings.agent_tls_ca)
    if not any(files):
        return None
    if not all(files):
        raise SettingsError(
            "--agent-tls-cert, --agent-tls-key and --agent-tls-ca belong together: give all three"
        )
    cert, key, ca = files
    return TlsFiles(cert, key, ca, settings.agent_tls_port)


def _first_interface(settings: Settings) -> str | None:
    listed = [network.interface for network in settings.dhcp_network if network.mode == "full"]
    interface: str | None = settings.dhcp_interface or next(iter(listed), None)
    return interface


def _dhcp(settings: Settings) -> DhcpSettings:
    known_only = settings.dhcp_known_only
    if settings.dhcp_network:
        given = [name for name in _ONE_NETWORK if getattr(settings, name)]
        if given:
            raise SettingsError(
                f"{', '.join(given)}: are of one network; write them into `dhcp_network` too"
            )
        return DhcpSettings(networks=settings.dhcp_network, known_only=known_only)
    proxy = settings.dhcp_mode == "proxy"
    wanted = settings.dhcp_subnet if proxy else len(settings.dhcp_range) == 2
    if settings.dhcp_interface is None or not wanted:
        what = "--dhcp-subnet 192.0.2.0/24" if proxy else "--dhcp-range FIRST,LAST"
        raise SettingsError(
            f"--dhcp-interface and {what} are needed to run DHCP (or --dhcp-mode off)"
        )
    network = DhcpNetwork(
        interface=settings.dhcp_interface,
        mode=settings.dhcp_mode,
        subnet=settings.dhcp_subnet,
        range=settings.dhcp_range,
        router=settings.dhcp_router,
        dns=settings.dhcp_dns,
    )
    return DhcpSettings(networks=(network,), known_only=known_only)
