"""Nonces and identities over a failover: what one client gave and took, the other one knows."""

import json
import re
import signal
from typing import Any

import msgspec

from lpmos.store import keys
from tests.support.agent_identity import bearer
from tests.support.builders import MAC, actor, make_inventory, make_spec
from tests.support.region import AGENT_ID, OTHER_AGENT_ID, until
from tests.support.region_pair import IDC, PORT, SERVICE_ADDRESS, Pair

REGION = f"http://{SERVICE_ADDRESS}:{PORT}"
HARDWARE = json.loads(msgspec.json.encode(make_inventory()))


async def nonce(regions: Pair) -> str:
    """The nonce of the machine's boot script."""
    found: list[str] = []

    async def given() -> bool:
        script = await regions.machine.run("curl", "-sS", f"{REGION}/boot/ipxe?mac={MAC}")
        found[:] = re.findall(r"lpmos_nonce=(\S+)", script.decode())
        return bool(found)

    await until(given, "the boot files to be ready")
    return found[0]


async def post(
    regions: Pair, path: str, body: dict[str, Any], identity: str = ""
) -> tuple[int, dict[str, Any]]:
    """A call from the machine."""
    headers = bearer(identity) if identity else {}
    lines = [part for name, text in headers.items() for part in ("-H", f"{name}: {text}")]
    said = await regions.machine.run(
        *("curl", "-sS", "--max-time", "20", "-w", "\n%{http_code}", *lines),
        *("-H", "Content-Type: application/json", "-d", json.dumps(body)),
        f"{REGION}/api/v1/agent/{path}",
    )
    answer, _, status = said.decode().rpartition("\n")
    return int(status), json.loads(answer)


async def exchanged(regions: Pair, token: str, agent_id: str) -> tuple[int, dict[str, Any]]:
    body = {"mac_address": MAC, "agent_id": agent_id, "nonce": token}
    return await post(regions, "identity", body)


async def test_nonce_and_identity_hold_at_the_client_that_takes_over(regions: Pair) -> None:
    task = await regions.tasks.create(make_spec(idc=IDC), by=actor("admin"))
    used, unused = await nonce(regions), await nonce(regions)
    status, answer = await exchanged(regions, used, AGENT_ID)
    assert status == 200

    async def both_keys() -> bool:
        page = await regions.store.range(keys.signer(IDC, ""))
        return len(page.kvs) == 2

    await until(both_keys, "both clients to have told their public keys")
    regions.a.signal(signal.SIGKILL)
    await regions.becomes_active(regions.b)
    assert (await exchanged(regions, used, OTHER_AGENT_ID))[0] == 401
    assert (await exchanged(regions, used, AGENT_ID))[0] == 200
    assert (await exchanged(regions, unused, AGENT_ID))[0] == 200
    report = {"mac_address": MAC, "sn": "SN-1", "agent_id": AGENT_ID, "hardware": HARDWARE}
    assert (await post(regions, "report", report))[0] == 401
    status, answer = await post(regions, "report", report, answer["identity"])
    assert (status, answer["task_id"]) == (200, task.task_id)
    assert "nonce used" in regions.b.log
