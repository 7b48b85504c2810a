"""The machine that runs the tests: its inventory is in the model's shape, and its work watched."""

import io
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from lpmos.agent import machine as module
from lpmos.agent.console import Console
from lpmos.agent.errors import InstallError, Stopped
from lpmos.agent.handover import parse_handover
from lpmos.agent.hanging import PATIENCE_S, HangWatch
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.joborder import DiskErase, JobOrder, PlannedStep
from lpmos.agent.machine import RealMachine
from lpmos.agent.nvme import FORMAT_TIMEOUT_S
from lpmos.agent.options import Options
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Plan, parse_plan
from lpmos.agent.region import Region
from lpmos.agent.stop import Stop
from lpmos.model.inventory import Inventory
from tests.support.agent_region import installer_plan, plan_document, plan_for

TIMEOUT_S = 20.0


def test_inventory_of_this_machine_is_the_models() -> None:
    machine = RealMachine(Options("http://region"), Console(io.StringIO()), Stop())
    found = msgspec.convert(machine.inventory(), Inventory)
    assert found.memory.total_bytes > 1 << 20
    assert found.cpu.threads >= 1


class HungTree(Tree):
    """A machine whose disks cannot be listed before it was restarted."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.waits = threading.Event()
        self.restarted = threading.Event()

    def names(self, name: str) -> list[str]:
        self.waits.set()
        assert self.restarted.wait(TIMEOUT_S)
        return []


class Setting:
    """A machine of which every disk hangs, and how long its watches would have waited."""

    def __init__(self, root: Path, patch: pytest.MonkeyPatch) -> None:
        tree = self.tree = HungTree(root)
        patience = self.patience_s = list[float]()

        class Quick(HangWatch):
            def __init__(
                self,
                stop: Stop,
                console: Console,
                of: Tree,
                restart: Callable[[], None],
                *,
                patience_s: float,
            ) -> None:
                patience.append(patience_s)
                super().__init__(stop, console, of, restart, patience_s=0.05, look_every_s=0.01)

        patch.setattr(module, "HangWatch", Quick)
        patch.setattr(module, "Tree", lambda: tree)
        console = Console(io.StringIO())
        self.stop = Stop()
        region = Region("http://127.0.0.1:1")
        self.job = Job(region, console, self.stop.part(), Pace(), lambda _: None)
        self.machine = RealMachine(Options("http://region"), console, self.stop, tree.restarted.set)

    def install(self, erase: str) -> None:
        self.machine.install(_plan(erase), self.job)

    def erase(self, level: str) -> None:
        disk = _plan("signatures").disk.disks[0]
        steps = (PlannedStep("disk_erase", DiskErase(level), (disk,)),)
        self.machine.run_job(JobOrder("t", "i", steps, ()), self.job, lambda _: None, dict)

    def hand_over(self, _: str) -> None:
        handover = parse_handover(plan_document(installer_plan()))
        assert handover is not None
        self.machine.load_installer(handover, self.job)


def _plan(erase: str) -> Plan:
    plan = parse_plan(plan_document(plan_for(b"image")))
    return plan._replace(disk=plan.disk._replace(erase=erase))


@pytest.mark.parametrize(
    ("work", "erase", "patience_s"),
    [
        (Setting.install, "signatures", PATIENCE_S),
        (Setting.install, "nvme_format", FORMAT_TIMEOUT_S),
        (Setting.erase, "discard", PATIENCE_S),
        (Setting.erase, "nvme_format", FORMAT_TIMEOUT_S),
        (Setting.hand_over, "", PATIENCE_S),
    ],
)
def test_work_that_hangs_is_watched_for_as_long_as_its_disks_may_be_silent(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[Setting, str], None],
    erase: str,
    patience_s: float,
) -> None:
    setting = Setting(tmp_path, monkeypatch)
    ended: list[type[Exception]] = []

    def run() -> None:
        try:
            work(setting, erase)
        except (InstallError, Stopped) as error:
            ended.append(type(error))

    thread = threading.Thread(target=run)
    thread.start()
    assert setting.tree.waits.wait(TIMEOUT_S)
    setting.stop.set("cancelled")
    thread.join(2 * TIMEOUT_S)
    assert setting.tree.restarted.is_set()
    assert setting.patience_s == [patience_s]
    assert len(ended) == 1


class Written:
    """Disks with an installed system that hang as they are left blank."""

    def __init__(self, tree: HungTree) -> None:
        self._tree = tree
        self.blanked = 0

    def blank(self) -> None:
        assert self._tree.restarted.wait(TIMEOUT_S)
        self.blanked += 1


def test_install_that_is_abandoned_leaves_its_disks_blank_under_a_watch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting = Setting(tmp_path, monkeypatch)
    written = Written(setting.tree)

    class Installed:
        def __init__(self, *_: object) -> None:
            pass

        def run(self, _: Plan) -> Written:
            return written

    setting.machine.abandon(setting.job)
    monkeypatch.setattr(module, "Installer", Installed)
    setting.install("signatures")
    assert written.blanked == 0
    setting.stop.set("cancelled")
    setting.machine.abandon(setting.job)
    assert written.blanked == 1
