"""The agent's last word where the installed system speaks for itself, over real HTTP."""

import hashlib
import io

import msgspec
import pytest

from lpmos.agent.console import Console
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.run import run_agent
from lpmos.agent.session import EXIT_FAILED, EXIT_INSTALLED, EXIT_STOPPED
from lpmos.agent.simulated_system import REQUEST
from lpmos.agent.stop import Stop
from lpmos.install import first_boot
from lpmos.model.installplan import FirstBoot
from tests.support.agent_region import AgentRegion, Fault, agent_region, plan_for
from tests.support.builders import make_task

MAC = "52:54:00:00:00:01"
IMAGE = hashlib.shake_256(b"image").digest(30_000)
STATUS, PROGRESS = "/api/v1/agent/status", "/api/v1/agent/progress"
INSTALLED = "/api/v1/installed"
FILES = first_boot.files(make_task(), "http://192.0.2.1:8081")
PLAN = plan_for(IMAGE, first_boot=FirstBoot(files=FILES))


def run(region: AgentRegion) -> tuple[int, str]:
    """The exit code of one simulated agent, and all that it printed."""
    region.plan = PLAN
    region.set("approved")
    stream = io.StringIO()
    options = Options(region.url, "SIM-1", MAC, simulate=True)
    pace = Pace(first_s=0.01, most_s=0.05, scale=0.01)
    return run_agent(options, Console(stream), Stop(), pace), stream.getvalue()


def test_run_hands_over_and_its_system_completes_the_task() -> None:
    with agent_region(IMAGE) as region:
        code, text = run(region)
        assert (code, region.status) == (EXIT_INSTALLED, "completed")
        last = region.heard(STATUS)[-1]
        (word,) = region.heard(INSTALLED)
    assert last["status"] == "restarting"
    assert last["first_boot_sha256"] == hashlib.sha256(word["token"].encode()).hexdigest()
    assert (word["task_id"], word["mac_address"]) == (make_task().task_id, MAC)
    assert "installed; the machine starts its own disk now" in text
    assert word["token"] not in text and word["token"] not in repr(region.heard(PROGRESS))


def test_every_console_line_before_the_last_word_is_handed_in() -> None:
    with agent_region(IMAGE) as region:
        _, text = run(region)
        lines = [line for body in region.heard(PROGRESS) for line in body["log"]]
    printed = [line.strip() for line in text.splitlines()][:-2]
    assert [line.partition("] ")[2].strip() for line in lines] == printed


def test_last_word_whose_answer_was_lost_is_repeated() -> None:
    with agent_region(IMAGE) as region:
        region.on_progress = lambda body: (
            region.faults.append(Fault(STATUS, 0))
            if body["stage"] == "configuring" and not region.faults
            else None
        )
        code, _ = run(region)
        words = [body for body in region.heard(STATUS) if body["status"] == "restarting"]
    assert code == EXIT_INSTALLED
    assert len(words) >= 2 and len({word["first_boot_sha256"] for word in words}) == 1


def test_last_word_for_a_task_that_was_cancelled_stops_the_run() -> None:
    with agent_region(IMAGE) as region:
        region.on_progress = lambda body: (
            region.faults.append(Fault(STATUS, 409, {}, {"detail": "it was cancelled"}))
            if body["stage"] == "configuring" and not region.faults
            else None
        )
        code, text = run(region)
        assert region.heard(INSTALLED) == []
    assert code == EXIT_STOPPED
    assert "it was cancelled" in text


def test_region_that_does_not_know_the_word_gets_the_earlier_one() -> None:
    """A client of an earlier version may have taken over in the middle of the install."""
    with agent_region(IMAGE) as region:
        region.on_progress = lambda body: (
            region.faults.append(Fault(STATUS, 422, {}, {"detail": "status: is unknown"}))
            if body["stage"] == "configuring" and not region.faults
            else None
        )
        run(region)
        last = region.heard(PROGRESS)[-1]
    assert (last["stage"], last["percentage"]) == ("configuring", 100)
    assert region.status == "completed"


def test_simulated_system_that_the_region_refuses_fails_the_run() -> None:
    with agent_region(IMAGE) as region:
        region.faults = [Fault(INSTALLED, 409, {}, {"detail": "the task is failed"})]
        code, text = run(region)
    assert code == EXIT_FAILED
    assert "the task is failed" in text


def test_request_of_the_plan_is_where_the_simulation_reads_it() -> None:
    assert first_boot.REQUEST == REQUEST


@pytest.mark.parametrize("path", [first_boot.REQUEST])
def test_token_stands_in_the_plan_as_a_placeholder_only(path: str) -> None:
    (request,) = (file for file in FILES if file.path == path)
    assert msgspec.json.decode(request.content)["token"] == "{{FIRST_BOOT_TOKEN}}"
