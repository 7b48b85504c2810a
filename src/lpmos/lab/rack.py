"""A virtual rack: a network of its own for machines and the services that boot them.

The rack owns one unnamed network namespace and one process namespace; a bridge with taps is the
rack's switch. The rule that keeps the host clean: nothing is made outside these namespaces, and
they live exactly as long as one holder process. That ends with the lab, whatever ends the lab: it
asks the kernel for SIGKILL at its parent's death, and it reads a pipe that closes with the lab.
With the holder, which is process 1 of its namespace, the kernel kills every process in the rack,
also those that left their process group, and then removes bridge and taps.
"""

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final

from lpmos.lab.errors import ProcessFailed, RackUnavailable
from lpmos.lab.processes import ENDS_WITH_PARENT, KILL_TIMEOUT_S, LabProcess, Starter, children

BRIDGE: Final = "br0"
ADDRESS: Final = "10.78.0.1"
ADDRESS_V6: Final = "fd78::1"
START_TIMEOUT_S: Final = 10.0
COMMAND_TIMEOUT_S: Final = 10.0

PROGRAMS: Final[Mapping[str, str]] = {
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "ip": "iproute2",
    "dnsmasq": "dnsmasq-base",
    "qemu-system-x86_64": "qemu-system-x86",
}
"""What a rack runs, and the Debian package that has it."""

FILES: Final[Mapping[str, str]] = {
    "/usr/share/OVMF/OVMF_CODE_4M.fd": "ovmf",
    "/usr/lib/ipxe/snponly.efi": "ipxe",
    "/usr/lib/ipxe/qemu/pxe-virtio.rom": "ipxe-qemu",
}
"""Firmware and boot loaders of the machines, and their Debian packages."""


def missing_packages() -> tuple[str, ...]:
    """The Debian packages that a rack needs and this machine does not have."""
    programs = {package for name, package in PROGRAMS.items() if not shutil.which(name)}
    files = {package for name, package in FILES.items() if not Path(name).exists()}
    return tuple(sorted(programs | files))


def check_host(uid: int | None = None) -> None:
    """Make sure that this machine can hold a rack, started by this user (None: the present one).

    Raises:
        RackUnavailable: lists everything that is missing, with what to do.
    """
    problems = []
    if (os.geteuid() if uid is None else uid) != 0:
        problems.append("network namespaces and taps need root: run it with sudo")
    if packages := missing_packages():
        problems.append(f"Debian packages are missing: apt-get install {' '.join(packages)}")
    if not Path("/dev/net/tun").is_char_device():
        problems.append("/dev/net/tun is missing: load the module with `modprobe tun`")
    if problems:
        raise RackUnavailable("no virtual rack can be set up here: " + "; ".join(problems))


class Rack(Starter):
    """An async context: inside it the rack stands, afterwards nothing of it is left."""

    wrapped = True

    def __init__(self) -> None:
        super().__init__()
        self._holder: asyncio.subprocess.Process | None = None
        self._target = 0
        self._taps = 0

    async def __aenter__(self) -> "Rack":
        check_host()
        try:
            await self._start_holder()
            await self._build_switch()
        except BaseException:
            await self._end_holder()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            await self._at_exit.aclose()
        finally:
            await self._end_holder()

    @property
    def holder_pid(self) -> int:
        """The process, as the host counts, whose namespaces are the rack's."""
        return self._target

    async def add_tap(self) -> str:
        """Plug a new tap into the rack's switch; answers its name."""
        name = f"tap{self._taps}"
        self._taps += 1
        await self.run("ip", "tuntap", "add", "dev", name, "mode", "tap")
        await self.run("ip", "link", "set", name, "master", BRIDGE, "up")
        return name

    async def run(self, *argv: str) -> str:
        """Run a short command in the rack; answers what it printed.

        Raises:
            ProcessFailed: it ended with an error, or not within `COMMAND_TIMEOUT_S`.
        """
        process = await asyncio.create_subprocess_exec(
            *self.inside(argv),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(COMMAND_TIMEOUT_S):
                output, _ = await process.communicate()
        except TimeoutError:
            await LabProcess(argv[0], process, wrapped=True).stop(grace_s=0)
            raise ProcessFailed(
                f"`{' '.join(argv)}` did not end in {COMMAND_TIMEOUT_S:.0f} s"
            ) from None
        text = output.decode(errors="replace")
        if process.returncode != 0:
            raise ProcessFailed(f"`{' '.join(argv)}` ended with {process.returncode}: {text}")
        return text

    def inside(self, argv: Sequence[str]) -> list[str]:
        """The command that runs `argv` in the rack, as can be pasted into a shell."""
        return ["nsenter", f"--target={self._target}", "--net", "--pid", "--mount", "--", *argv]

    async def _start_holder(self) -> None:
        self._holder = await asyncio.create_subprocess_exec(
            *ENDS_WITH_PARENT,
            *("unshare", "--net", "--pid", "--fork", "--kill-child=KILL", "--mount-proc", "--"),
            # A sysfs of the rack's own: the host's one would go on showing the host's interfaces.
            *("sh", "-c", "mount -t sysfs none /sys && ip link set lo up && echo up && exec cat"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
        )
        assert self._holder.stdout is not None  # noqa: S101 - a pipe was asked for
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                answer = (await self._holder.stdout.readline()).decode(errors="replace").strip()
        except TimeoutError:
            answer = f"no answer in {START_TIMEOUT_S:.0f} s"
        if answer != "up":
            raise RackUnavailable(f"the kernel gave no namespaces (unshare said: {answer})")
        (self._target,) = children(self._holder.pid)

    async def _build_switch(self) -> None:
        """A bridge that forwards at once: firmware does not wait the usual 15 s for it."""
        add = ("ip", "address", "add")
        await self.run("ip", "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
        await self.run(*add, f"{ADDRESS}/24", "dev", BRIDGE)
        await self.run(*add, f"{ADDRESS_V6}/64", "dev", BRIDGE, "nodad")
        await self.run("ip", "link", "set", BRIDGE, "up")

    async def _end_holder(self) -> None:
        if self._holder is None:
            return
        if self._holder.stdin is not None:
            self._holder.stdin.close()
        try:
            async with asyncio.timeout(KILL_TIMEOUT_S):
                await self._holder.wait()
        except TimeoutError:
            self._holder.kill()
            await self._holder.wait()
