"""Words of agents that come a hundred times at once, or late; and a plug that is pulled."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from lpmos.agent.options import Options
from lpmos.agent.simulation import SimulatedMachine
from tests.support.agent_identity import bearer, identified
from tests.support.fault_group import installed_all, wrong_in
from tests.support.fault_site import TIMEOUT_S, FaultSite, Machine, embedded_site
from tests.support.polling import until

pytestmark = [pytest.mark.faults, pytest.mark.slow]

TIMES = 100
LATE_WORDS = (("downloading", 30), ("partitioning", 2), ("installing", 61), ("partitioning", 10))
IN_ORDER = (("partitioning", 10), ("downloading", 60), ("installing", 80), ("configuring", 95))


class Caller:
    """An agent run of the test's own, which can say anything at any time."""

    def __init__(self, http: aiohttp.ClientSession, machine: Machine) -> None:
        self._http = http
        self.machine = machine
        self._run = {"mac_address": machine.mac, "agent_id": "ab" * 16}
        self._headers: dict[str, str] = {}

    async def identify(self, region_url: str) -> None:
        """Boot, and get the run's identity."""
        agent_id = self._run["agent_id"]
        identity = await identified(self._http, region_url, self.machine.mac, agent_id)
        self._headers = bearer(identity)

    async def report(self) -> int:
        """The hardware report; the answer's status."""
        options = Options(regional_url="", sn=self.machine.sn, mac=self.machine.mac)
        hardware = SimulatedMachine(options).inventory()
        hardware["collected_at"] = "2026-01-01T00:00:00Z"
        return await self._post("report", {"sn": self.machine.sn, "hardware": hardware})

    async def claim(self) -> int:
        """The claim; the answer's status."""
        return await self._post("status", {"status": "installing", "progress": 0, "message": ""})

    async def progress(self, stage: str, percentage: float) -> int:
        """Progress; the answer's status."""
        word = {"stage": stage, "percentage": percentage, "message": f"{stage} {percentage}"}
        return await self._post("progress", word)

    async def _post(self, call: str, body: dict[str, Any]) -> int:
        task = {"task_id": self.machine.task_id} if call != "report" else {}
        path = f"/api/v1/agent/{call}"
        async with self._http.post(
            path, json={**self._run, **task, **body}, headers=self._headers
        ) as answer:
            self._headers = (
                bearer(answer.headers["LPMOS-Identity"])
                if "LPMOS-Identity" in answer.headers
                else self._headers
            )
            return answer.status


async def test_words_said_a_hundred_times_late_and_out_of_order_count_once(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    connector = aiohttp.TCPConnector(limit=TIMES)
    async with (
        embedded_site(tmp_path) as site,
        aiohttp.ClientSession(site.region_url, connector=connector) as http,
    ):
        caller = Caller(http, site.machine("loud"))
        await site.create_task(caller.machine)
        await site.until_status({caller.machine: "ready"})
        await caller.identify(site.region_url)
        assert await _all_of(caller.report) == {200}
        await site.approve(caller.machine)
        assert await _all_of(caller.claim) == {200}
        for stage, percentage in (*IN_ORDER, *LATE_WORDS):
            assert await caller.progress(stage, percentage) == 200
        assert await caller.progress("configuring", 100) == 200
        await site.until_status({caller.machine: "completed"})
        await _check_once(site, caller.machine)
        before = await site.task(caller.machine)
        for stage, percentage in LATE_WORDS:
            assert await caller.progress(stage, percentage) in {200, 401, 409}
        assert await site.task(caller.machine) == before
    record_property(
        "fault", (f"report and claim {TIMES} times at once, progress late", "counted once")
    )


async def _all_of(call: Callable[[], Any]) -> set[int]:
    return set(await asyncio.gather(*(call() for _ in range(TIMES))))


async def _check_once(site: FaultSite, machine: Machine) -> None:
    """The task went its way once."""

    async def told() -> bool:
        return (await site.audited(machine))["task.completed"] > 0

    await until(told, TIMEOUT_S)
    audited = await site.audited(machine)
    assert {name: count for name, count in audited.items() if count != 1} == {}
    task = await site.task(machine)
    statuses = [change["status"] for change in task["status_history"]]
    assert len(statuses) == len(set(statuses))


async def test_machine_killed_in_its_install_is_installed_again_by_a_new_approval_only(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    async with embedded_site(tmp_path) as site:
        machine = site.machine("again")
        await site.create_task(machine)
        await machine.power_on("installing")
        await site.until_status({machine: "pending_approval"})
        await site.approve(machine)
        await until(lambda: _holds(machine), TIMEOUT_S)
        await machine.pull_plug()
        for _ in range(3):
            await machine.power_on()
            await site.until_status({machine: "failed"})
            await until(lambda: _is_off(machine), TIMEOUT_S)
        assert machine.installs_begun == 1
        await site.retry(machine)
        await machine.power_on()
        await site.until_status({machine: "pending_approval"})
        assert machine.installs_begun == 1
        await installed_all(site, [machine])
        assert not await wrong_in(site, machine, begun=2)
    record_property(
        "fault", ("plug pulled in an install", "three boots install nothing, a new approval does")
    )


async def _holds(machine: Machine) -> bool:
    return machine.holds("installing")


async def _is_off(machine: Machine) -> bool:
    return not machine.runs
