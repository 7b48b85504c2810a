"""A network of its own for one test: this thread's namespace with a bridge, and a client's beside.

Everything is gone when the block ends: the bridge's namespace has no name, the client's is deleted.
"""

import asyncio
import ctypes
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CLONE_NEWNET = 0x40000000
ADDRESS = "10.92.0.1"
BRIDGE = "br0"
CLIENT_INTERFACE = "c0"
COMMAND_TIMEOUT_S = 30
_LIBC = ctypes.CDLL(None, use_errno=True)
_CLIENT = Path(__file__).parent / "dhcp_client.py"


class Wire:
    """The client's side."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    async def run(self, *argv: str) -> bytes:
        """What a program of the client prints."""
        process = await asyncio.create_subprocess_exec(
            *("ip", "netns", "exec", self._namespace, *argv), stdout=asyncio.subprocess.PIPE
        )
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            output, _ = await process.communicate()
        assert process.returncode == 0, argv
        return output

    async def lease(self, mac: str, **options: str) -> dict[str, Any]:
        """What DHCP gives to `mac`, whose address the client has then; options as `o93="0007"`."""
        extra = [f"{name[1:]}={value}" for name, value in options.items()]
        argv = (sys.executable, str(_CLIENT), CLIENT_INTERFACE, mac, *extra)
        found: dict[str, Any] = json.loads(await self.run(*argv))
        place = ("dev", CLIENT_INTERFACE)
        await self.run("ip", "address", "replace", f"{found['yiaddr']}/24", *place)
        return found


@contextmanager
def wire() -> Iterator[Wire]:
    """Go into a new network namespace with `ADDRESS` on a bridge; the client is plugged into it."""
    name = f"lpmos-test-{uuid.uuid4().hex[:8]}"
    before = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    _ip("netns", "add", name)
    try:
        _check(_LIBC.unshare(CLONE_NEWNET))
        _ip("link", "set", "lo", "up")
        _ip("link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
        _ip("address", "add", f"{ADDRESS}/24", "dev", BRIDGE)
        _ip("address", "add", "fd92::1/64", "dev", BRIDGE, "nodad")
        _ip("link", "set", BRIDGE, "up")
        _ip("link", "add", CLIENT_INTERFACE, "type", "veth", "peer", "name", "c0-switch")
        _ip("link", "set", "c0-switch", "master", BRIDGE, "up")
        _ip("link", "set", CLIENT_INTERFACE, "netns", name, "up")
        yield Wire(name)
    finally:
        _check(_LIBC.setns(before, CLONE_NEWNET))
        os.close(before)
        _ip("netns", "delete", name)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, timeout=COMMAND_TIMEOUT_S)


def _check(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
