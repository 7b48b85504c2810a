"""Whole agent runs against a region over real HTTP, in good and bad weather."""

import itertools
import threading
from typing import Any

import pytest

from lpmos.agent.errors import InstallError
from lpmos.agent.inventory import Inventory
from lpmos.agent.inventory.nics import with_neighbours
from lpmos.agent.job import Job
from lpmos.agent.options import Options
from lpmos.agent.plan import Plan
from lpmos.agent.reporter import Progress
from lpmos.agent.session import (
    EXIT_FAILED,
    EXIT_INSTALLED,
    EXIT_NO_TASK,
    EXIT_STOPPED,
)
from lpmos.agent.simulation import SimulatedMachine
from lpmos.agent.trace import Trace
from tests.support.agent_region import (
    IMAGE_PATH,
    Fault,
    agent_region,
)
from tests.support.agent_runs import (
    APPROVAL,
    IMAGE,
    MAC,
    PROGRESS,
    REPORT,
    SOON_S,
    STAGES,
    STATUS,
    Run,
    ScriptedMachine,
)


def test_run_is_reported_approved_installed_and_completed() -> None:
    with agent_region(IMAGE) as region:
        run = Run(region)
        region.wait_for(lambda: bool(region.heard(APPROVAL)))
        region.set("approved")
        assert run.end() == EXIT_INSTALLED
        assert region.status == "completed"
        (report,) = region.heard(REPORT)
        assert (report["mac_address"], report["sn"]) == (MAC, "SIM-1")
        (claim,) = region.heard(STATUS)
        assert claim["intent_id"] == "intent-1"
        assert claim["agent_id"] == report["agent_id"]
        last = region.heard(PROGRESS)[-1]
        assert (last["stage"], last["percentage"]) == ("configuring", 100)
        for line in ("[1/4] Collecting", "[2/4] Reporting", "[3/4] Waiting", "[4/4] Installing"):
            assert line in run.text


def test_each_call_names_the_span_of_its_stage() -> None:
    trace = Trace("a1" * 16, "b2" * 8)
    with agent_region(IMAGE) as region:
        region.set("approved")
        assert Run(region, trace=trace).end() == EXIT_INSTALLED
    before = trace.header("boot.agent")
    for call in region.calls:
        stage = call.body.get("stage")
        if stage is not None:
            assert call.traceparent == trace.header(f"install.{stage}")
        elif call.path.startswith((REPORT, APPROVAL)) or call.body.get("status") == "installing":
            assert call.traceparent == before
    downloads = [call for call in region.calls if call.path == IMAGE_PATH]
    assert {call.traceparent for call in downloads} == {trace.header("install.downloading")}


def test_call_without_a_trace_says_nothing_of_one() -> None:
    with agent_region(IMAGE) as region:
        region.set("approved")
        assert Run(region).end() == EXIT_INSTALLED
    assert {call.traceparent for call in region.calls} == {None}


class HearingMachine(SimulatedMachine):
    """A simulated machine whose switch tells its name after the first report."""

    def __init__(self) -> None:
        super().__init__(Options("http://region", "SIM-1", MAC, simulate=True))
        self._reports = 0

    def inventory(self) -> Inventory:
        self._reports += 1
        heard = {"eno1": {"system": "leaf-12a"}} if self._reports > 1 else {}
        return with_neighbours(super().inventory(), heard)

    def knows_more(self) -> bool:
        return self._reports == 1


def test_switch_that_is_heard_while_waiting_is_reported_once() -> None:
    with agent_region(IMAGE) as region:
        region.faults = [Fault(APPROVAL, 200, {}, {"status": "pending"})]
        run = Run(region, HearingMachine())
        region.wait_for(lambda: len(region.heard(REPORT)) == 2)
        region.set("approved")
        assert run.end() == EXIT_INSTALLED
        first, second = region.heard(REPORT)
        assert [nic["neighbour"] for nic in first["hardware"]["nics"]] == [None]
        assert second["hardware"]["nics"][0]["neighbour"]["system"] == "leaf-12a"


def test_run_shows_the_identity_that_it_got_last() -> None:
    with agent_region(IMAGE, nonce="n.o.nce") as region:
        region.set("approved")
        assert Run(region).end() == EXIT_INSTALLED
        shown = [call.authorization for call in region.calls if call.path.startswith("/api")]
        assert shown[:3] == [None, "Bearer identity-1", "Bearer identity-2"]
        assert all(shown[1:])
        assert len(set(shown)) > 3
        assert all(call.authorization is None for call in region.calls if call.range)
        agents = {call.body.get("agent_id") for call in region.calls if "/agent/" in call.path}
        assert len(agents - {None}) == 1


def test_run_whose_nonce_is_refused_ends_with_the_regions_text() -> None:
    with agent_region(IMAGE, nonce="n.o.nce") as region:
        refusal = {"detail": "the nonce was used before; boot again"}
        region.faults.append(Fault("/api/v1/agent/identity", 401, body=refusal))
        run = Run(region)
        assert run.end() == EXIT_FAILED
        assert "boot again" in run.text
        assert not region.heard(REPORT)


def test_run_hands_in_every_console_line_once() -> None:
    with agent_region(IMAGE) as region:
        region.set("approved")
        run = Run(region)
        assert run.end() == EXIT_INSTALLED
        lines = [line for body in region.heard(PROGRESS) for line in body["log"]]
        printed = [line.strip() for line in run.text.splitlines()][:-1]
        assert [line.partition("] ")[2].strip() for line in lines] == printed


