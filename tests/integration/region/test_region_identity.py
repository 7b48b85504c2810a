"""Agents' identities over real HTTP (X3): what a stolen, repeated, foreign or old one gets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog

from lpmos.model.task import Task
from lpmos.region.agent_api import EXCHANGES_A_MINUTE
from lpmos.region.agent_gate import HEADER
from lpmos.region.identities import BOUND_LIFE_S, IDENTITY_LIFE_S
from lpmos.region.leases import DhcpLease, render_leases
from lpmos.region.seldom import SAY_LIMIT
from tests.support.agent_identity import bearer, booted, exchanged, identified
from tests.support.builders import MAC, actor, make_inventory
from tests.support.region import AGENT_ID, OTHER_AGENT_ID, RunningRegion, running, until

OTHER_MAC = "52:54:00:00:00:99"
AGENT = "/api/v1/agent"
HARDWARE = json.loads(msgspec.json.encode(make_inventory()))
REPORT = {"mac_address": MAC, "sn": "SN-1", "agent_id": AGENT_ID, "hardware": HARDWARE}


@pytest.fixture
async def region(tmp_path: Path) -> AsyncIterator[RunningRegion]:
    async with running(tmp_path) as started:
        yield started


@asynccontextmanager
async def thief() -> AsyncIterator[aiohttp.ClientSession]:
    """Calls from another address of this machine."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.2", 0))
    async with aiohttp.ClientSession(connector=connector) as http:
        yield http


class Agent:
    """An agent that shows exactly what it is told to."""

    def __init__(self, region: RunningRegion, identity: str = "") -> None:
        self.region = region
        self.http = region.http
        self.identity = identity

    async def post(
        self, path: str, body: dict[str, Any], http: aiohttp.ClientSession | None = None
    ) -> tuple[int, dict[str, Any]]:
        """A call; an identity in the answer is the next one."""
        headers = bearer(self.identity) if self.identity else {}
        url = self.region.url + path
        async with (http or self.http).post(url, json=body, headers=headers) as answer:
            self.identity = answer.headers.get(HEADER, self.identity)
            return answer.status, await answer.json(content_type=None)

    async def report(self, **fields: Any) -> tuple[int, dict[str, Any]]:
        return await self.post(f"{AGENT}/report", {**REPORT, **fields})

    async def approval(self, task: Task, mac: str = MAC) -> tuple[int, dict[str, Any]]:
        url = f"{self.region.url}{AGENT}/approval/{mac}?task_id={task.task_id}"
        headers = bearer(self.identity) if self.identity else {}
        async with self.http.get(url, headers=headers) as answer:
            return answer.status, await answer.json(content_type=None)

    async def progress(
        self, task: Task, percentage: float, **fields: Any
    ) -> tuple[int, dict[str, Any]]:
        body = {
            **{"mac_address": MAC, "agent_id": AGENT_ID, "task_id": task.task_id},
            **{"stage": "downloading", "percentage": percentage},
        }
        return await self.post(f"{AGENT}/progress", {**body, **fields})

    async def claim(self, task: Task) -> tuple[int, dict[str, Any]]:
        intent = (await self.region.stored_task(task)).intent
        body = {"mac_address": MAC, "agent_id": AGENT_ID, "task_id": task.task_id}
        said = {"status": "installing", "intent_id": intent and intent.intent_id}
        return await self.post(f"{AGENT}/status", {**body, **said})


async def known_agent(region: RunningRegion) -> Agent:
    """An agent that came in by its boot script."""
    return Agent(region, await identified(region.http, region.url, MAC, AGENT_ID))


async def refusals(region: RunningRegion, reason: str) -> float:
    """How many of them the region has counted."""
    _, text = await region.text("/metrics")
    wanted = f'lpmos_region_agents_refused_total{{reason="{reason}"}} '
    found = [line for line in text.splitlines() if line.startswith(wanted)]
    return float(found[0].rpartition(" ")[2]) if found else 0.0


async def approved(region: RunningRegion) -> tuple[Task, Agent]:
    """An approved task, and its agent."""
    task = await region.create_task()
    agent = await known_agent(region)
    assert (await agent.report())[0] == 200
    await region.task_in(task.task_id, "pending_approval")
    await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
    return await region.task_in(task.task_id, "approved"), agent


