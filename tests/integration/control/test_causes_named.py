"""Why a machine is stuck, caused for real without a machine: an image that comes slowly."""

import asyncio
import io
from pathlib import Path
from typing import Any

import httpx

from lpmos.agent.console import Console
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.run import run_agent
from lpmos.agent.stop import Stop
from tests.support.builders import actor
from tests.support.control_plane import running
from tests.support.polling import ANSWER_TIMEOUT_S
from tests.support.region import running as running_region
from tests.support.region import until
from tests.support.throttled_proxy import ThrottledProxy

SN, MAC = "SIM-7", "52:54:00:00:00:07"
SLOW_BYTES_PER_S = 25_000.0
"""Over which the tests' image takes twelve seconds."""


async def test_image_that_comes_slowly_is_named_when_it_had_time(tmp_path: Path) -> None:
    console, stop = io.StringIO(), Stop()
    pace = Pace(first_s=0.05, most_s=0.2, scale=0.05)
    async with (
        running_region(tmp_path) as region,
        running(region.store) as control_plane,
        ThrottledProxy(region.region.port, SLOW_BYTES_PER_S) as line,
        httpx.AsyncClient(
            base_url=control_plane.url,
            headers={"Authorization": f"Bearer {control_plane.token}"},
            timeout=ANSWER_TIMEOUT_S,
        ) as api,
    ):
        task = await region.create_task(sn=SN, mac=MAC)
        options = Options(line.endpoint, SN, MAC, simulate=True)
        agent = asyncio.create_task(
            asyncio.to_thread(run_agent, options, Console(console), stop, pace)
        )
        found: dict[str, Any] = {}

        async def named() -> bool:
            answer = await api.get(f"/api/v1/tasks/{task.task_id}/explanation")
            found.update(answer.json())
            return [each["code"] for each in found["causes"]] == ["image-slow"]

        try:
            await region.task_in(task.task_id, "pending_approval")
            await region.tasks.approve(task.task_id, by=actor("admin"), notes=None)
            await until(named, "the cause to be named")
        finally:
            stop.set("the test is over")
            await line.cut()  # else the agent waits for a whole piece of the image
            await asyncio.gather(agent, return_exceptions=True)
    (step,) = (each for each in found["layers"] if each["layer"] == "downloading")
    assert step["at"] and "MB/s" in step["what"]
    assert "network between the machine and the region" in found["causes"][0]["cause"]
