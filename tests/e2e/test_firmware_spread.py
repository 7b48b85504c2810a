"""Cells of the firmware matrix that are short enough for every run: Secure Boot, and foreign LVM.

The other cells of the spread that every run has are the servers of test_install_from_network.
"""

from pathlib import Path

import pytest

from lpmos.lab.acceleration import Acceleration
from tests.matrix.cells import CI_PLAYED, Cell
from tests.matrix.play import play

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(2700), pytest.mark.asyncio]


@pytest.mark.parametrize("cell", CI_PLAYED, ids=lambda cell: cell.name)
async def test_cell_of_the_matrix_ends_as_it_has_to(
    cell: Cell, tmp_path: Path, images_dir: Path, accel: Acceleration
) -> None:
    result = await play(cell, directory=tmp_path, images_dir=images_dir, accel=accel)
    assert result.passed, result.words
