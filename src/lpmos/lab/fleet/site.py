"""The servers of a simulated fleet: one real etcd, one control plane, one region per data center.

Programs as an operator would start them, on loopback; they end when the site is left.
"""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

from lpmos.lab.api_client import ApiClient
from lpmos.lab.errors import ApiRefused, ProcessFailed, RackUnavailable, WaitTimedOut
from lpmos.lab.processes import HostProcesses, LabProcess
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.lab.site import ADMIN, free_port, tail

LPMOS: Final = Path(sys.executable).with_name("lpmos")
START_TIMEOUT_S: Final = 120.0
POLL_S: Final = 0.2
SIGN_IN_POLL_S: Final = 1.0
IMAGE_BYTES: Final = 1_000_000
QUOTA_BYTES: Final = 8 << 30


class Part(NamedTuple):
    """One program of the site."""

    name: str
    process: LabProcess
    log: Path


class FleetSite(NamedTuple):
    """What runs; `regions` are the URLs of the regional clients by their data centers."""

    api: ApiClient
    api_url: str
    regions: dict[str, str]
    parts: tuple[Part, ...]
    directory: Path

    def check(self) -> None:
        """Make sure that every program still runs.

        Raises:
            ProcessFailed: one ended; the text has its last words.
        """
        for part in self.parts:
            if part.process.returncode is not None:
                status = part.process.returncode
                raise ProcessFailed(f"{part.name} ended with status {status}:\n{tail(part.log)}")


@asynccontextmanager
async def fleet_site(directory: Path, idcs: Sequence[str]) -> AsyncIterator[FleetSite]:
    """Start all, and be ready to install.

    Raises:
        RackUnavailable: there is no etcd on this machine.
        ProcessFailed: a program ended.
        WaitTimedOut: a region did not come on line.
    """
    if shutil.which("etcd") is None:
        raise RackUnavailable("there is no etcd here: install the package etcd-server")
    make_simulated_images(directory / "images", IMAGE_BYTES)
    async with AsyncExitStack() as stack:
        processes = await stack.enter_async_context(HostProcesses())
        endpoint, etcd = await _etcd(processes, directory)
        port = free_port()
        control = await _spawn(
            processes, directory, "control-plane",
            ["control-plane", "--etcd-endpoints", endpoint, "--listen-addr", f"127.0.0.1:{port}",
             "--state-dir", str(directory / "control"), "--rate-limit-per-s", "0"],
        )  # fmt: skip
        parts, regions = [etcd, control], {}
        for idc in idcs:
            regions[idc] = f"http://127.0.0.1:{(region_port := free_port())}"
            words = [
                *("region", "--idc", idc, "--etcd-endpoints", endpoint, "--dhcp-mode", "off"),
                *("--region-addr", "127.0.0.1", "--api-host", "127.0.0.1"),
                *("--api-port", str(region_port), "--state-dir", str(directory / idc)),
                *("--images-dir", str(directory / "images")),
            ]
            parts.append(await _spawn(processes, directory, idc, words))
        url = f"http://127.0.0.1:{port}"
        api = await stack.enter_async_context(ApiClient(url))
        site = FleetSite(api, url, regions, tuple(parts), directory)
        await _until_ready(site)
        yield site


async def _etcd(processes: HostProcesses, directory: Path) -> tuple[str, Part]:
    client, peer = f"http://127.0.0.1:{free_port()}", f"http://127.0.0.1:{free_port()}"
    log = directory / "etcd.log"
    process = await processes.spawn(
        ["etcd", "--data-dir", str(directory / "etcd"), "--log-level", "warn",
         "--listen-client-urls", client, "--advertise-client-urls", client,
         "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
         "--initial-cluster", f"default={peer}", f"--quota-backend-bytes={QUOTA_BYTES}"],
        log=log,
    )  # fmt: skip
    return client, Part("etcd", process, log)


async def _spawn(
    processes: HostProcesses, directory: Path, name: str, words: Sequence[str]
) -> Part:
    log = directory / f"{name}.log"
    process = await processes.spawn([str(LPMOS), *words], log=log, name=name)
    return Part(name, process, log)


async def _until_ready(site: FleetSite) -> None:
    missing = "nobody could sign in"
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            await _sign_in(site)
            while missing := await _missing(site):
                site.check()
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        text = f"after {START_TIMEOUT_S:.0f} s {missing}; the logs are in {site.directory}"
        raise WaitTimedOut(text) from None


async def _sign_in(site: FleetSite) -> None:
    password_file = site.directory / "control" / "admin.password"
    while True:
        site.check()
        try:
            await site.api.sign_in(ADMIN, password_file.read_text().strip())
        except (FileNotFoundError, ApiRefused):  # not there yet, or the user is not
            await asyncio.sleep(SIGN_IN_POLL_S)
        else:
            return


async def _missing(site: FleetSite) -> str:
    try:
        found = {region.idc: region for region in await site.api.regions()}
    except ApiRefused as error:
        return str(error)
    for idc in site.regions:
        region = found.get(idc)
        if region is None or not region.online or not region.offered:
            return f"{idc} is not on line with an image"
    return ""
