"""One data center of the lab: `lpmos up` as a program, as an operator would start it.

The listening socket of the API is made here and handed over, so the dashboard is on the host's
loopback wherever the program itself runs.
"""

import asyncio
import socket
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Final

from lpmos.lab.api_client import ApiClient, RegionState
from lpmos.lab.errors import ApiRefused, ProcessFailed, RackUnavailable, WaitTimedOut
from lpmos.lab.processes import LabProcess, Starter
from lpmos.lab.rack import ADDRESS, BRIDGE

IDC: Final = "dc1"
START_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.1
SIGN_IN_POLL_S: Final = 1.0
"""Longer, for the control plane counts logins that fail."""

ADMIN: Final = "admin"
UP: Final = ("ok", "off")
"""States of a service that keep nobody from installing."""
LOG_LINES: Final = 20

RACK_NETWORK: Final = (
    *("--region-addr", ADDRESS, "--api-host", ADDRESS),
    *("--dhcp-interface", BRIDGE, "--dhcp-range", "10.78.0.100,10.78.0.200"),
)
"""The region as it stands in a rack: DHCP and TFTP on the rack's switch."""


def loopback_network(api_port: int) -> tuple[str, ...]:
    """The region beside the lab on the host: loopback only, no DHCP."""
    loopback = ("--region-addr", "127.0.0.1", "--api-host", "127.0.0.1")
    return (*loopback, "--api-port", str(api_port), "--dhcp-mode", "off")


def free_port() -> int:
    """A port of the loopback that nothing listened on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listen(port: int) -> socket.socket:
    """A listening socket on the host's loopback; port 0 takes a free one.

    Raises:
        RackUnavailable: the port is taken.
    """
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as error:
        raise RackUnavailable(
            f"port {port} of this machine is taken ({error.strerror}): end what listens there"
            f" (`ss -ltnp sport = {port}`) or choose another with LPMOS_DEMO_PORT"
        ) from error


def tail(log: Path, count: int = LOG_LINES) -> str:
    """The newest lines of a log."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return "\n".join(lines[-count:])


class Site:
    """An async context: inside it the data center works; `api` is an administrator's client.

    `kernel_arguments` are what its machines need: those of `Acceleration`, for all that they start.
    """

    def __init__(
        self,
        starter: Starter,
        *,
        directory: Path,
        images_dir: Path,
        kernel_arguments: str,
        network: Sequence[str] = RACK_NETWORK,
        port: int = 0,
    ) -> None:
        self.log = directory / "lpmos-up.log"
        self.state_dir = directory / "state"
        self.kernel_arguments = kernel_arguments
        self._starter = starter
        self._images_dir = images_dir
        self._network = network
        self._port = port
        self._open = AsyncExitStack()
        self._process: LabProcess | None = None
        self.url = ""
        self.password = ""
        self.api = ApiClient("")

    async def __aenter__(self) -> "Site":
        try:
            with listen(self._port) as listening:
                self.url = f"http://localhost:{listening.getsockname()[1]}"
                self._process = await self._starter.spawn(
                    self.command(listening.fileno()),
                    log=self.log,
                    name="lpmos up",
                    pass_fds=(listening.fileno(),),
                )
            self._open.push_async_callback(self._process.stop)
            async with asyncio.timeout(START_TIMEOUT_S):
                await self._wait_ready()
        except TimeoutError:
            await self._open.aclose()
            text = f"lpmos up was not ready in {START_TIMEOUT_S:.0f} s; {self.report()}"
            raise WaitTimedOut(text) from None
        except BaseException:
            await self._open.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._open.aclose()

    def command(self, listening_fd: int) -> list[str]:
        """The command line of `lpmos up`, with the interpreter that runs this."""
        return [
            *(str(Path(sys.executable).with_name("lpmos")), "up", "--idc", IDC),
            *("--state-dir", str(self.state_dir), "--images-dir", str(self._images_dir)),
            *("--listen-addr", f"fd:{listening_fd}", *self._network),
            *("--kernel-arguments", self.kernel_arguments),
        ]

    def check(self) -> None:
        """Make sure that it still runs.

        Raises:
            ProcessFailed: it ended; the text has its last words.
        """
        if self._process is not None and self._process.returncode is not None:
            status = self._process.returncode
            raise ProcessFailed(f"lpmos up ended with status {status}; {self.report()}")

    async def wait_ended(self) -> None:
        """Wait for the program's end, which nobody asked for.

        Raises:
            ProcessFailed: it came; the text has its last words.
        """
        if self._process is not None:
            await self._process.wait()
        self.check()

    def report(self) -> str:
        """Where its log is, and how that ends."""
        return f"its log ({self.log}) ends with:\n{tail(self.log)}"

    async def wait_offered(self, os_type: str, os_version: str) -> RegionState:
        """Wait until the region is online, its services answer and it offers this OS.

        Raises:
            WaitTimedOut: not so within `START_TIMEOUT_S`; the text says what is missing.
        """
        missing = "there is no region"
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                while True:
                    self.check()
                    for region in await self.api.regions():
                        missing = _missing(region, os_type, os_version)
                        if not missing:
                            return region
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            text = f"after {START_TIMEOUT_S:.0f} s {missing}; {self.report()}"
            raise WaitTimedOut(text) from None

    async def _wait_ready(self) -> None:
        password_file = self.state_dir / "admin.password"
        while not password_file.exists():
            self.check()
            await asyncio.sleep(POLL_S)
        self.password = password_file.read_text().strip()
        self.api = await self._open.enter_async_context(ApiClient(self.url))
        await self._sign_in()
        while True:
            self.check()
            try:
                if await self.api.ready() and any(r.online for r in await self.api.regions()):
                    return
            except ApiRefused as error:
                if error.status not in (0, 503):
                    raise
            await asyncio.sleep(POLL_S)

    async def _sign_in(self) -> None:
        """The file with the password is there a moment before the user is."""
        while True:
            self.check()
            try:
                await self.api.sign_in(ADMIN, self.password)
            except ApiRefused as error:
                if error.status not in (0, 401, 429, 503):
                    raise
                await asyncio.sleep(SIGN_IN_POLL_S if error.status in (401, 429) else POLL_S)
            else:
                return


def _missing(region: RegionState, os_type: str, os_version: str) -> str:
    """What a region lacks to install this OS; empty where it lacks nothing."""
    if not region.online:
        return f"{region.idc} is offline"
    broken = [f"{name} {state}" for name, state in region.services.items() if state not in UP]
    if broken:
        return f"{region.idc} is not well: {', '.join(broken)}"
    if all((os.os_type, os.os_version) != (os_type, os_version) for os in region.offered):
        return f"{region.idc} does not offer {os_type} {os_version}"
    return ""