async def test_agent_with_its_boot_script_installs(region: RunningRegion) -> None:
    task, agent = await approved(region)
    status, answer = await agent.approval(task)
    assert (status, answer["status"]) == (200, "approved")
    assert (await agent.claim(task))[0] == 200
    assert (await agent.progress(task, 30))[0] == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", f"{AGENT}/report"),
        ("POST", "/api/report"),
        ("POST", f"{AGENT}/status"),
        ("POST", f"{AGENT}/progress"),
        ("POST", "/api/progress"),
        ("GET", f"{AGENT}/approval/{MAC}"),
        ("GET", f"/api/approval/{MAC}"),
    ],
)
@pytest.mark.parametrize("shown", [None, "Bearer", "Bearer x.y.z", "Basic YTpi", ""])
async def test_call_without_an_identity_gets_nothing(
    region: RunningRegion, method: str, path: str, shown: str | None
) -> None:
    task = await region.create_task()
    headers = {} if shown is None else {"Authorization": shown}
    async with region.http.request(
        method, region.url + path, json=REPORT, headers=headers
    ) as answer:
        assert (answer.status, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await answer.json(content_type=None))["code"] == "agent-identity"
        assert HEADER not in answer.headers
    assert (await region.stored_task(task)).status.value == "ready"


async def test_call_without_an_identity_is_taken_where_it_is_optional(tmp_path: Path) -> None:
    async with running(tmp_path, agent_identity="optional") as region:
        await region.create_task()
        assert (await Agent(region).report())[0] == 200
        assert (await Agent(region, "x.y.z").report())[0] == 401


async def test_nonce_of_another_run_is_refused_shown_and_counted(region: RunningRegion) -> None:
    nonce = await booted(region.http, region.url, MAC)
    first = await exchanged(region.http, region.url, MAC, AGENT_ID, nonce)
    assert first == await exchanged(region.http, region.url, MAC, AGENT_ID, nonce)
    assert first[0] == 200
    with structlog.testing.capture_logs() as lines:
        status, answer = await exchanged(region.http, region.url, MAC, OTHER_AGENT_ID, nonce)
        assert (status, answer["code"]) == (401, "agent-identity")
        (said,) = [line for line in lines if line["event"] == "an agent is refused"]
    assert (said["reason"], said["ip"]) == ("nonce used", "127.0.0.1")
    assert said["hint"]
    assert nonce not in str(lines)
    assert await refusals(region, "nonce used") == 1


async def test_nonce_from_another_address_or_for_another_mac_is_refused(
    region: RunningRegion,
) -> None:
    nonce = await booted(region.http, region.url, MAC)
    async with thief() as http:
        assert (await exchanged(http, region.url, MAC, AGENT_ID, nonce))[0] == 401
    assert (await exchanged(region.http, region.url, OTHER_MAC, AGENT_ID, nonce))[0] == 401
    assert await refusals(region, "other address") == 1
    assert await refusals(region, "other MAC") == 1
    assert (await exchanged(region.http, region.url, MAC, AGENT_ID, nonce))[0] == 200


async def test_exchange_with_wrong_fields_names_them(region: RunningRegion) -> None:
    status, answer = await exchanged(region.http, region.url, "zz", "?", "x" * 5000)
    assert status == 422
    assert {"mac_address", "agent_id"} <= {each["field"] for each in answer["errors"]} | {"nonce"}


async def test_identity_of_another_address_mac_or_run_is_refused(region: RunningRegion) -> None:
    await region.create_task()
    agent = await known_agent(region)
    async with thief() as http:
        assert (await agent.post(f"{AGENT}/report", REPORT, http))[0] == 401
    assert (await agent.report(mac_address=OTHER_MAC))[0] == 401
    assert (await agent.report(agent_id=OTHER_AGENT_ID))[0] == 401
    for reason in ("other address", "other MAC", "other run"):
        assert await refusals(region, reason) == 1
    assert not (await region.store.range("/os/unmatched_reports/dc1/")).kvs


async def test_identity_that_has_ended_is_refused(region: RunningRegion) -> None:
    await region.create_task()
    ended = region.minted.identity(MAC, AGENT_ID, None, life_s=-1)
    assert (await Agent(region, ended).report())[0] == 401
    assert await refusals(region, "expired") == 1


async def test_region_whose_clock_is_set_forward_ends_no_install(region: RunningRegion) -> None:
    task, agent = await approved(region)
    assert (await agent.claim(task))[0] == 200
    ended = region.minted.identity(MAC, AGENT_ID, task.task_id, life_s=-86_400)
    agent = Agent(region, ended)
    assert (await agent.progress(task, 30))[0] == 200
    assert agent.identity != ended
    await region.tasks.cancel(task.task_id, by=actor("admin"))
    await region.task_in(task.task_id, "cancelled")
    assert (await Agent(region, ended).progress(task, 40))[0] == 401


