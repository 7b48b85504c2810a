"""Identities for tests that play an agent: asked for as an agent does, or made by the region's key.

`booted` and `identified` are the protocol itself. `Minted` is for tests of something else: it has
the region's own key, so a call needs no boot before it and leaves nothing behind.
"""

import os
import re
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from lpmos.core.clock import utc_now
from lpmos.region.identities import BOUND_LIFE_S, Identity
from lpmos.region.signing import FILE_NAME, Signer

_ARGUMENT = re.compile(r"^kernel .*\blpmos_nonce=(\S+)", re.MULTILINE)


async def booted(http: aiohttp.ClientSession, url: str, mac: str) -> str:
    """The nonce of the machine's boot script."""
    async with http.get(f"{url}/boot/ipxe?mac={mac}") as answer:
        return nonce_in(await answer.text())


def nonce_in(script: str) -> str:
    """The nonce of a boot script for the agent."""
    match = _ARGUMENT.search(script)
    assert match, script
    return match[1]


async def exchanged(
    http: aiohttp.ClientSession, url: str, mac: str, agent_id: str, nonce: str
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of the exchange of a nonce."""
    body = {"mac_address": mac, "agent_id": agent_id, "nonce": nonce}
    async with http.post(f"{url}/api/v1/agent/identity", json=body) as answer:
        return answer.status, await answer.json(content_type=None)


async def identified(http: aiohttp.ClientSession, url: str, mac: str, agent_id: str) -> str:
    """The identity of an agent run that has just booted."""
    status, answer = await exchanged(http, url, mac, agent_id, await booted(http, url, mac))
    assert status == 200, answer
    return str(answer["identity"])


def bearer(identity: str) -> dict[str, str]:
    """The header that shows it."""
    return {"Authorization": f"Bearer {identity}"}


class Minted:
    """Identities made with the key in a region's state directory."""

    def __init__(self, state_dir: Path, client: str = "test") -> None:
        self._signer = Signer.load(state_dir / FILE_NAME, client)

    def identity(
        self,
        mac: str,
        agent_id: str,
        task_id: str | None,
        *,
        address: str = "127.0.0.1",
        life_s: int = BOUND_LIFE_S,
    ) -> str:
        """An identity that ends after `life_s`."""
        expires_at = int(utc_now().timestamp()) + life_s
        session = os.urandom(16).hex()
        made = Identity(mac, agent_id, address, session, expires_at, task_id)
        return self._signer.sign("identity", msgspec.json.encode(made))
