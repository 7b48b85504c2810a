"""Image files from the region against nginx, in the same run: throughput and CPU time.

    python -m bench.file_serving

Both serve the same file of 1 GiB from memory over loopback, one worker each: the region through
its whole HTTP (routes, catalog, metrics, ranges), nginx with `sendfile` and without a log. Four
processes of curl download at once. The two servers take turns, and the ratio is the median of the
ratios of each turn, so that what else the machine does weighs on both. Ends with status 1 where a
limit is missed.

Then ten downloads for each core begin at once from the region alone: each has to have as many bytes
a second as an install at 100 Mbit/s. How many such installs one core of the region feeds is said of
its processor time for each byte, since the clients are on the same cores.

Tried and left out: a send buffer fixed at 4 MiB instead of the kernel's tuning halves the region's
CPU time again, but costs a quarter of the throughput.
"""

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import NamedTuple

import structlog
from bench import report
from bench.load import busy_s

from lpmos.core.clock import utc_now
from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.installers import Installers
from lpmos.lab.processes import ENDS_WITH_PARENT
from lpmos.model.bootplan import UnknownMachines
from lpmos.region.offline import offline
from lpmos.region.service import Region
from lpmos.region.settings import RegionSettings
from lpmos.store import keys
from lpmos.store.mirror import Mirror
from lpmos.store.sqlite import SqliteStore

FILE_BYTES = 1 << 30
DOWNLOADS = 4
ROUNDS = 15
START_TIMEOUT_S = 60.0
DOWNLOAD_TIMEOUT_S = 300.0
LEAST_THROUGHPUT_RATIO = 0.7
MOST_CPU_RATIO = 1.3
"""Both are the kernel's work but for a twentieth to a tenth, and who does that of the receiving end
differs from run to run: what is held is that the region stays near to nginx."""
INSTALL_MBIT = 100.0
INSTALLS_PER_CORE = 10
MEMORY = Path("/dev/shm")  # noqa: S108 - a directory of its own is made in it

NGINX = """\
daemon off;
master_process on;
worker_processes 1;
pid {directory}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    client_body_temp_path {directory}/nginx-body;
    proxy_temp_path {directory}/nginx-proxy;
    fastcgi_temp_path {directory}/nginx-fastcgi;
    uwsgi_temp_path {directory}/nginx-uwsgi;
    scgi_temp_path {directory}/nginx-scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


class Server(NamedTuple):
    """A running server: what serves (its process), and the URL's parts."""

    name: str
    pid: int
    port: int
    path: str


class Measured(NamedTuple):
    """One round: GB/s of all downloads together, and CPU seconds of the server for each GB."""

    gigabytes_per_s: float
    cpu_s_per_gigabyte: float


def main() -> int:
    """Serve, measure in turns, compare."""
    parser = report.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--size", type=int, default=FILE_BYTES, help="of the file, in bytes")
    parser.add_argument("--serve-region", nargs=2, metavar=("DIRECTORY", "PORT_FILE"))
    chosen = report.chosen(parser, {"rounds": 1, "size": 1 << 28})
    if chosen.serve_region:
        asyncio.run(serve_region(*map(Path, chosen.serve_region)))
        return 0
    if shutil.which("nginx", path="/usr/sbin:/usr/bin:" + os.environ["PATH"]) is None:
        print("nginx is not installed: apt-get install nginx-light", file=sys.stderr)
        return 2
    place = str(MEMORY) if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as name, contextlib.ExitStack() as stack:
        directory = Path(name)
        region = stack.enter_context(region_server(directory, chosen.size))
        nginx = stack.enter_context(nginx_server(directory))
        measured: dict[Server, list[Measured]] = {region: [], nginx: []}
        for server in measured:
            measure(server, chosen.size)  # warms up
        slowest = slowest_mbit(region)
        for number in range(chosen.rounds):
            in_turn = list(measured) if number % 2 else list(reversed(measured))
            for server in in_turn:
                measured[server].append(measure(server, chosen.size))
    rows = _rows(measured[region], measured[nginx])
    return report.end([*rows, *_install_rows(measured[region], slowest)], chosen)


def _install_rows(region: list[Measured], slowest: float) -> list[report.Row]:
    cost = median(m.cpu_s_per_gigabyte for m in region)
    return [
        report.limited(
            "installs of 100 Mbit/s that one core feeds", 8e3 / INSTALL_MBIT / cost,
            at_least=INSTALLS_PER_CORE,
        ),
        report.limited(
            f"slowest of {INSTALLS_PER_CORE} downloads for each core", slowest, "Mbit/s",
            at_least=INSTALL_MBIT,
        ),
    ]  # fmt: skip


def _rows(region: list[Measured], nginx: list[Measured]) -> list[report.Row]:
    rates = [median(m.gigabytes_per_s for m in each) for each in (region, nginx)]
    costs = [median(m.cpu_s_per_gigabyte for m in each) for each in (region, nginx)]
    pairs = list(zip(region, nginx, strict=True))
    throughput = median(ours.gigabytes_per_s / its.gigabytes_per_s for ours, its in pairs)
    cpu = median(ours.cpu_s_per_gigabyte / its.cpu_s_per_gigabyte for ours, its in pairs)
    downloads = f"{DOWNLOADS} downloads at once"
    return [
        report.compared(
            f"throughput, {downloads}", rates[0], "GB/s", ("nginx", rates[1]),
            ratio=throughput, at_least=LEAST_THROUGHPUT_RATIO, note=f"{len(region)} rounds",
        ),
        report.compared(
            f"CPU of the server for each GB, {downloads}", costs[0], "s", ("nginx", costs[1]),
            ratio=cpu, at_most=MOST_CPU_RATIO,
        ),
    ]  # fmt: skip


