"""Times of lines on a serial console, from its log."""

from pathlib import Path

import pytest
from bench.console_times import between, until

LOG = """\
    0.29 SeaBIOS (version 1)
   27.04         0% partitioning: checking /dev/vda
a line of another program
   27.24         2% partitioning: clearing /dev/vda
   94.50       installed; the machine starts its own disk now
"""


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "console.log"
    path.write_text(LOG)
    return path


def test_until_first_line_that_matches_counts(log: Path) -> None:
    assert until(log, "partitioning") == pytest.approx(27.04)


def test_between_is_the_difference_of_both(log: Path) -> None:
    assert between(log, " 0% partitioning", "installed;") == pytest.approx(67.46)


@pytest.mark.parametrize("pattern", ["another program", "no such words"])
def test_until_no_stamped_line_ends_the_benchmark_with_the_pattern(log: Path, pattern: str) -> None:
    with pytest.raises(SystemExit, match=pattern):
        until(log, pattern)
