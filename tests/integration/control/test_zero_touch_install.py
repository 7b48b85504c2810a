"""An unknown machine is installed without a person: report, rule, task, rule, install."""

import asyncio
import io
from pathlib import Path

from lpmos.agent.console import Console
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.run import run_agent
from lpmos.agent.session import EXIT_INSTALLED
from lpmos.agent.stop import Stop
from lpmos.core.clock import utc_now
from lpmos.model.lifecycle import Status
from lpmos.model.rule import RuleTask
from lpmos.model.task import Task
from lpmos.store import keys, records
from tests.support.builders import actor
from tests.support.region import RunningRegion, running, until
from tests.support.rules import Plane, make_fields

SN, MAC = "SIM-7", "52:54:00:00:00:07"
INSTALL_TIMEOUT_S = 60.0
WAITING = "size(machine.disks) == 1 && machine.memory.total_bytes >= 64*GiB"


async def unmatched(region: RunningRegion) -> bool:
    page = await region.store.range(keys.unmatched_prefix("dc1"), keys_only=True)
    return bool(page.kvs)


async def test_unknown_machine_is_installed_by_rules_alone(tmp_path: Path) -> None:
    console, stop = io.StringIO(), Stop()
    pace = Pace(first_s=0.05, most_s=0.2, scale=0.05)
    async with running(tmp_path) as region:
        plane = Plane(region.store, utc_now)
        async with plane.listening(), plane.deciding():
            options = Options(region.url, SN, MAC, simulate=True)
            agent = asyncio.create_task(
                asyncio.to_thread(run_agent, options, Console(console), stop, pace)
            )
            try:
                await until(lambda: unmatched(region), "the machine's report")
                assert await region.store.get(keys.task("dc1", SN)) is None
                task = RuleTask(os_type="debian", os_version="12", hostname="zt-{sn}")
                await plane.rules.create(
                    "new-machines", make_fields(task=task, condition=WAITING), by=actor("alice")
                )
                await plane.rules.create(
                    "blank-disks",
                    make_fields(condition="task.created_by == 'rule:new-machines'"),
                    by=actor("bob"),
                )
                async with asyncio.timeout(INSTALL_TIMEOUT_S):
                    exit_code = await agent
            finally:
                stop.set("the test is over")
                await asyncio.gather(agent, return_exceptions=True)
        kv = await region.store.get(keys.task("dc1", SN))
        assert kv is not None
        installed = records.decode(kv, Task)

    assert exit_code == EXIT_INSTALLED, console.getvalue()
    assert installed.status is Status.COMPLETED
    assert installed.hostname == "zt-sim-7"
    assert installed.created_by == "rule:new-machines"
    assert installed.approval is not None
    assert installed.approval.approved_by == "rule:blank-disks"
