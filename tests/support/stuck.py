"""Machines that do not get on in a virtual rack: what is in their way, and what is said of it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from lpmos.lab.rack import BRIDGE, Rack
from lpmos.lab.site import Site

EXPLAINED_TIMEOUT_S = 900.0
POLL_S = 1.0
API_PORT = 8081
MACHINES = "10.78.0.0/24"
RATE = "4mbit"


async def explained(site: Site, task_id: str, code: str) -> dict[str, Any]:
    """The explanation of a task as soon as its first cause is this one."""
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(EXPLAINED_TIMEOUT_S):
            while True:
                found = await site.api.explanation(task_id)
                if [cause["code"] for cause in found["causes"]][:1] == [code]:
                    return found
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise AssertionError(f"{code} was not named: {found}") from None


def layers_of(explanation: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What was seen, by layer."""
    return {layer["layer"]: layer for layer in explanation["layers"]}


async def until_sent(site: Site, task_id: str, file: str) -> None:
    """Wait until the machine has the whole of the agent's `kernel` or `initramfs`."""
    found: dict[str, Any] = {}
    try:
        async with asyncio.timeout(EXPLAINED_TIMEOUT_S):
            while not found or " MB in " not in layers_of(found).get(file, {"what": ""})["what"]:
                await asyncio.sleep(POLL_S)
                found = await site.api.explanation(task_id)
    except TimeoutError:
        raise AssertionError(f"{file} was not sent: {found}") from None


@asynccontextmanager
async def unheard(rack: Rack) -> AsyncIterator[None]:
    """No answer of the region's API reaches a machine; DHCP and TFTP do."""
    rule = ("ipproto", "6", "sport", str(API_PORT), "to", MACHINES, "prohibit")
    await rack.run("ip", "rule", "add", *rule)
    try:
        yield
    finally:
        await rack.run("ip", "rule", "del", *rule)


@asynccontextmanager
async def slow(rack: Rack) -> AsyncIterator[None]:
    """All machines share a line of `RATE` from the region."""
    await rack.run(
        *("tc", "qdisc", "add", "dev", BRIDGE, "root"),
        *("tbf", "rate", RATE, "burst", "32kb", "latency", "400ms"),
    )
    try:
        yield
    finally:
        await rack.run("tc", "qdisc", "del", "dev", BRIDGE, "root")
