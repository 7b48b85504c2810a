"""What a demonstration or a test plays on: a data center that is up, and servers that are off.

The real stage is a rack with virtual machines, the simulated one a region on the loopback with
simulated servers. What happens on them is the same: a `Journey` for each server.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

from lpmos.images.agent_image import build_agent_image, is_of_this_version
from lpmos.images.build_display import build_display
from lpmos.images.catalog import Catalog
from lpmos.images.debian_image import build_debian_image
from lpmos.lab.acceleration import Acceleration
from lpmos.lab.journey import Server
from lpmos.lab.machine import MachineSpec, VirtualMachine
from lpmos.lab.processes import HostProcesses
from lpmos.lab.rack import Rack
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.lab.simulated_server import SimulatedServer, new_serials, simulated_mac
from lpmos.lab.site import IDC, RACK_NETWORK, Site, free_port, loopback_network
from lpmos.model.newtask import NewTask

OS: Final = ("debian", "12")
QUICK_LEVEL: Final = 3
"""Of zstd: seconds in place of a minute, for an initramfs a quarter larger."""
SIMULATED_IMAGE_BYTES: Final = 48_000_000
SIMULATED_MBIT: Final = 80.0


@dataclass(frozen=True)
class Stage:
    """Everything is set up; each server has the task that it shall get."""

    site: Site
    servers: Sequence[tuple[Server, NewTask]]


@asynccontextmanager
async def rack_site(
    *,
    directory: Path,
    images_dir: Path,
    accel: Acceleration,
    network: Sequence[str] = RACK_NETWORK,
    port: int = 0,
) -> AsyncIterator[tuple[Rack, Site]]:
    """A rack with a data center in it that offers the system; its files are in `directory`.

    Raises:
        LabError: it could not be set up; the text says what to do.
    """
    async with (
        Rack() as rack,
        Site(
            rack,
            directory=directory,
            images_dir=images_dir,
            kernel_arguments=accel.kernel_arguments,
            network=network,
            port=port,
        ) as site,
    ):
        await site.wait_offered(*OS)
        yield rack, site


@asynccontextmanager
async def rack_stage(
    specs: Sequence[MachineSpec],
    *,
    directory: Path,
    images_dir: Path,
    accel: Acceleration,
    port: int = 0,
) -> AsyncIterator[Stage]:
    """A rack with these machines.

    Raises:
        LabError: it could not be set up; the text says what to do.
    """
    placed = rack_site(directory=directory, images_dir=images_dir, accel=accel, port=port)
    async with placed as (rack, site):
        servers = [
            (
                await VirtualMachine.create(rack, spec, directory=directory, accel=accel),
                new_task(site, spec.sn, spec.mac, spec.name),
            )
            for spec in specs
        ]
        yield Stage(site, servers)


@asynccontextmanager
async def simulated_stage(
    count: int, *, directory: Path, port: int = 0, mbit: float | None = SIMULATED_MBIT
) -> AsyncIterator[Stage]:
    """A region on the loopback with `count` simulated servers, each with a network of `mbit`.

    Raises:
        LabError: it could not be set up; the text says what to do.
    """
    images_dir = directory / "images"
    await asyncio.to_thread(make_simulated_images, images_dir, SIMULATED_IMAGE_BYTES)
    region_port = free_port()
    network = loopback_network(region_port)
    async with (
        HostProcesses() as host,
        Site(
            host,
            directory=directory,
            images_dir=images_dir,
            kernel_arguments="",
            network=network,
            port=port,
        ) as site,
    ):
        await site.wait_offered(*OS)
        servers = [
            SimulatedServer(
                sn,
                simulated_mac(number),
                starter=host,
                region_url=f"http://127.0.0.1:{region_port}",
                directory=directory,
                speed_mbit=mbit,
            )
            for number, sn in enumerate(new_serials(count), start=1)
        ]
        tasks = [new_task(site, server.name, server.mac, server.name.lower()) for server in servers]
        yield Stage(site, list(zip(servers, tasks, strict=True)))


def new_task(site: Site, sn: str, mac: str, hostname: str) -> NewTask:
    """The task that the lab's drivers create."""
    os_type, os_version = OS
    return NewTask(
        idc=IDC,
        sn=sn,
        mac=mac,
        hostname=hostname,
        os_type=os_type,
        os_version=os_version,
        kernel_arguments=site.kernel_arguments,
    )


def build_missing_images(
    images_dir: Path, cache_dir: Path, console: Console, mirror: str | None = None
) -> None:
    """Build the agent's image and Debian's, where the catalog does not have them as they are now.

    The catalog may be a region's own: an agent of this version stays however it was built, and one
    that has firmware gets it again, though no virtual device loads any.

    Raises:
        ImageError: says what is missing and what to do.
    """
    images_dir.mkdir(parents=True, exist_ok=True)
    agent = Catalog(images_dir).agent_manifest()
    if agent is None or not is_of_this_version(agent):
        with build_display(console, "boot agent") as progress:
            build_agent_image(
                images_dir,
                cache_dir,
                progress=progress,
                compression_level=QUICK_LEVEL,
                firmware=agent is not None and agent.with_firmware,
                mirror=mirror,
            )
    with build_display(console, "Debian 12") as progress:
        build_debian_image(images_dir, cache_dir, progress=progress, mirror=mirror)
