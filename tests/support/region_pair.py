"""Two clients of one region and a machine on one wire, each in a network of its own, over etcd.

    switch: a bridge ── client a 10.93.0.1 ── client b 10.93.0.2 ── machine

Both are `lpmos region` processes with the service address 10.93.0.10. Each reaches etcd through a
proxy of its own that a test can cut. All of it is gone with the block.
"""

import asyncio
import contextlib
import ctypes
import http.client
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from lpmos.core.clock import utc_now
from lpmos.core.fleet import Fleet
from lpmos.core.tasks import Tasks
from lpmos.lab.processes import ENDS_WITH_PARENT
from lpmos.lab.simulated_images import make_simulated_images
from lpmos.model.audit import AuditEvent
from lpmos.store import keys, records
from lpmos.store.etcd import EtcdStore
from lpmos.store.mirror import Mirror
from tests.support.dnsmasq_processes import dnsmasq_pids
from tests.support.etcd import EtcdServer
from tests.support.following import following
from tests.support.region import until
from tests.support.tcp_proxy import TcpProxy
from tests.support.wire import CLIENT_INTERFACE, CLONE_NEWNET, Wire, held_namespace

IDC = "dc1"
SERVICE_ADDRESS = "10.93.0.10"
MACHINE_ADDRESS = "10.93.0.50"
PORT = 8081
IMAGE_BYTES = 4_000_000
STORE_PORT = 2379
START_TIMEOUT_S = 40.0
TAKE_OVER_S = 15.0
ASK_TIMEOUT_S = 0.5
LPMOS = Path(sys.executable).with_name("lpmos")
_LIBC = ctypes.CDLL(None, use_errno=True)
_T = TypeVar("_T")


def inside(pid: int, work: Callable[[], _T]) -> _T:
    """Run `work` in a thread that is in the network of process `pid`."""
    result: list[_T] = []

    def run() -> None:
        with Path(f"/proc/{pid}/ns/net").open() as namespace:
            if _LIBC.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")
        with contextlib.suppress(OSError, http.client.HTTPException):
            result.append(work())

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if not result:
        raise OSError("it did not work there")
    return result[0]


class NamespaceProxy(TcpProxy):
    """A proxy that listens on the loopback of another network."""

    def __init__(self, target_port: int, pid: int) -> None:
        super().__init__(target_port)
        self._pid = pid
        self.port = STORE_PORT

    async def start(self) -> None:
        """Listen there."""

        def listening() -> socket.socket:
            return socket.create_server(("127.0.0.1", STORE_PORT))

        self._server = await asyncio.start_server(self._accept, sock=inside(self._pid, listening))


