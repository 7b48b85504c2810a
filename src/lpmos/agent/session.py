"""One agent run: collect, report, wait for approval, install.

The rule: the claim comes before anything is written, and from then on exactly one last word goes to
the region: completed, failed, or that the installed system starts, which then speaks for itself. A
run that the region stopped says nothing more, and until the last word it leaves the disks blank.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Iterator

from lpmos.agent.caller import Caller
from lpmos.agent.console import Console
from lpmos.agent.errors import (
    OUTPUT_BYTES,
    AgentError,
    BadOptions,
    InstallError,
    NoTask,
    Refused,
    Stopped,
    TakenOver,
)
from lpmos.agent.handover import Handover, Way, parse_handover
from lpmos.agent.inventory import Inventory
from lpmos.agent.job import Job
from lpmos.agent.joborder import JobOrder, is_job, parse_order
from lpmos.agent.machine import Machine
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Plan, parse_plan
from lpmos.agent.region import ANSWER_TIMEOUT_S, Answer, Region
from lpmos.agent.reporter import Progress, Reporter, refusal, stop_reason
from lpmos.agent.stop import Stop
from lpmos.agent.summary import summary_lines

EXIT_INSTALLED, EXIT_FAILED, EXIT_BAD_OPTIONS, EXIT_STOPPED, EXIT_NO_TASK = range(5)

REPORT_TRIES = 10
RETRY_AFTER_S = 10.0
"""Between reports where the region names no time."""
DISCOVERY_INTERVAL_S = 60.0
APPROVAL_WAIT_S = 25
WRITTEN = Progress("configuring", 99, "everything is written")
"""The end of this step, which a region takes at once."""
LEAST_POLL_S = 1.0
"""Between two approval calls, should a region answer `pending` at once."""
POLLS_PER_LINE = 4
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Session:
    """One run of one machine; `agent_id` tells it from every other."""

    def __init__(
        self, options: Options, machine: Machine, console: Console, stop: Stop, pace: Pace
    ) -> None:
        self._options = options
        self._machine = machine
        self._console = console
        self._stop = stop
        self._pace = pace
        self._region = Region(
            options.regional_url,
            boot_url=options.boot_url,
            ca_sha256=options.ca_sha256,
            trace=options.trace,
        )
        self._caller = self._calling(stop)
        self._agent_id = os.urandom(16).hex()
        self._mac = ""

    def run(self) -> int:
        """Run to the end; the exit code says which (docs/reference/agent.md)."""
        try:
            return self._run()
        except BadOptions as error:
            self._console.error(str(error))
            return EXIT_BAD_OPTIONS
        except NoTask as error:
            self._console.error(str(error))
            return EXIT_NO_TASK
        except Stopped as error:
            self._console.error(f"stopped: {error}")
            return EXIT_STOPPED
        except AgentError as error:
            self._console.error(str(error))
            return EXIT_FAILED

    def _run(self) -> int:
        self._console.step(1, "Collecting hardware information...")
        hardware = self._machine.inventory()
        for line in summary_lines(hardware):
            self._console.info(line)
        self._mac = self._options.mac or _booted_mac(hardware)
        self._console.step(2, f"Reporting to {self._region.url} as {self._mac}...")
        self._identify()
        task_id = self._report(hardware, self._stop)
        self._console.step(3, f"Waiting for approval of task {task_id}...")
        document = self._await_approval(task_id)
        self._console.step(4, "Doing the job..." if is_job(document) else "Installing...")
        return self._install(task_id, document)

    def _identify(self) -> None:
        """Turn the boot script's nonce into this run's identity; an older region has none."""
        if self._options.nonce is None:
            return
        body: dict[str, object] = {
            "mac_address": self._mac,
            "agent_id": self._agent_id,
            "nonce": self._options.nonce,
        }
        answer = self._caller.call("POST", "/agent/identity", body)
        if answer.status == 200:
            self._region.identity = str(answer.document.get("identity"))

    def _calling(self, stop: Stop) -> Caller:
        return Caller(self._region, self._console, stop, self._pace)

    def _report(self, hardware: Inventory, stop: Stop) -> str:
        """Report until the region has a task, whose id it is; `stop` ends the waiting."""
        body: dict[str, object] = {
            "mac_address": self._mac,
            "sn": self._options.sn or _serial(hardware),
            "agent_id": self._agent_id,
            "hardware": hardware,
        }
        backoff = self._pace.backoff()
        caller = self._calling(stop)
        tries = 0
        while (answer := caller.call("POST", "/agent/report", body)).status == 404:
            tries += 1
            stop.wait(self._until_next_report(answer, tries, next(backoff)))
        if answer.status != 200:
            raise Stopped(answer.text())
        if answer.document.get("next_action") == "stop":
            raise Stopped(str(answer.document.get("reason") or "the region ended the task"))
        return str(answer.document.get("task_id"))

    def _until_next_report(self, answer: Answer, tries: int, delay_s: float) -> float:
        """How long to wait after report number `tries` found no task, in seconds.

        Raises:
            NoTask: there will be none.
        """
        discovery = answer.document.get("discovery") is True
        if tries >= REPORT_TRIES and not discovery:
            raise NoTask(
                f"the region has no task for {self._mac} after {tries} reports; create one"
                " (dashboard, or POST /api/v1/tasks) and boot the machine again"
            )
        asked_s = RETRY_AFTER_S if answer.retry_after_s is None else answer.retry_after_s
        if tries >= REPORT_TRIES:
            asked_s = max(asked_s, DISCOVERY_INTERVAL_S)
        delay_s = max(delay_s, self._pace.asked(asked_s))
        of = "" if discovery else f" of {REPORT_TRIES}"
        self._console.info(
            f"no task for this machine yet (try {tries}{of}); again in {delay_s:.0f} s"
        )
        return delay_s

    def _await_approval(self, task_id: str) -> object:
        """The plan's document, once approved."""
        path = f"/agent/approval/{self._mac}?task_id={task_id}&wait={APPROVAL_WAIT_S}"
        polls = 0
        while True:
            answer = self._caller.call("GET", path, timeout_s=APPROVAL_WAIT_S + ANSWER_TIMEOUT_S)
            status = answer.document.get("status")
            if answer.status == 200 and status == "approved":
                self._console.info("approved")
                return answer.document.get("plan")
            if answer.status != 200 or status != "pending":
                reason = answer.document.get("reason")
                raise Stopped(f"the task is {status}: {reason}" if reason else answer.text())
            polls += 1
            if polls % POLLS_PER_LINE == 0:
                self._console.info("still waiting for approval")
            if self._machine.knows_more():
                self._console.info("a switch has told its name: reporting again")
                self._report(self._machine.inventory(), self._stop)
            self._stop.wait(self._pace.asked(LEAST_POLL_S))

    def _install(self, task_id: str, document: object) -> int:
        identity: dict[str, object] = {
            "mac_address": self._mac,
            "task_id": task_id,
            "agent_id": self._agent_id,
        }
        stop = self._stop.part()
        reporter = Reporter(self._region, identity, self._console, stop, self._pace)
        try:
            order = parse_order(document)
            if order is not None:
                return self._do_job(order, reporter, identity, stop)
            handover = parse_handover(document)
            if handover is not None:
                return self._hand_over(handover, reporter, identity, stop)
            plan = parse_plan(document)
            message = f"installing {plan.image.name} on {plan.disk.device}"
            self._claim(identity, plan.intent_id, message)
            token = os.urandom(32).hex()
            job = Job(self._region, self._console, stop, self._pace, reporter.update, token)
            self._do_install(plan, job, reporter, stop)
            if plan.first_boot:
                return self._handed_over(reporter, identity, token)
            return self._completed(reporter, task_id)
        except InstallError as error:
            failure = error
        except Refused as error:
            failure = refusal(str(error))
        with contextlib.suppress(Refused):  # the failure itself matters more than its log
            reporter.hand_in_log(self._caller)
        return self._failed(identity, failure, reporter.percentage)

    def _do_install(self, plan: Plan, job: Job, reporter: Reporter, stop: Stop) -> None:
        """Install, and ask the region once more whether it still wants that; raises as `_reported`.

        Until the last word the disks are left blank whatever ends the install, but another run.
        """
        try:
            with _reported(reporter, stop):
                self._machine.install(plan, job)
            reporter.finish(self._caller, WRITTEN)
        except TakenOver:
            raise
        except AgentError as error:
            stop.set(str(error))  # should a disk hang now, the machine is to be restarted
            self._machine.abandon(job)
            raise

    def _do_job(
        self, order: JobOrder, reporter: Reporter, identity: dict[str, object], stop: Stop
    ) -> int:
        """Do the steps of a job, and say that it is done; raises as `_reported`."""
        names = ", ".join(step.name for step in order.steps)
        self._claim(identity, order.intent_id, f"doing {names}")
        job = Job(self._region, self._console, stop, self._pace, reporter.update)
        with _reported(reporter, stop):
            self._machine.run_job(order, job, reporter.note, lambda: self._look_again(stop))
        self._say_last(reporter, Progress("job", 100, f"done: {names}"), order.task_id)
        self._console.info("the job is done; the machine restarts to what it was before")
        return EXIT_INSTALLED

    def _look_again(self, stop: Stop) -> Inventory:
        """What the machine has now, in the middle of a job; it is reported too."""
        hardware = self._machine.inventory()
        self._report(hardware, stop)
        return hardware

    def _hand_over(
        self, handover: Handover, reporter: Reporter, identity: dict[str, object], stop: Stop
    ) -> int:
        """Load the distribution's installer, say the last word, and start it.

        Raises as `_reported`.
        """
        message = f"handing over to the installer {handover.name}"
        self._claim(identity, handover.intent_id, message)
        job = Job(self._region, self._console, stop, self._pace, reporter.update)
        with _reported(reporter, stop):
            refused = self._machine.load_installer(handover, job)
        if refused is None:
            self._say_handed_over(reporter, identity, "kexec", "handed over to the installer")
            refused = self._machine.start_installer(job)
        if refused is not None:
            text = f"the installer is started by a restart: {refused}"
            self._console.warn(text)
            self._say_handed_over(reporter, identity, "restart", text)
        return EXIT_INSTALLED

    def _say_handed_over(
        self, reporter: Reporter, identity: dict[str, object], by: Way, message: str
    ) -> None:
        """The last word of an agent; the installer speaks next.

        Raises:
            Stopped: the region ended the install.
        """
        reporter.hand_in_log(self._caller)
        word: dict[str, object] = {"status": "handing_over", "handover": by, "message": message}
        answer = self._caller.call("POST", "/agent/status", {**identity, "progress": 2, **word})
        if answer.status != 200:
            raise Stopped(stop_reason(answer))
        self._console.info(message)

    def _claim(self, identity: dict[str, object], intent_id: str, message: str) -> None:
        answer = self._caller.call(
            "POST",
            "/agent/status",
            {
                **identity,
                "status": "installing",
                "intent_id": intent_id,
                "progress": 0,
                "message": message,
            },
        )
        if answer.status != 200:
            raise Stopped(stop_reason(answer))

    def _handed_over(self, reporter: Reporter, identity: dict[str, object], token: str) -> int:
        """Say the last word before the installed system's first: all is on the disk."""
        last = {
            **identity,
            "status": "restarting",
            "progress": 99,
            "message": "everything is written; restarting into the installed system",
            "first_boot_sha256": hashlib.sha256(token.encode()).hexdigest(),
        }
        try:
            answer = self._caller.call("POST", "/agent/status", last)
        except Refused:  # an older region has taken over, where the older word completes the task
            return self._completed(reporter, str(identity["task_id"]))
        if answer.status != 200:
            raise Stopped(stop_reason(answer))
        self._console.info(
            "installed; the machine starts its own disk now, and its system says when it is up"
        )
        return EXIT_INSTALLED

    def _completed(self, reporter: Reporter, task_id: str) -> int:
        self._say_last(reporter, Progress("configuring", 100, "installed"), task_id)
        self._console.info("installed; the machine starts its own disk now")
        return EXIT_INSTALLED

    def _say_last(self, reporter: Reporter, last: Progress, task_id: str) -> None:
        try:
            reporter.finish(self._caller, last)
        except Stopped:
            # The answer to an earlier try of the same call may have been lost on its way.
            if not self._is_completed(task_id):
                raise

    def _is_completed(self, task_id: str) -> bool:
        answer = self._caller.call("GET", f"/agent/approval/{self._mac}?task_id={task_id}&wait=0")
        return answer.status == 200 and answer.document.get("status") == "completed"

    def _failed(self, identity: dict[str, object], error: InstallError, percentage: float) -> int:
        self._console.error(str(error))
        for text in (error.command, error.output, error.hint):
            if text:
                self._console.error(text)
        answer = self._caller.call(
            "POST",
            "/agent/status",
            {
                **identity,
                "status": "failed",
                "progress": percentage,
                "message": str(error),
                "error": {"command": error.command, "output": error.output, "hint": error.hint},
            },
        )
        if answer.status != 200:
            self._console.warn(stop_reason(answer))
        return EXIT_FAILED


