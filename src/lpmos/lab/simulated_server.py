"""Simulated servers: the agent's protocol and the boot script, without firmware, kernel or disk.

Each server is a process of the real agent with `--simulate`, which also says what the installed
system would. It obeys its boot script like iPXE would: it starts the agent only where the script
says so, and after its install it asks again and must be sent to its own disk.
"""

import asyncio
import re
import sys
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlencode

import aiohttp

from lpmos.lab.errors import ProcessFailed, WaitTimedOut
from lpmos.lab.processes import LabProcess, Starter
from lpmos.lab.site import tail

BOOT_TIMEOUT_S: Final = 120.0
FETCH_TIMEOUT_S: Final = 10.0
RETRY_S: Final = 0.5

Boot = Literal["agent", "disk", "wait"]


def boot_of(script: str) -> Boot:
    """What a boot script makes a machine do."""
    if re.search(r"^kernel ", script, re.MULTILINE):
        return "agent"
    return "disk" if re.search(r"^exit 1$", script, re.MULTILINE) else "wait"


class SimulatedServer:
    """One simulated server; off until `power_on`."""

    kind = "simulated"

    def __init__(
        self,
        name: str,
        mac: str,
        *,
        starter: Starter,
        region_url: str,
        directory: Path,
        speed_mbit: float | None = None,
    ) -> None:
        self.name = name
        self.mac = mac
        self._starter = starter
        self._region_url = region_url
        self._log = directory / f"{name}.log"
        self._speed = ("--speed-mbit", str(speed_mbit)) if speed_mbit else ()
        self._agent: LabProcess | None = None

    async def power_on(self) -> None:
        """Netboot, and start the agent as the boot script says.

        Raises:
            ProcessFailed: the script sends the server to its disk, which is blank.
            WaitTimedOut: the region gave no such script within `BOOT_TIMEOUT_S`.
        """
        if await self._netboot() == "disk":
            raise ProcessFailed(f"{self.name} was sent to its blank disk")
        self._agent = await self._starter.spawn(
            [
                *(sys.executable, "-m", "lpmos.agent", "--simulate"),
                *("--regional-url", self._region_url, "--sn", self.name, "--mac", self.mac),
                *self._speed,
            ],
            log=self._log,
            name=f"agent of {self.name}",
        )

    async def wait_up(self, hostname: str, timeout_s: float) -> None:
        """Wait for the agent's end, then netboot again: the script must lead to the disk.

        Raises:
            ProcessFailed: the agent failed, or the server would be installed once more.
            WaitTimedOut: the agent is still there after `timeout_s`.
        """
        if self._agent is None:
            raise ProcessFailed(f"{hostname} is powered off")
        try:
            async with asyncio.timeout(timeout_s):
                status = await self._agent.wait()
        except TimeoutError:
            raise WaitTimedOut(f"the agent of {hostname} did not end") from None
        if status != 0:
            raise ProcessFailed(f"the agent of {hostname} ended with status {status}")
        if await self._netboot() != "disk":
            raise ProcessFailed(f"{hostname} would be installed a second time")

    def check(self) -> None:
        """Make sure that the agent did not fail.

        Raises:
            ProcessFailed: it ended with an error.
        """
        if self._agent is not None and self._agent.returncode not in (None, 0):
            raise ProcessFailed(f"the agent ended with status {self._agent.returncode}")

    def last_words(self) -> str:
        """The end of the agent's log."""
        return f"the agent's log ({self._log}) ends with:\n{tail(self._log)}"

    async def _netboot(self) -> Boot:
        query = urlencode({"mac": self.mac, "sn": self.name, "platform": "simulated"})
        timeout = aiohttp.ClientTimeout(total=FETCH_TIMEOUT_S)
        try:
            async with (
                asyncio.timeout(BOOT_TIMEOUT_S),
                aiohttp.ClientSession(self._region_url, timeout=timeout) as session,
            ):
                while True:
                    async with session.get(f"/boot/ipxe?{query}") as answer:
                        boot = boot_of(await answer.text())
                    if boot != "wait":
                        return boot
                    await asyncio.sleep(RETRY_S)
        except TimeoutError:
            raise WaitTimedOut(f"{self.name} got no boot script") from None
        except aiohttp.ClientError as error:
            raise ProcessFailed(f"{self.name} got no boot script: {error}") from error


def simulated_mac(number: int) -> str:
    """The MAC of the n-th simulated server: locally administered, as QEMU's are."""
    return "52:54:00:f1:" + f"{number >> 8 & 255:02x}:{number & 255:02x}"


def new_serials(count: int) -> list[str]:
    """Serial numbers of a simulated rack."""
    return [f"SIM-{number:04d}" for number in range(1, count + 1)]
