"""One real `lpmos region` on a real etcd, with what it knows put there before it starts."""

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import aiohttp
from bench.known import IDC

from lpmos.lab.processes import HostProcesses, LabProcess
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.lab.site import tail
from lpmos.store.api import Store
from lpmos.store.etcd import EtcdStore
from tests.support.etcd import EtcdServer, free_port

LPMOS = Path(sys.executable).with_name("lpmos")
QUOTA = ("--quota-backend-bytes=8589934592",)
IMAGE_BYTES = 4_000_000
START_TIMEOUT_S = 120.0
POLL_S = 0.05

Fill = Callable[[Store], Awaitable[None]]


class RegionProcess(NamedTuple):
    """A region that is ready."""

    url: str
    pid: int
    store: Store
    directory: Path
    started_s: float
    """From its start until it was ready."""


@asynccontextmanager
async def region_process(
    fill: Fill, *, asked: str = "/boot/boot.ipxe", flags: Sequence[str] = ()
) -> AsyncIterator[RegionProcess]:
    """Fill the store, start a region that answers on loopback, and end both with the block.

    It is ready when it is healthy and answers to `asked`: a standby is healthy too, and a region
    that has not listed its store yet has no word for its machines.
    """
    with tempfile.TemporaryDirectory(prefix="lpmos-bench-") as name:
        directory = Path(name)
        make_simulated_images(directory / "images", IMAGE_BYTES)
        async with EtcdServer(flags=QUOTA) as etcd, HostProcesses() as processes:
            store = await EtcdStore.connect([etcd.endpoint])
            await fill(store)
            port = free_port()
            began = asyncio.get_running_loop().time()
            process = await processes.spawn(
                [str(LPMOS), "region", "--idc", IDC, "--etcd-endpoints", etcd.endpoint,
                 "--region-addr", "127.0.0.1", "--api-host", "127.0.0.1", "--api-port", str(port),
                 "--dhcp-mode", "off", "--state-dir", str(directory / "state"),
                 "--images-dir", str(directory / "images"), *flags],
                log=directory / "region.log",
            )  # fmt: skip
            url = f"http://127.0.0.1:{port}"
            await _until_ready(url, asked, process, directory / "region.log")
            started_s = asyncio.get_running_loop().time() - began
            assert process.pid is not None
            yield RegionProcess(url, process.pid, store, directory, started_s)
            await store.close()


async def _until_ready(url: str, asked: str, process: LabProcess, log: Path) -> None:
    async with asyncio.timeout(START_TIMEOUT_S), aiohttp.ClientSession(url) as http:
        while True:
            if process.returncode is not None:
                raise SystemExit(f"the region ended:\n{tail(log)}")
            if await _answers(http, "/health") and await _answers(http, asked):
                return
            await asyncio.sleep(POLL_S)


async def _answers(http: aiohttp.ClientSession, path: str) -> bool:
    try:
        async with http.get(path) as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False