class Client:
    """One client of the region."""

    def __init__(self, name: str, address: str, pid: int, proxy: TcpProxy, place: Path) -> None:
        self.name = name
        self.address = address
        self.namespace_pid = pid
        self.proxy = proxy
        self.place = place
        self.images_dir = place.parent / "images"
        self._process: asyncio.subprocess.Process | None = None

    @property
    def log(self) -> str:
        """What the process said."""
        with contextlib.suppress(FileNotFoundError):
            return (self.place / "log").read_text()
        return ""

    @property
    def knows_of_another(self) -> bool:
        """Whether it would stand down when it is cut off."""
        file = self.place / "standing.json"
        return not (file.exists() and b'"alone":true' in file.read_bytes())

    async def start(self) -> None:
        """Start the process; it may be active or a standby."""
        self.place.mkdir(exist_ok=True)
        with (self.place / "log").open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *(*ENDS_WITH_PARENT, "nsenter", f"--net=/proc/{self.namespace_pid}/ns/net", "--"),
                *(str(LPMOS), "region", "--idc", IDC, "--identity", self.name),
                *("--etcd-endpoints", self.proxy.endpoint, "--region-addr", self.address),
                *("--service-address", SERVICE_ADDRESS, "--dhcp-interface", "e0"),
                *("--dhcp-range", "10.93.0.100,10.93.0.199", "--api-port", str(PORT)),
                *("--state-dir", str(self.place), "--images-dir", str(self.images_dir)),
                stdout=log,
                stderr=log,
            )

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, not to its children."""
        assert self._process
        self._process.send_signal(number)

    async def ended(self) -> None:
        """Wait for the end of the process."""
        assert self._process
        await self._process.wait()

    async def end(self) -> None:
        """End it whatever it does."""
        if self._process and self._process.returncode is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            await self._process.wait()

    async def has_service_address(self) -> bool:
        """Whether the service address is on its interface: only then can a socket have it."""

        def bind() -> bool:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
                sock.bind((SERVICE_ADDRESS, 0))
                return True

        try:
            return await asyncio.to_thread(inside, self.namespace_pid, bind)
        except OSError:
            return False

    def dnsmasq_pids(self) -> list[int]:
        """The dnsmasq processes with its configuration."""
        return dnsmasq_pids(self.place / "dnsmasq.conf")


class Pair:
    """Both clients, the machine, and an operator's view of the store."""

    def __init__(
        self, a: Client, b: Client, machine: Wire, machine_pid: int, store: EtcdStore, fleet: Fleet
    ) -> None:
        self.a, self.b = a, b
        self.machine = machine
        self.machine_pid = machine_pid
        self.store = store
        self.fleet = fleet
        self.tasks = Tasks(store, fleet, utc_now)

    async def answers(self, address: str, path: str = "/boot/boot.ipxe") -> int:
        """The HTTP status that the machine gets there; 0 where none."""

        def ask() -> int:
            connection = http.client.HTTPConnection(address, PORT, timeout=ASK_TIMEOUT_S)
            try:
                connection.request("GET", path)
                return connection.getresponse().status
            finally:
                connection.close()

        try:
            return await asyncio.to_thread(inside, self.machine_pid, ask)
        except OSError:
            return 0

    async def active(self) -> list[Client]:
        """The clients that answer the machine."""
        return [each for each in (self.a, self.b) if await self.answers(each.address) == 200]

    async def doubled(self) -> list[str]:
        """Who answers the machine or has the service address, where more than one does."""
        active = await self.active()
        holders = [each for each in (self.a, self.b) if await each.has_service_address()]
        both = len(active) > 1 or len(holders) > 1
        return [each.name for each in (*active, *holders)] if both else []

    async def becomes_active(self, client: Client, timeout_s: float = TAKE_OVER_S) -> float:
        """Wait until `client` answers at the service address; the seconds that it took."""
        began = time.monotonic()

        async def taken() -> bool:
            here = await client.has_service_address()
            return here and await self.answers(SERVICE_ADDRESS) == 200

        try:
            await until(taken, f"{client.name} to be active", timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.a.log}\n{self.b.log}") from None
        return time.monotonic() - began

    async def stands_by(self, client: Client, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the store shows the client as a standby that is ready."""

        async def listed() -> bool:
            kv = await self.store.get(keys.region_client(IDC, client.name))
            return kv is not None and json.loads(kv.value)["standing"] == "standby"

        await until(listed, f"{client.name} to stand by\n{client.log[-3000:]}", timeout_s)

    async def know_of_each_other(self) -> None:
        """Wait until each could ask the other for a promise: where it is, and by which key."""

        async def known() -> bool:
            page = await self.store.range(keys.signer(IDC, ""))
            files = [each.place / "standing.json" for each in (self.a, self.b)]
            told = [file.exists() and b"http://" in file.read_bytes() for file in files]
            return len(page.kvs) == 2 and all(told)

        await until(known, "the clients to know of each other")
        await asyncio.sleep(1)  # what they have in memory is on their disks by then

    async def health(self, client: Client) -> dict[str, Any]:
        """What a client says of itself at its own address."""

        def ask() -> dict[str, Any]:
            connection = http.client.HTTPConnection(client.address, PORT, timeout=ASK_TIMEOUT_S)
            try:
                connection.request("GET", "/health")
                found: dict[str, Any] = json.loads(connection.getresponse().read())
                return found
            finally:
                connection.close()

        return await asyncio.to_thread(inside, self.machine_pid, ask)

    async def audited(self, action: str) -> int:
        """How often this was done; no control plane has taken it into the audit log."""
        page = await self.store.range(keys.EVENTS)
        return sum(records.decode(kv, AuditEvent).action == action for kv in page.kvs)

    def block_link(self) -> None:
        """Nothing passes between the clients; the machine reaches both."""
        for one, other in ((self.a, self.b), (self.b, self.a)):
            _ip(one.namespace_pid, "route", "replace", "unreachable", f"{other.address}/32")

    def unblock_link(self) -> None:
        """Undo `block_link`."""
        for one, other in ((self.a, self.b), (self.b, self.a)):
            _ip(one.namespace_pid, "route", "flush", "exact", f"{other.address}/32")

    async def lease(self, mac: str, **options: str) -> dict[str, Any]:
        """What DHCP gives to a machine."""
        return await self.machine.lease(mac, **options)


@asynccontextmanager
async def pair(directory: Path, *, started: bool = True) -> AsyncIterator[Pair]:
    """Both clients, `a` active and `b` standing by where they are to be started."""
    make_simulated_images(directory / "images", IMAGE_BYTES)
    with _networks() as (pid_a, pid_b, machine_pid):
        async with contextlib.AsyncExitStack() as stack:
            etcd = await stack.enter_async_context(EtcdServer())
            clients = []
            for name, number, pid in (("a", 1, pid_a), ("b", 2, pid_b)):
                proxy = await stack.enter_async_context(NamespaceProxy(etcd.port, pid))
                client = Client(name, f"10.93.0.{number}", pid, proxy, directory / name)
                stack.push_async_callback(client.end)
                clients.append(client)
            store = await EtcdStore.connect([etcd.endpoint])
            stack.push_async_callback(store.close)
            mirror = Mirror(store, "/os/")
            fleet = Fleet(mirror)
            await stack.enter_async_context(following(mirror))
            made = Pair(clients[0], clients[1], Wire(machine_pid), machine_pid, store, fleet)
            if started:
                await made.a.start()
                await made.becomes_active(made.a, START_TIMEOUT_S)
                await made.b.start()
                await made.stands_by(made.b)
                await until(lambda: made.a.knows_of_another, "a to know of b")
                await made.know_of_each_other()
            yield made


@contextmanager
def _networks() -> Iterator[tuple[int, int, int]]:
    """The processes that hold the networks of both clients and of the machine."""
    with (
        held_namespace() as switch,
        held_namespace() as a,
        held_namespace() as b,
        held_namespace() as machine,
    ):
        _ip(switch, "link", "add", "br0", "type", "bridge", "forward_delay", "0")
        _ip(switch, "link", "set", "br0", "up")
        for number, (pid, interface) in enumerate(
            ((a, "e0"), (b, "e0"), (machine, CLIENT_INTERFACE))
        ):
            peer = ("type", "veth", "peer", "name", interface, "netns", str(pid))
            _ip(switch, "link", "add", f"s{number}", *peer)
            _ip(switch, "link", "set", f"s{number}", "master", "br0", "up")
            _ip(pid, "link", "set", interface, "up")
        _ip(a, "address", "add", "10.93.0.1/24", "dev", "e0")
        _ip(b, "address", "add", "10.93.0.2/24", "dev", "e0")
        _ip(machine, "address", "add", f"{MACHINE_ADDRESS}/24", "dev", CLIENT_INTERFACE)
        yield a, b, machine


def _ip(pid: int, *arguments: str) -> None:
    enter = ("nsenter", f"--net=/proc/{pid}/ns/net", "--", "ip", *arguments)
    subprocess.run(enter, check=True, timeout=30)
