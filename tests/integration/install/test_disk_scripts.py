"""Disks of an answer file's script that do not stand alone: they end the install."""

from pathlib import Path

import pytest

from lpmos.install.answers import scripts
from tests.support.answer_scripts import SHELLS, Machine

DISKS = (Path(scripts.__file__).parent / "shell/disks.sh").read_text()
FAILED = 'lpmos_failed() { echo "$1"; }\n'


class Blocks(Machine):
    """Disks with a partition each, and what is assembled on them."""

    def __init__(self, place: Path, **below: str) -> None:
        super().__init__(place)
        self.names = place / "sys/class/block"
        self.names.mkdir(parents=True)
        for disk in ("sda", "sdb", "sdc"):
            self.add_disk(disk, 1 << 30, {f"{disk}1/partition": b"1\n"})
            self._name(disk, self.block / disk)
            self._name(f"{disk}1", self.block / disk / f"{disk}1")
        for holder, slaves in below.items():
            self.add_disk(holder, 1 << 30, {})
            self._name(holder, self.block / holder)
            for slave in slaves.split():
                (self.names / slave / "holders" / holder).mkdir(parents=True)
                (self.names / holder / "slaves" / slave).mkdir(parents=True)

    def _name(self, name: str, target: Path) -> None:
        (self.names / name).symlink_to(target)

    def alone(self, shell: list[str], *disks: str) -> tuple[int, str]:
        """Whether these disks stand alone, and what the region would be told."""
        done = self.run(shell, f"{FAILED}{DISKS}lpmos_alone {' '.join(disks)}\n")
        assert done.stderr == ""
        return done.returncode, done.stdout.strip()


@pytest.mark.parametrize("shell", SHELLS)
def test_array_over_the_disks_of_the_plan_is_theirs(shell: list[str], tmp_path: Path) -> None:
    blocks = Blocks(tmp_path, md127="sda1 sdb1", md126="sdc1")
    assert blocks.alone(shell, "/dev/sda", "/dev/sdb") == (0, "")


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    ("below", "said"),
    [
        ({"md127": "sda1 sdc1"}, "md127 on /dev/sda stands on /dev/sdc, too"),
        ({"md127": "sda sdc"}, "md127 on /dev/sda stands on /dev/sdc, too"),
        ({"md127": "sda1 sdb1", "dm0": "md127 sdc1"}, "dm0 on /dev/sda stands on /dev/sdc, too"),
    ],
)
def test_what_stands_on_another_disk_as_well_ends_the_install(
    shell: list[str], below: dict[str, str], said: str, tmp_path: Path
) -> None:
    blocks = Blocks(tmp_path, **below)
    assert blocks.alone(shell, "/dev/sda", "/dev/sdb") == (1, said)
