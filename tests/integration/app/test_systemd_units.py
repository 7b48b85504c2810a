"""The units that the documentation offers: systemd understands them, and they stay hardened."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from lpmos.cli.main import parser

UNITS = sorted((Path(__file__).parents[3] / "contrib/systemd").glob("*.service"))
MOST_EXPOSED = {
    "lpmos-control-plane.service": 1.5,
    "lpmos-region.service": 3.0,
    "lpmos.service": 3.0,
}
"""What `systemd-analyze security` may say at the most, from 0 (locked in) to 10."""


def analyzed(*arguments: str) -> str:
    """What systemd-analyze(1) says; it must have nothing against the unit."""
    done = subprocess.run(
        ["systemd-analyze", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.fixture(params=UNITS, ids=lambda unit: unit.name)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of a unit whose program is one that is there."""
    source: Path = request.param
    copy = tmp_path / source.name
    copy.write_text(source.read_text().replace("/opt/lpmos/.venv/bin/lpmos", "/bin/true"))
    return copy


def test_there_is_a_unit_for_each_part() -> None:
    assert {unit.name for unit in UNITS} == set(MOST_EXPOSED)


def test_unit_is_understood(unit: Path) -> None:
    analyzed("verify", "--man=no", str(unit))


def test_unit_exposes_little(unit: Path) -> None:
    said = analyzed("security", "--offline=true", "--no-pager", str(unit))
    level = re.search(r"exposure level for \S+: ([0-9.]+)", said)
    assert level is not None
    assert float(level[1]) <= MOST_EXPOSED[unit.name]


@pytest.mark.parametrize("source", UNITS, ids=lambda unit: unit.name)
def test_command_of_the_unit_is_one_of_ours(source: Path) -> None:
    command = re.search(r"^ExecStart=\S+/lpmos (.+)$", source.read_text(), re.MULTILINE)
    assert command is not None
    parser().parse_args(shlex.split(command[1]))
