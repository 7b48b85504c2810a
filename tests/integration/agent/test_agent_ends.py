"""How runs of the agent end: failures, defects, cancelled installs, last words that come late."""

import threading
from typing import Any

import pytest

from lpmos.agent.errors import InstallError, Stopped, TakenOver
from lpmos.agent.handover import Handover
from lpmos.agent.job import Job
from lpmos.agent.options import Options
from lpmos.agent.plan import Plan
from lpmos.agent.session import (
    EXIT_FAILED,
    EXIT_INSTALLED,
    EXIT_STOPPED,
)
from lpmos.agent.simulation import SimulatedMachine
from lpmos.model.errors import ForeignClaim
from lpmos.model.installplan import JobOrder
from lpmos.model.job import JobPlan, PlannedStep, TakeInventory
from tests.support.agent_region import (
    INTENT_ID,
    TASK_ID,
    Fault,
    agent_region,
    installer_plan,
)
from tests.support.agent_runs import (
    APPROVAL,
    IMAGE,
    MAC,
    PROGRESS,
    REPORT,
    SOON_S,
    STATUS,
    Run,
    ScriptedMachine,
)


def test_run_whose_install_another_agent_took_writes_nothing() -> None:
    with agent_region(IMAGE, claimed_by="f" * 32) as region:
        region.set("approved")
        installs: list[Plan] = []
        run = Run(region, ScriptedMachine(lambda plan, job: installs.append(plan)))
        assert run.end() == EXIT_STOPPED
        assert installs == []
        assert region.heard(PROGRESS) == []


def test_run_with_a_plan_it_does_not_know_reports_the_failure() -> None:
    with agent_region(IMAGE) as region:
        region.faults = [Fault(APPROVAL, 200, {}, {"status": "approved", "plan": {"newer": 1}})]
        run = Run(region)
        assert run.end() == EXIT_FAILED
        (failed,) = region.heard(STATUS)
        assert failed["status"] == "failed"
        assert "build-agent" in failed["error"]["hint"]


def test_cancel_in_the_middle_ends_the_install_and_nothing_more_is_said() -> None:
    with agent_region(IMAGE) as region:
        region.set("approved")
        run = Run(region, speed_mbit=8)  # the download alone would take 3 s
        region.wait_for(lambda: any(b["percentage"] > 20 for b in region.heard(PROGRESS)))
        region.set("cancelled")
        assert run.end() == EXIT_STOPPED
        assert "cancelled" in run.text
        assert region.status == "cancelled"
        assert [body["status"] for body in region.heard(STATUS)] == ["installing"]


def test_install_that_fails_is_reported_with_command_output_and_log() -> None:
    def fail(plan: Plan, job: Job) -> None:
        job.at("partitioning", 10, "making file systems")
        raise InstallError("mkfs failed", command="mkfs x", output="I/O error", hint="replace it")

    with agent_region(IMAGE) as region:
        region.set("approved")
        run = Run(region, ScriptedMachine(fail))
        assert run.end() == EXIT_FAILED
        failed = region.heard(STATUS)[-1]
        assert failed["error"] == {"command": "mkfs x", "output": "I/O error", "hint": "replace it"}
        assert failed["progress"] == 10
        lines = [line for body in region.heard(PROGRESS) for line in body["log"]]
        assert any("making file systems" in line for line in lines)


def test_install_that_meets_a_defect_is_reported_with_its_trace() -> None:
    def fail(plan: Plan, job: Job) -> None:
        raise ZeroDivisionError("by me")

    with agent_region(IMAGE) as region:
        region.set("approved")
        assert Run(region, ScriptedMachine(fail)).end() == EXIT_FAILED
        failed = region.heard(STATUS)[-1]
        assert "ZeroDivisionError: by me" in failed["message"]
        assert "Traceback" in failed["error"]["output"]


def test_hand_over_that_meets_a_defect_is_reported_with_its_trace() -> None:
    class Broken(SimulatedMachine):
        def load_installer(self, handover: Handover, job: Job) -> str | None:
            raise OSError(28, "No space left on device")

    with agent_region(IMAGE, plan=installer_plan()) as region:
        region.set("approved")
        machine = Broken(Options("http://region", "SIM-1", MAC, simulate=True))
        assert Run(region, machine).end() == EXIT_FAILED
        failed = region.heard(STATUS)[-1]
        assert (failed["status"], region.status) == ("failed", "failed")
        assert "No space left on device" in failed["message"]
        assert "Traceback" in failed["error"]["output"]


@pytest.mark.parametrize(
    ("code", "kind"), [(ForeignClaim.code, TakenOver), ("impossible-transition", Stopped)]
)
def test_install_that_is_ended_knows_whether_another_run_has_it(
    code: str, kind: type[Stopped]
) -> None:
    ended: list[type[BaseException]] = []

    def install(plan: Plan, job: Job) -> None:
        job.at("partitioning", 10, "making file systems")
        try:
            job.stop.wait(SOON_S)
        except Stopped as error:
            ended.append(type(error))
            raise

    with agent_region(IMAGE) as region:
        region.faults = [Fault(PROGRESS, 409, {}, {"code": code, "detail": "not yours"})]
        region.set("approved")
        assert Run(region, ScriptedMachine(install)).end() == EXIT_STOPPED
    assert ended == [kind]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_progress_that_is_refused_is_reported_as_a_failure_with_the_regions_words(
    status: int,
) -> None:
    ended: list[str] = []

    def install(plan: Plan, job: Job) -> None:
        job.at("partitioning", 10, "making file systems")
        try:
            job.stop.wait(SOON_S)
        except InstallError as error:
            ended.append(str(error))
            raise

    with agent_region(IMAGE) as region:
        region.faults = [Fault(PROGRESS, status, {}, {"detail": "stage: is not known"})]
        region.set("approved")
        assert Run(region, ScriptedMachine(install)).end() == EXIT_FAILED
        assert region.status == "failed"
        failed = region.heard(STATUS)[-1]
        assert f"refused progress with {status}: stage: is not known" in failed["message"]
        assert "build-agent" in failed["error"]["hint"]
        assert failed["progress"] == 10
        assert ended == [failed["message"]]