async def test_refusals_are_all_counted_and_the_first_are_logged(region: RunningRegion) -> None:
    with structlog.testing.capture_logs() as lines:
        for _ in range(SAY_LIMIT + 3):
            assert (await Agent(region).report())[0] == 401
    said = [line for line in lines if line["event"] == "an agent is refused"]
    assert len(said) == SAY_LIMIT
    assert await refusals(region, "none") == SAY_LIMIT + 3


async def test_boots_of_one_address_are_bounded(region: RunningRegion) -> None:
    """Each is kept on the region's disk and in the store for an hour."""

    async def exchange(http: aiohttp.ClientSession) -> int:
        return (await exchanged(http, region.url, MAC, AGENT_ID, "x.y.z"))[0]

    found = [await exchange(region.http) for _ in range(EXCHANGES_A_MINUTE + 1)]
    assert set(found[:-1]) == {401} and found[-1] == 429
    async with thief() as http:
        assert await exchange(http) == 401


async def test_machine_that_names_another_ones_serial_and_cards_gets_nothing(
    region: RunningRegion,
) -> None:
    task, _ = await approved(region)
    other = Agent(region, await identified(region.http, region.url, OTHER_MAC, AGENT_ID))
    nics = [*HARDWARE["nics"], {**HARDWARE["nics"][0], "mac": OTHER_MAC}]
    lie = {"mac_address": OTHER_MAC, "hardware": {**HARDWARE, "nics": nics}}
    status, answer = await other.report(**lie)
    assert (status, answer["code"]) == (409, "foreign-machine")
    assert (await other.approval(task, OTHER_MAC))[0] in (401, 404)
    assert (await region.stored_task(task)).status.value == "approved"


