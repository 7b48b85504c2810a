"""A machine as a process of its own: it netboots, runs the real agent, stands still where told.

    python -m tests.support.fault_machine --region URL --sn SN --mac MAC --journal FILE [--hold AT]

What an outside observer would see is appended to the journal, a JSON object a line: `boot` (what
the script made it do), `held`, `disk` (an install began to write), `heard` (log lines that the
region has acknowledged), `end` (the agent's exit code), `up` (the installed system runs, and the
region knows it). A held machine goes on with the end of its standard input. Killing the process is
what pulling the plug is: the next one of the same machine has its disk, and nothing else.
"""

import argparse
import json
import pickle
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from lpmos.agent.console import Console
from lpmos.agent.job import Job
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Plan
from lpmos.agent.region import Region
from lpmos.agent.session import EXIT_INSTALLED, Session
from lpmos.agent.simulated_boot import booted
from lpmos.agent.simulated_system import SimulatedSystem
from lpmos.agent.simulation import SimulatedMachine
from lpmos.agent.stop import Stop

STAGES = ("partitioning", "downloading", "installing", "configuring")
AGENT = ("agent", "discovery")
"""The boots into the agent, for a task or without one."""
HOLDS = ("booting", "approved", "claimed", *STAGES, "restarting", "finished")
_RETRY_S = 0.2
_FETCH_TIMEOUT_S = 10.0
_STAGE = re.compile(r"^ *\d+% (\w+): ")


class Journal:
    """The machine's own record of what happened to it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, event: str, **fields: object) -> None:
        """Append one event; a killed process has written what it noted."""
        with self._path.open("a") as file:
            file.write(json.dumps({"event": event, **fields}) + "\n")


class Hold:
    """The step at which the machine stands still, once."""

    def __init__(self, step: str | None, journal: Journal) -> None:
        self._step = step
        self._journal = journal

    def at(self, step: str) -> None:
        """Stand still here where this is the step."""
        if step != self._step:
            return
        self._step = None
        self._journal.note("held", step=step)
        sys.stdin.readline()


class HeldConsole(Console):
    """The agent's console: everything that the agent does next, it says here first."""

    def __init__(self, journal: Journal, hold: Hold) -> None:
        super().__init__()
        self._journal = journal
        self._hold = hold
        self._stage = ""
        self._sent: list[str] = []

    def step(self, number: int, text: str) -> None:
        """Before the report: booting. Before the claim: approved."""
        super().step(number, text)
        self._hold.at({1: "booting", 4: "approved"}.get(number, ""))

    def info(self, text: str) -> None:
        """Each stage of an install says when it begins; before the first nothing is written."""
        found = _STAGE.match(text)
        stage = found[1] if found else ""
        if stage and not self._stage:
            self._hold.at("claimed")
            self._journal.note("disk")
        if stage and self._stage:  # the stage before has begun, and its word is on its way
            self._hold.at(self._stage)
        self._stage = stage or self._stage
        super().info(text)

    def batch(self) -> tuple[int, list[str]]:
        """Remember which lines are on their way."""
        mark, lines = super().batch()
        self._sent = lines
        return mark, lines

    def acknowledge(self, mark: int) -> None:
        """The region has the lines: they may not be lost from now on."""
        self._journal.note("heard", lines=self._sent)
        super().acknowledge(mark)


class DiskMachine(SimulatedMachine):
    """A simulated machine with a disk that outlives its process."""

    def __init__(self, options: Options, disk: Path) -> None:
        super().__init__(options)
        self._disk = disk

    def install(self, plan: Plan, job: Job) -> None:
        """Install; what would stand on the disk then stands in a file."""
        super().install(plan, job)
        if self.system is not None:
            self._disk.write_bytes(pickle.dumps((plan, self.system.token)))


class FaultMachine:
    """One run from power-on until its own system is up, or to the plug."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._journal = Journal(arguments.journal)
        self._disk = Path(arguments.journal).with_suffix(".disk")
        self._hold = Hold(arguments.hold, self._journal)
        self._console = HeldConsole(self._journal, self._hold)
        self._pace = Pace(first_s=0.1, most_s=0.5, scale=0.1)
        self._stop = Stop()
        self._options = Options(
            regional_url=str(arguments.region),
            sn=str(arguments.sn),
            mac=str(arguments.mac),
            simulate=True,
            speed_mbit=arguments.speed_mbit,
        )

    def run(self) -> int:
        """Netboot and do as told; 0 where the machine's own system is up in the end."""
        if self._netboot() in AGENT:
            code = self._run_agent()
            self._journal.note("end", code=code)
            if code != EXIT_INSTALLED:
                return code
            self._hold.at("restarting")
            if self._netboot() in AGENT:
                return 1
        if not self._start_system():
            return 1
        self._journal.note("up")
        self._hold.at("finished")
        return 0 if self._netboot() == "disk" else 1

    def _run_agent(self) -> int:
        options = booted(self._options, self._console, self._stop, self._pace)
        machine = DiskMachine(options, self._disk)
        return Session(options, machine, self._console, self._stop, self._pace).run()

    def _start_system(self) -> bool:
        """Start what the disk has."""
        if not self._disk.exists():
            return False
        plan, token = pickle.loads(self._disk.read_bytes())  # noqa: S301 - we wrote it
        system = SimulatedSystem(plan.first_boot, token, Region(self._options.regional_url))
        return system.start(self._console, self._stop, self._pace)

    def _netboot(self) -> str:
        """Ask for the boot script as iPXE does, until there is one that is obeyed."""
        query = urlencode(
            {"mac": self._options.mac, "sn": self._options.sn, "platform": "simulated"}
        )
        while True:
            try:
                with urllib.request.urlopen(  # noqa: S310 - an http URL that the test gave
                    f"{self._options.regional_url}/boot/ipxe?{query}", timeout=_FETCH_TIMEOUT_S
                ) as answer:
                    boot = boot_of(answer.read().decode())
            except (OSError, urllib.error.HTTPError):
                boot = "wait"
            if boot != "wait":
                self._journal.note("boot", to=boot)
                return boot
            time.sleep(_RETRY_S)


def boot_of(script: str) -> str:
    """What a boot script makes a machine do: `agent`, `discovery`, `disk` or `wait`.

    A kernel line names the trace of the machine's task; the agent of one that has none discovers.
    """
    if kernel := re.search(r"^kernel .*", script, re.MULTILINE):
        return "agent" if " lpmos_trace=" in kernel[0] else "discovery"
    return "disk" if re.search(r"^exit 1$", script, re.MULTILINE) else "wait"


def journal_of(path: Path) -> list[dict[str, Any]]:
    """What a machine's journal says, oldest first."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    for name in ("region", "sn", "mac"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--hold", choices=HOLDS)
    parser.add_argument("--speed-mbit", type=float)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(FaultMachine(_arguments()).run())
