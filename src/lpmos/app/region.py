"""A regional client put together: mirror of its own prefix, use cases, boot services."""

import asyncio
import socket
from pathlib import Path

import structlog

from lpmos import __version__
from lpmos.app.settings import Settings
from lpmos.core.agents import Agents
from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.images.catalog import Catalog
from lpmos.model.errors import SettingsError
from lpmos.region.service import Region
from lpmos.region.settings import DhcpSettings, RegionSettings
from lpmos.store import keys
from lpmos.store.api import Store
from lpmos.store.mirror import Mirror


async def run_region(settings: Settings, store: Store) -> None:
    """Serve one data center until cancelled; every log line carries its name.

    Raises:
        SettingsError: a setting is missing or cannot be used.
    """
    if settings.idc is None:
        raise SettingsError("--idc is missing: the data center that this region serves")
    structlog.contextvars.bind_contextvars(idc=settings.idc)
    mirror = Mirror(store, keys.idc_prefix(settings.idc))
    fleet = Fleet(mirror)
    agents = Agents(store, fleet, utc_now, idc=settings.idc, unknown=settings.unknown_machines)
    region = Region(
        _region_settings(settings),
        store=store,
        fleet=fleet,
        agents=agents,
        catalog=_catalog(settings),
        clock=utc_now,
    )
    async with asyncio.TaskGroup() as group:
        group.create_task(mirror.run(), name="region mirror")
        group.create_task(region.run(), name="region")


def images_dir(settings: Settings) -> Path:
    """Where the images are."""
    given: Path | None = settings.images_dir
    state_dir: Path = settings.state_dir
    return given or state_dir / "images"


def _catalog(settings: Settings) -> Catalog:
    directory = images_dir(settings)
    if directory.exists() and not directory.is_dir():
        raise SettingsError(
            f"--images-dir: {directory} is not a directory; name the one that the images are in"
        )
    return Catalog(directory)


def _region_settings(settings: Settings) -> RegionSettings:
    if settings.region_addr is None:
        raise SettingsError("--region-addr is missing: the address at which machines reach us")
    return RegionSettings(
        idc=settings.idc,
        address=settings.region_addr,
        state_dir=settings.state_dir,
        identity=socket.gethostname(),
        version=__version__,
        api_host=settings.api_host,
        api_port=settings.api_port,
        dhcp=_dhcp(settings) if settings.dhcp_mode == "full" else None,
    )


def _dhcp(settings: Settings) -> DhcpSettings:
    if settings.dhcp_interface is None or len(settings.dhcp_range) != 2:
        raise SettingsError(
            "--dhcp-interface and --dhcp-range FIRST,LAST are needed to run DHCP"
            " (or --dhcp-mode off)"
        )
    first, last = settings.dhcp_range
    return DhcpSettings(
        interface=settings.dhcp_interface,
        first=first,
        last=last,
        router=settings.dhcp_router,
        dns=settings.dhcp_dns,
    )
