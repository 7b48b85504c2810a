"""A network of its own for one test: this thread's namespace with a bridge, and a client's beside.

Both namespaces have no name: they are gone with this process and the one that holds the client's,
which the kernel ends with it.
"""

import asyncio
import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lpmos.lab.processes import ENDS_WITH_PARENT

CLONE_NEWNET = 0x40000000
ADDRESS = "10.92.0.1"
BRIDGE = "br0"
CLIENT_INTERFACE = "c0"
COMMAND_TIMEOUT_S = 30
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLIENT = Path(__file__).parent / "dhcp_client.py"


class Wire:
    """The client's side."""

    def __init__(self, holder_pid: int) -> None:
        self.holder_pid = holder_pid

    async def run(self, *argv: str) -> bytes:
        """What a program of the client prints."""
        process = await asyncio.create_subprocess_exec(
            *("nsenter", f"--net=/proc/{self.holder_pid}/ns/net", "--", *argv),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            output, _ = await process.communicate()
        assert process.returncode == 0, argv
        return output

    async def ask(self, *argv: str, **options: str) -> dict[str, Any]:
        """What the DHCP client prints; options as `o93="0007"`."""
        extra = [f"{name[1:]}={value}" for name, value in options.items()]
        output = await self.run(sys.executable, str(_CLIENT), *argv, *extra)
        found: dict[str, Any] = json.loads(output)
        return found

    async def lease(
        self, mac: str, interface: str = CLIENT_INTERFACE, **options: str
    ) -> dict[str, Any]:
        """What DHCP gives to `mac`, whose address the client has then; options as `o93="0007"`."""
        found = await self.ask(interface, mac, **options)
        await self.run("ip", "address", "replace", f"{found['yiaddr']}/24", "dev", interface)
        return found


@contextmanager
def wire() -> Iterator[Wire]:
    """Go into a new network namespace with `ADDRESS` on a bridge; the client is plugged into it."""
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    with held_namespace() as holder_pid:
        try:
            _check(_LIBC.unshare(CLONE_NEWNET))
            _build(holder_pid)
            yield Wire(holder_pid)
        finally:
            _check(_LIBC.setns(before, CLONE_NEWNET))
            os.close(before)


def _build(client_pid: int) -> None:
    _ip("link", "set", "lo", "up")
    _ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
    _ip("address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
    _ip("address", "add", "fd92::1/64", "dev", BRIDGE, "nodad")
    _ip("link", "set", BRIDGE, "up")
    _ip("link", "add", CLIENT_INTERFACE, "type", "veth", "peer", "name", "c0-switch")
    _ip("link", "set", "c0-switch", "master", BRIDGE, "up")
    _ip("link", "set", CLIENT_INTERFACE, "netns", str(client_pid))
    enter = ("nsenter", f"--net=/proc/{client_pid}/ns/net", "--")
    up = (*enter, "ip", "link", "set", CLIENT_INTERFACE, "up")
    subprocess.run(up, check=True, timeout=COMMAND_TIMEOUT_S)


@contextmanager
def held_namespace() -> Iterator[int]:
    """The process that holds a new network namespace."""
    argv = (*ENDS_WITH_PARENT, "unshare", "--net", "--")
    script = "ip link set lo up && echo up && exec sleep infinity"
    with subprocess.Popen([*argv, "sh", "-c", script], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"up\n"
            yield holder.pid
        finally:
            holder.kill()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=COMMAND_TIMEOUT_S)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