async def test_identity_past_half_of_its_life_is_renewed_with_any_answer(
    region: RunningRegion,
) -> None:
    task, agent = await approved(region)
    fresh = agent.identity
    assert (await agent.progress(task, 0))[0] == 409
    assert agent.identity == fresh
    old = region.minted.identity(MAC, AGENT_ID, task.task_id, life_s=BOUND_LIFE_S // 2 - 5)
    agent = Agent(region, old)
    assert (await agent.progress(task, 0))[0] == 409
    assert agent.identity != old
    waits = region.minted.identity(OTHER_MAC, AGENT_ID, None, life_s=IDENTITY_LIFE_S // 2 - 5)
    region.store.away = True
    await until(lambda: not region.fleet.connected, "the outage to be seen")
    agent = Agent(region, waits)
    assert (await agent.report(mac_address=OTHER_MAC, sn="SN-9"))[0] == 503
    assert agent.identity != waits


async def test_identity_of_one_task_gets_nothing_of_the_next(region: RunningRegion) -> None:
    task, agent = await approved(region)
    await region.tasks.cancel(task.task_id, by=actor("admin"))
    await region.task_in(task.task_id, "cancelled")
    second = await region.create_task()
    assert (await agent.approval(second))[0] == 401
    assert (await agent.progress(second, 10))[0] == 401
    assert (await agent.report())[0] == 401
    assert await refusals(region, "other task") == 3
    assert (await region.stored_task(second)).status.value == "ready"


async def test_identity_before_the_report_is_bound_by_it_too(region: RunningRegion) -> None:
    task = await region.create_task()
    agent = await known_agent(region)
    before = agent.identity
    assert (await Agent(region, before).progress(task, 10))[0] == 401
    assert await refusals(region, "no report") == 1
    assert (await agent.report())[0] == 200
    await region.tasks.cancel(task.task_id, by=actor("admin"))
    await region.task_in(task.task_id, "cancelled")
    await region.create_task()
    assert (await Agent(region, before).report())[0] == 401


async def test_identity_after_its_task_hears_only_that_it_is_over(region: RunningRegion) -> None:
    task, agent = await approved(region)
    assert (await agent.claim(task))[0] == 200
    last: dict[str, Any] = {"stage": "configuring", "log": ["[INFO] last"]}
    assert (await agent.progress(task, 100, **last))[0] == 200
    await region.task_in(task.task_id, "completed")
    done = await region.stored_task(task)
    log = (await region.text(f"/api/v1/tasks/{task.task_id}/log"))[1]
    late = region.minted.identity(MAC, AGENT_ID, task.task_id, life_s=60)
    agent = Agent(region, late)
    assert (await agent.progress(task, 100, **last))[0] == 200
    assert (await agent.report())[1]["next_action"] == "stop"
    assert (await agent.approval(task))[1]["status"] == "completed"
    assert agent.identity == late
    assert await region.stored_task(task) == done
    assert (await region.text(f"/api/v1/tasks/{task.task_id}/log"))[1] == log


async def test_plan_is_not_told_to_who_has_no_identity_of_the_task(region: RunningRegion) -> None:
    task, _ = await approved(region)
    for mac, agent_id in ((OTHER_MAC, AGENT_ID), (MAC, OTHER_AGENT_ID)):
        other = Agent(region, region.minted.identity(mac, agent_id, None))
        status, answer = await other.approval(task)
        assert status == 401
        assert "plan" not in answer


async def test_nonce_is_used_once_over_a_restart_and_without_the_store(tmp_path: Path) -> None:
    async with running(tmp_path) as region:
        task = await region.create_task()
        stored = await booted(region.http, region.url, MAC)
        kept = await booted(region.http, region.url, MAC)
        assert (await exchanged(region.http, region.url, MAC, AGENT_ID, stored))[0] == 200
        region.store.away = True
        await until(lambda: not region.fleet.connected, "the outage to be seen")
        assert (await exchanged(region.http, region.url, MAC, AGENT_ID, kept))[0] == 200
    async with running(tmp_path) as region:
        region.store.away = True
        await until(lambda: not region.fleet.connected, "the outage to be seen")
        for nonce in (stored, kept):
            used = await exchanged(region.http, region.url, MAC, OTHER_AGENT_ID, nonce)
            assert used[0] == 401
            status, answer = await exchanged(region.http, region.url, MAC, AGENT_ID, nonce)
            assert status == 200
            assert (await Agent(region, answer["identity"]).report())[1]["task_id"] == task.task_id


async def test_boot_script_for_an_address_of_another_machine_waits(region: RunningRegion) -> None:
    file = region.state_dir / "dhcp.leases"
    later = int(time.time()) + 600

    async def script() -> str:
        return (await region.text(f"/boot/ipxe?mac={MAC}"))[1]

    assert "lpmos_nonce=" in await script()
    file.write_text(render_leases([DhcpLease("127.0.0.1", OTHER_MAC, later)]))
    with structlog.testing.capture_logs() as lines:
        refused = await script()
    assert "lpmos_nonce=" not in refused
    assert "another machine" in refused
    assert "/boot/boot.ipxe" in refused
    assert [line["leased_to"] for line in lines if "leased_to" in line] == [OTHER_MAC]
    task = await region.create_task()
    assert "lpmos_nonce=" not in await script()
    assert (await region.stored_task(task)).status.value == "ready"
    file.write_text(render_leases([DhcpLease("127.0.0.1", OTHER_MAC, 1)]))
    assert "lpmos_nonce=" in await script()
    file.write_text(render_leases([DhcpLease("127.0.0.1", MAC, later)]))
    assert "lpmos_nonce=" in await script()
    file.unlink()
    assert "lpmos_nonce=" in await script()


async def test_nothing_of_a_nonce_or_identity_is_in_logs_or_in_the_store(
    region: RunningRegion,
) -> None:
    with structlog.testing.capture_logs() as lines:
        task = await region.create_task()
        nonce = await booted(region.http, region.url, MAC)
        _, answer = await exchanged(region.http, region.url, MAC, AGENT_ID, nonce)
        agent = Agent(region, answer["identity"])
        await agent.report()
        await region.task_in(task.task_id, "pending_approval")
    page = await region.store.range("/")
    written = " ".join([str(lines), *(kv.key + kv.value.decode() for kv in page.kvs)])
    for secret in (nonce, answer["identity"], agent.identity):
        assert all(part not in written for part in secret.split(".")[1:])


async def test_hundred_exchanges_of_one_nonce_at_once_have_one_winner(
    region: RunningRegion,
) -> None:
    nonce = await booted(region.http, region.url, MAC)
    calls = (
        exchanged(region.http, region.url, MAC, f"{number:032x}", nonce) for number in range(100)
    )
    answers = await asyncio.gather(*calls)
    assert sorted(status for status, _ in answers) == [200] + [401] * 99
