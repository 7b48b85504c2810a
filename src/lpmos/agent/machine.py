"""The machine that the agent runs on: its inventory and its disk."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.handover import HandingOver, Handover
from lpmos.agent.hanging import PATIENCE_S, HangWatch, Restart
from lpmos.agent.installer import Installer
from lpmos.agent.inventory import Inventory, collect
from lpmos.agent.inventory.disks import blkid_probe
from lpmos.agent.inventory.lldp import Listener, Neighbour
from lpmos.agent.inventory.nics import boot_mac, connected_interfaces, with_neighbours
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.joborder import DiskErase, JobOrder
from lpmos.agent.nvme import FORMAT_TIMEOUT_S
from lpmos.agent.options import Options, kernel_arguments
from lpmos.agent.plan import Plan
from lpmos.agent.reporter import Result
from lpmos.agent.stop import Stop
from lpmos.agent.storage import Storage


class Machine(Protocol):
    """What a run reports and installs: the real one here, a made-up one in `simulation.py`."""

    def inventory(self) -> Inventory:
        """What there is."""

    def knows_more(self) -> bool:
        """Whether something was heard since that was not in the inventory."""

    def install(self, plan: Plan, job: Job) -> None:
        """Install.

        Raises:
            InstallError: a step failed; the disks that were begun are blank.
            Stopped: the region ended the install; likewise.
        """

    def abandon(self, job: Job) -> None:
        """Leave blank what `install` has made: the install was ended before its last word."""

    def load_installer(self, handover: Handover, job: Job) -> str | None:
        """Load a distribution's installer; why it cannot be started from here, None where it can.

        Raises:
            InstallError: a step failed.
            Stopped: the region ended the install.
        """

    def run_job(
        self,
        order: JobOrder,
        job: Job,
        note: Callable[[Result], None],
        look: Callable[[], Inventory],
    ) -> None:
        """Do the steps of a job; each result goes to `note`, `look` reports what there is now.

        Raises:
            InstallError: a step failed.
            Stopped: the region ended the job.
        """

    def start_installer(self, job: Job) -> str | None:
        """Start what was loaded; a real machine comes back from it only with the reason why not."""


class RealMachine:
    """This machine."""

    def __init__(
        self, options: Options, console: Console, stop: Stop, restart: Restart | None = None
    ) -> None:
        """`restart` restarts this machine at once, where that is the agent's to do."""
        self._restart = restart
        self._tree = Tree()
        self._console = console
        self._stop = stop
        self._mac = options.mac
        self._written: Storage | None = None
        self._neighbours: Listener | None = None
        self._told: dict[str, Neighbour] = {}

    def inventory(self) -> Inventory:
        """Read `/proc`, `/sys` and the DMI tables; and begin to listen for the neighbours."""
        arguments = kernel_arguments(self._tree.text("proc/cmdline") or "")
        probe = blkid_probe(Commands(self._stop, self._console.info), self._tree)
        found = collect(self._tree, probe, self._mac or boot_mac(arguments), time.time())
        if self._neighbours is None:
            self._neighbours = Listener(connected_interfaces(found))
            self._neighbours.start()
        self._told = self._neighbours.heard()
        return with_neighbours(found, self._told)

    def knows_more(self) -> bool:
        """Whether a switch was heard that the last inventory does not name."""
        return self._neighbours is not None and self._neighbours.heard() != self._told

    def install(self, plan: Plan, job: Job) -> None:
        """Install on the approved disk."""
        if self._neighbours is not None:
            self._neighbours.close()
        commands = Commands(job.stop, job.console.info)
        with self._watched(job, plan.disk.erase):
            self._written = Installer(commands, self._tree, job).run(plan)

    def abandon(self, job: Job) -> None:
        """Leave the disks blank, where an install succeeded."""
        if self._written is not None:
            with self._watched(job):
                self._written.blank()

    def load_installer(self, handover: Handover, job: Job) -> str | None:
        """Load it into RAM, and by kexec into the kernel."""
        if self._neighbours is not None:
            self._neighbours.close()
        commands = Commands(job.stop, job.console.info)
        with self._watched(job):
            return HandingOver(commands, self._tree, job).load(handover)

    def run_job(
        self,
        order: JobOrder,
        job: Job,
        note: Callable[[Result], None],
        look: Callable[[], Inventory],
    ) -> None:
        """Do the steps on this machine."""
        # Only a job pays for these imports; an install starts sooner without them.
        from lpmos.agent.jobs import run_steps
        from lpmos.agent.realjobs import steps

        asked = [step.asked for step in order.steps]
        erases = [each.level for each in asked if isinstance(each, DiskErase)]
        with self._watched(job, *erases):
            run_steps(order, steps(order, job, self._tree, look), job, note)

    def start_installer(self, job: Job) -> str | None:
        """Start it by kexec."""
        return HandingOver(Commands(job.stop, job.console.info), self._tree, job).start()

    def _watched(self, job: Job, *erases: str) -> AbstractContextManager[object]:
        """Work that a disk which hangs cannot keep for ever, once it was told to end."""
        if self._restart is None:
            return nullcontext()
        # A drive that formats itself does nothing else meanwhile, and is not to be disturbed.
        patience_s = FORMAT_TIMEOUT_S if "nvme_format" in erases else PATIENCE_S
        return HangWatch(job.stop, job.console, self._tree, self._restart, patience_s=patience_s)
