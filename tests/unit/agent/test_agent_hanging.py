"""A disk that hangs: when the machine is restarted, and when it is not."""

import io
import threading
from pathlib import Path

import pytest

from lpmos.agent.console import Console
from lpmos.agent.hanging import HangWatch, own_restart
from lpmos.agent.inventory.tree import READ_LIMIT_BYTES, Tree
from lpmos.agent.stop import Stop
from tests.support.agent_machines import lay_out

LINE = "   8       0 sda 10 0 80 1 {} 0 160 2 1 {} 30 0 0 0 0 5 0\n"
TIMEOUT_S = 20.0


class Disks(Tree):
    """Disks of which one takes a write at each look, for so many looks."""

    def __init__(self, root: Path, writes: int) -> None:
        super().__init__(root)
        self._root = root
        self._left = writes
        self.looks = 0

    def text(self, name: str, limit_bytes: int = READ_LIMIT_BYTES) -> str | None:
        self.looks += 1
        written = min(self.looks, self._left)
        # A disk that hangs counts the time for which it has something to do.
        lay_out(self._root, {"proc/diskstats": LINE.format(written, 1000 * self.looks)}, {})
        return super().text(name, limit_bytes)


class Setting:
    """A watch that may look as often as it wants to."""

    def __init__(self, root: Path, *, writes: int = 0) -> None:
        self.stop = Stop()
        self.said = io.StringIO()
        self.restarted = threading.Event()
        self.disks = Disks(root, writes)
        self.watch = HangWatch(
            self.stop,
            Console(self.said),
            self.disks,
            self.restarted.set,
            patience_s=0.05,
            look_every_s=0.01,
        )


def test_work_that_does_not_end_though_it_was_told_to_restarts_the_machine(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    with setting.watch:
        setting.stop.set("cancelled")
        assert setting.restarted.wait(TIMEOUT_S)
    assert "a disk hangs. Restarting the machine." in setting.said.getvalue()


def test_disk_that_still_takes_something_is_waited_for(tmp_path: Path) -> None:
    setting = Setting(tmp_path, writes=20)
    with setting.watch:
        setting.stop.set("cancelled")
        assert setting.restarted.wait(TIMEOUT_S)
    assert setting.disks.looks >= 20 + 5


def test_work_that_nobody_ended_is_not_watched(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    with setting.watch:
        pass
    setting.stop.set("cancelled")
    assert not setting.restarted.wait(0.2)
    assert setting.disks.looks <= 1


def test_work_that_begins_after_it_was_told_to_end_is_watched(tmp_path: Path) -> None:
    setting = Setting(tmp_path)
    setting.stop.set("cancelled")
    with setting.watch:
        assert setting.restarted.wait(TIMEOUT_S)


@pytest.mark.parametrize(("parent", "image"), [(1, "none"), (2, "lpmos-image")])
def test_agent_outside_its_image_restarts_nothing(tmp_path: Path, parent: int, image: str) -> None:
    (tmp_path / "lpmos-image").touch()
    assert own_restart(1, tmp_path / "lpmos-image") is not None
    assert own_restart(parent, tmp_path / image) is None