def measure(server: Server, size_bytes: int) -> Measured:
    """Download the file `DOWNLOADS` times at once."""
    cpu_before, began = busy_s(server.pid), time.monotonic()
    received = sum(int(said) for said in curl(server, DOWNLOADS, "%{size_download}"))
    took_s, cpu = time.monotonic() - began, busy_s(server.pid) - cpu_before
    if received < DOWNLOADS * size_bytes:
        raise SystemExit(f"{server.name} sent {received} bytes of {DOWNLOADS * size_bytes}")
    return Measured(received / took_s / 1e9, cpu / (received / 1e9))


def slowest_mbit(server: Server) -> float:
    """What the slowest of `INSTALLS_PER_CORE` downloads for each core gets, all at once."""
    downloads = INSTALLS_PER_CORE * len(os.sched_getaffinity(0))
    return min(float(said) for said in curl(server, downloads, "%{speed_download}")) * 8 / 1e6


def curl(server: Server, downloads: int, wanted: str) -> list[str]:
    """Download so often at once; what curl says of each."""
    url = f"http://127.0.0.1:{server.port}{server.path}"
    argv = [*ENDS_WITH_PARENT, "curl", "-sf", "-o", "/dev/null", "-w", wanted, url]
    clients = [subprocess.Popen(argv, stdout=subprocess.PIPE) for _ in range(downloads)]
    said = [client.communicate(timeout=DOWNLOAD_TIMEOUT_S)[0].decode() for client in clients]
    if any(client.returncode for client in clients):
        raise SystemExit(f"{server.name} did not send all")
    return said


@contextlib.contextmanager
def region_server(directory: Path, size_bytes: int) -> Iterator[Server]:
    """The region in a process of its own, with one image."""
    archive = directory / "archive"
    with archive.open("wb") as file:
        file.truncate(size_bytes)
    fields = ImageFields(
        name="bench", family="debian", os_type="debian", os_version="0", unpacked_bytes=1
    )
    manifest = Catalog(directory / "images").add(fields, archive)
    port_file = directory / "port"
    argv = [
        sys.executable,
        "-m",
        "bench.file_serving",
        "--serve-region",
        str(directory),
        str(port_file),
    ]
    with child(argv) as process:
        wait_for(port_file.exists, process)
        path = f"/boot/images/{manifest.sha256}"
        yield Server("region", process.pid, int(port_file.read_text()), path)


@contextlib.contextmanager
def nginx_server(directory: Path) -> Iterator[Server]:
    """Debian's nginx with one worker, which is the process that is measured."""
    (file,) = (directory / "images" / "bench").glob("*.zst")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = directory / "nginx.conf"
    config.write_text(NGINX.format(directory=directory, port=port, root=file.parent))
    if os.geteuid() == 0:  # the worker is another user then
        directory.chmod(0o755)
    program = shutil.which("nginx", path="/usr/sbin:/usr/bin") or "nginx"
    with child([program, "-c", str(config), "-e", "stderr"]) as process:
        wait_for(lambda: answers(port), process)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield Server("nginx", int(children[0]), port, f"/{file.name}")


@contextlib.contextmanager
def child(argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process that ends with the block."""
    process = subprocess.Popen([*ENDS_WITH_PARENT, *argv], stdout=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(START_TIMEOUT_S)


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    """Wait until a server is up; its own words say why not."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{process.args!r} did not start")
        time.sleep(0.05)


def answers(port: int) -> bool:
    """Whether somebody listens."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


async def serve_region(directory: Path, port_file: Path) -> None:
    """A region without DHCP; tells its port in a file."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    store = await SqliteStore.open(directory / "store.db")
    mirror = Mirror(store, keys.idc_prefix("bench"))
    settings = RegionSettings(
        idc="bench",
        address="127.0.0.1",
        api_host="127.0.0.1",
        api_port=0,
        state_dir=directory / "state",
        identity="bench",
        version="0",
    )
    kept = offline(
        store,
        mirror,
        utc_now,
        idc="bench",
        unknown=UnknownMachines.DISCOVER,
        state_dir=settings.state_dir,
        unfenced=store,
    )
    async with kept as known, asyncio.TaskGroup() as group:
        region = Region(
            settings,
            store=store,
            fleet=known.fleet,
            agents=known.agents,
            evidence=known.evidence,
            catalog=Catalog(directory / "images"),
            installers=Installers(directory / "images"),
            clock=utc_now,
        )
        group.create_task(mirror.run())
        group.create_task(known.run())
        group.create_task(region.run())
        await region.ready.wait()
        partial = port_file.with_suffix(".partial")
        partial.write_text(str(region.port))
        partial.replace(port_file)


if __name__ == "__main__":
    sys.exit(main())