def test_last_word_that_is_refused_is_reported_as_a_failure() -> None:
    with agent_region(IMAGE) as region:

        def install(plan: Plan, job: Job) -> None:
            job.at("configuring", 95, "the last step")
            region.wait_for(lambda: bool(region.heard(PROGRESS)))
            region.faults = [Fault(PROGRESS, 422, {}, {"detail": "not so"})]

        region.set("approved")
        assert Run(region, ScriptedMachine(install)).end() == EXIT_FAILED
        assert region.status == "failed"
        assert "not so" in region.heard(STATUS)[-1]["message"]


def test_claim_that_is_refused_is_reported_as_a_failure() -> None:
    with agent_region(IMAGE) as region:
        region.faults = [Fault(STATUS, 422, {}, {"detail": "intent_id: is missing"})]
        region.set("approved")
        assert Run(region).end() == EXIT_FAILED
        assert "intent_id: is missing" in region.heard(STATUS)[-1]["message"]
        assert region.heard(PROGRESS) == []


def test_region_that_restarts_during_the_install_hears_the_end() -> None:
    with agent_region(IMAGE) as region:
        region.set("approved")
        run = Run(region, speed_mbit=24)
        region.wait_for(lambda: any(b["percentage"] > 20 for b in region.heard(PROGRESS)))
        region.stop()
        assert threading.Event().wait(0.2) is False
        region.start()
        assert run.end() == EXIT_INSTALLED
        assert region.status == "completed"


@pytest.mark.parametrize("heard", ["at the end of the work", "after it"])
def test_cancel_between_the_work_and_the_last_word_leaves_the_disks_blank(heard: str) -> None:
    with agent_region(IMAGE) as region:

        def install(plan: Plan, job: Job) -> None:
            job.at("configuring", 95, "the last step")
            region.wait_for(lambda: bool(region.heard(PROGRESS)))
            region.set("cancelled")
            if heard == "at the end of the work":
                with pytest.raises(Stopped):
                    job.stop.wait(SOON_S)

        region.set("approved")
        machine = ScriptedMachine(install)
        assert Run(region, machine).end() == EXIT_STOPPED
        assert machine.abandoned == 1
        assert [body["status"] for body in region.heard(STATUS)] == ["installing"]
        assert all(body["percentage"] < 100 for body in region.heard(PROGRESS))


@pytest.mark.parametrize(
    ("status", "code", "abandoned", "exit_code"),
    [
        (409, ForeignClaim.code, 0, EXIT_STOPPED),
        (409, "impossible-transition", 1, EXIT_STOPPED),
        (422, "invalid", 1, EXIT_FAILED),
    ],
)
def test_disks_of_an_install_that_is_ended_after_its_work_stay_only_to_another_run(
    status: int, code: str, abandoned: int, exit_code: int
) -> None:
    with agent_region(IMAGE) as region:

        def install(plan: Plan, job: Job) -> None:
            job.at("configuring", 95, "the last step")
            region.wait_for(lambda: bool(region.heard(PROGRESS)))
            region.faults = [Fault(PROGRESS, status, {}, {"code": code, "detail": "no"})]

        region.set("approved")
        machine = ScriptedMachine(install)
        assert Run(region, machine).end() == exit_code
        assert machine.abandoned == abandoned


def test_install_whose_last_word_comes_too_late_stays_whole() -> None:
    """Nobody could tell it from one whose last word was taken, and whose answer was lost."""
    with agent_region(IMAGE) as region:

        def cancel(body: dict[str, Any]) -> None:
            if body["percentage"] == 100:
                region.status = "cancelled"

        region.on_progress = cancel
        region.set("approved")
        machine = ScriptedMachine(lambda plan, job: job.at("configuring", 95, "the last step"))
        assert Run(region, machine).end() == EXIT_STOPPED
        assert machine.abandoned == 0


def test_job_that_is_cancelled_while_it_reports_to_a_busy_region_ends() -> None:
    job = JobPlan(steps=(PlannedStep(asked=TakeInventory()),))
    order = JobOrder(task_id=TASK_ID, intent_id=INTENT_ID, hostname="web-1", job=job)
    with agent_region(plan=order) as region:
        run = Run(region)
        region.wait_for(lambda: bool(region.heard(REPORT)))
        region.faults = [Fault(REPORT, 503, {"Retry-After": "100000"})]
        region.set("approved")
        try:
            region.wait_for(lambda: len(region.heard(REPORT)) == 2)
            region.set("cancelled")
            assert run.end() == EXIT_STOPPED
        finally:
            run.stop.set("the test is over")


def test_last_progress_whose_answer_was_lost_counts_when_it_was_written() -> None:
    with agent_region(IMAGE) as region:
        region.set("approved")

        def lose(body: dict[str, Any]) -> None:
            if body["percentage"] == 100 and region.status == "installing":
                region.status = "completed"
                region.faults.append(Fault(PROGRESS, 0))

        region.on_progress = lose
        machine = ScriptedMachine(lambda plan, job: job.at("configuring", 95, "the last step"))
        assert Run(region, machine).end() == EXIT_INSTALLED
        assert machine.abandoned == 0
