"""Boots a kernel and an initramfs in QEMU, without firmware, and reads the console."""

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from lpmos.images.agent_manifest import AgentImage
from lpmos.lab.acceleration import TRANSLATED_CPU, TRANSLATED_KERNEL_ARGUMENTS, TRANSLATOR

BOOT_MAC = "52:54:00:12:34:56"
MEMORY_MIB = 384
"""What the boot agent must do with."""
END_TIMEOUT_S = 30.0
_TERMINAL_CODES = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\r")


class BootedImage:
    """A virtual machine that is running; everything that its console said is in `said`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.said = ""

    async def until(self, text: str, timeout_s: float) -> None:
        """Read the console until `text` stands in it; the error shows what did."""
        try:
            async with asyncio.timeout(timeout_s):
                while text not in self.said:
                    await self._read()
        except (TimeoutError, EOFError) as error:
            raise AssertionError(f"{text!r} did not come ({error!r}) in:\n{self.said}") from error

    async def power_off(self, timeout_s: float) -> int:
        """Read the console until the machine ends by itself; a restart counts as an end."""
        with suppress(EOFError):
            async with asyncio.timeout(timeout_s):
                while True:
                    await self._read()
        return await self._process.wait()

    async def type(self, line: str) -> None:
        """Type a line on the console."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{line}\n".encode())
        await self._process.stdin.drain()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        data = await self._process.stdout.read(65536)
        if not data:
            raise EOFError("the machine ended")
        self.said += _TERMINAL_CODES.sub("", data.decode("utf-8", "replace"))


@asynccontextmanager
async def booted(
    image: AgentImage,
    kernel_arguments: str = "",
    *,
    network: str = "user,id=n0",
    devices: Sequence[str] = (),
) -> AsyncIterator[BootedImage]:
    """Start a machine; at the end it is gone.

    Args:
        image: what boots.
        kernel_arguments: on top of the serial console.
        network: QEMU's `-netdev` for the NIC that "booted"; `user` has a DHCP server.
        devices: further arguments for QEMU.
    """
    line = f"console=ttyS0,115200n8 {TRANSLATED_KERNEL_ARGUMENTS} {kernel_arguments}"
    nic = f"virtio-net-pci,netdev=n0,mac={BOOT_MAC},romfile="
    command = (
        *("qemu-system-x86_64", "-machine", "q35", "-accel", TRANSLATOR, "-cpu", TRANSLATED_CPU),
        *("-smp", "2"),
        *("-m", str(MEMORY_MIB), "-nographic", "-no-reboot", "-monitor", "none"),
        *("-nodefaults", "-serial", "stdio", "-device", "virtio-rng-pci"),
        *("-kernel", str(image.kernel), "-initrd", str(image.initramfs)),
        *("-append", line),
        *("-netdev", network, "-device", nic, *devices),
    )
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        yield BootedImage(process)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(END_TIMEOUT_S):
            await process.communicate()