@contextlib.contextmanager
def _reported(reporter: Reporter, stop: Stop) -> Iterator[None]:
    """Work on this machine, with its progress reported meanwhile.

    Raises:
        InstallError: the work failed, or the region refused its progress.
        Stopped: the run was told to end.
    """
    reporter.start()
    try:
        yield
    except (InstallError, Stopped):
        raise
    except Exception as error:
        raise _defect(error) from error
    finally:
        reporter.close()
        stop.check()  # why it was ended counts, not what failed because of that


def _booted_mac(hardware: Inventory) -> str:
    nics = hardware["nics"]
    for nic in nics if isinstance(nics, list) else []:
        if nic["booted"]:
            return str(nic["mac"])
    raise BadOptions("no network interface is known as the one that booted: name it with --mac")


def _serial(hardware: Inventory) -> str | None:
    """The product's serial number, unless it could not be a name (then the MAC alone counts)."""
    product = hardware["product"]
    serial = product.get("serial") if isinstance(product, dict) else None
    return serial if isinstance(serial, str) and _SERIAL.fullmatch(serial) else None


def _defect(error: Exception) -> InstallError:
    import traceback  # rarely needed, and costs time at the start

    trace = "".join(traceback.format_exception(error))
    return InstallError(
        f"the agent failed: {type(error).__name__}: {error}",
        output=trace[-OUTPUT_BYTES:],
        hint="This is a defect of the agent: report it with this output.",
    )