def test_run_without_a_task_ends_after_ten_reports() -> None:
    with agent_region(has_task=False, retry_after=0.5) as region:
        run = Run(region)
        assert run.end() == EXIT_NO_TASK
        assert len(region.heard(REPORT)) == 10
        assert "POST /api/v1/tasks" in run.text
        assert len({body["agent_id"] for body in region.heard(REPORT)}) == 1


def test_run_in_discovery_stays_until_there_is_a_task() -> None:
    with agent_region(IMAGE, has_task=False, discovery=True, retry_after=0.1) as region:
        run = Run(region)
        region.wait_for(lambda: len(region.heard(REPORT)) > 10)
        region.has_task = True
        region.set("approved")
        assert run.end() == EXIT_INSTALLED


def test_report_answered_with_503_is_repeated_when_asked() -> None:
    with agent_region() as region:
        region.faults = [
            Fault(REPORT, 503, {"Retry-After": "20"}, {"detail": "the store is away"})
        ] * 3
        region.report_action, region.reason = "stop", "no suitable disk"
        run = Run(region)
        assert run.end() == EXIT_STOPPED
        times = [call.at_s for call in region.calls]
        assert len(times) == 4
        assert all(later - earlier >= 0.2 for earlier, later in itertools.pairwise(times))
        assert "the store is away" in run.text
        assert "no suitable disk" in run.text


def test_report_without_an_answer_is_repeated() -> None:
    with agent_region() as region:
        region.faults = [Fault(REPORT, 0), Fault(REPORT, 500), Fault(REPORT, 429)]
        region.report_action = "stop"
        assert Run(region).end() == EXIT_STOPPED
        assert len(region.heard(REPORT)) == 4


@pytest.mark.parametrize("status", [400, 401, 413, 422])
def test_report_that_is_refused_ends_with_the_regions_text(status: int) -> None:
    problem = {"detail": "bad", "errors": [{"field": "hardware.cpu", "message": "is missing"}]}
    with agent_region() as region:
        region.faults = [Fault(REPORT, status, {}, problem)]
        run = Run(region)
        assert run.end() == EXIT_FAILED
        assert "hardware.cpu: is missing" in run.text


@pytest.mark.parametrize("status", ["rejected", "cancelled", "failed", "completed"])
def test_run_whose_task_ends_before_approval_stops(status: str) -> None:
    with agent_region() as region:
        run = Run(region)
        region.wait_for(lambda: bool(region.heard(APPROVAL)))
        region.set(status, "the wrong rack")
        assert run.end() == EXIT_STOPPED
        assert "the wrong rack" in run.text
        assert region.heard(STATUS) == []


def test_run_whose_task_is_gone_stops() -> None:
    with agent_region() as region:
        region.faults = [Fault(APPROVAL, 404, {}, {"detail": "no such task"})]
        run = Run(region)
        assert run.end() == EXIT_STOPPED
        assert "no such task" in run.text


def test_progress_of_a_slow_region_never_slows_the_install() -> None:
    release = threading.Event()

    def install(plan: Plan, job: Job) -> None:
        for number in range(1000):
            job.report(Progress("downloading", 20 + number / 100, str(number)))
        release.set()

    with agent_region(IMAGE) as region:

        def hold(body: dict[str, Any]) -> None:
            release.wait(SOON_S)

        region.on_progress = hold
        region.set("approved")
        assert Run(region, ScriptedMachine(install)).end() == EXIT_INSTALLED
        assert len(region.heard(PROGRESS)) < 10


def test_stages_that_end_at_once_are_each_told_of_in_order() -> None:
    with agent_region(IMAGE) as region:
        region.set("approved")
        assert Run(region).end() == EXIT_INSTALLED
        stages = [body["stage"] for body in region.heard(PROGRESS)]
    assert list(dict.fromkeys(stages)) == STAGES
    assert sorted(stages, key=STAGES.index) == stages


def test_stages_before_a_failure_are_told_of() -> None:
    def install(plan: Plan, job: Job) -> None:
        for stage in STAGES[:3]:
            job.at(stage, 10.0 * STAGES.index(stage), stage)
        raise InstallError("the disk is gone")

    with agent_region(IMAGE) as region:
        region.set("approved")
        assert Run(region, ScriptedMachine(install)).end() == EXIT_FAILED
        stages = [body["stage"] for body in region.heard(PROGRESS)]
    assert list(dict.fromkeys(stages)) == STAGES[:3]


def test_several_simulated_agents_run_in_one_process() -> None:
    with agent_region(IMAGE) as one, agent_region(IMAGE) as two:
        one.set("approved")
        two.set("approved")
        runs = [Run(one), Run(two)]
        assert [run.end() for run in runs] == [EXIT_INSTALLED] * 2


def test_simulated_machine_is_the_same_for_the_same_serial() -> None:
    def made(sn: str) -> Inventory:
        return SimulatedMachine(Options("http://r", sn, MAC, simulate=True)).inventory()

    ours = made("SIM-1") | {"collected_at": ""}
    assert ours == made("SIM-1") | {"collected_at": ""}
    assert ours != made("SIM-2") | {"collected_at": ""}
