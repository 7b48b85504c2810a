"""An agent in a thread, against a region of `agent_region`, and what it is given and says."""

import hashlib
import io
import threading
from typing import Any

from lpmos.agent.console import Console
from lpmos.agent.job import Job
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Plan
from lpmos.agent.run import run_agent
from lpmos.agent.session import Session
from lpmos.agent.simulation import SimulatedMachine
from lpmos.agent.stop import Stop
from tests.support.agent_region import AgentRegion

MAC = "52:54:00:00:00:01"
IMAGE = hashlib.shake_256(b"image").digest(3_000_000)
REPORT, APPROVAL = "/api/v1/agent/report", "/api/v1/agent/approval"
STATUS, PROGRESS = "/api/v1/agent/status", "/api/v1/agent/progress"
STAGES = ["partitioning", "downloading", "installing", "configuring"]
SOON_S = 20.0


class Run:
    """One agent in a thread."""

    def __init__(self, region: AgentRegion, machine: Any = None, **options: Any) -> None:
        """It begins at once; where no `machine` is given, it simulates one."""
        self.stream = io.StringIO()
        self.stop = Stop()
        self.exit_code: int | None = None
        self._options = Options(region.url, "SIM-1", MAC, simulate=True, **options)
        self._machine = machine
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        console, pace = Console(self.stream), Pace(first_s=0.01, most_s=0.05, scale=0.01)
        if self._machine is None:
            self.exit_code = run_agent(self._options, console, self.stop, pace)
        else:
            session = Session(self._options, self._machine, console, self.stop, pace)
            self.exit_code = session.run()

    def end(self) -> int | None:
        """Wait for the end."""
        self._thread.join(SOON_S)
        assert not self._thread.is_alive(), self.stream.getvalue()
        return self.exit_code

    @property
    def text(self) -> str:
        """What it said on its console."""
        return self.stream.getvalue()


class ScriptedMachine(SimulatedMachine):
    """A simulated machine whose install is the test's."""

    def __init__(self, install: Any) -> None:
        super().__init__(Options("http://region", "SIM-1", MAC, simulate=True))
        self._install = install
        self.abandoned = 0

    def install(self, plan: Plan, job: Job) -> None:
        self._install(plan, job)

    def abandon(self, job: Job) -> None:
        assert job.stop.is_set()
        self.abandoned += 1
