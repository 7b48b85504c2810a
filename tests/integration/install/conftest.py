"""A machine in a folder, and a region that hears its installer."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.answer_scripts import Machine, Region
from tests.support.served import served_by_thread


@pytest.fixture
def region() -> Iterator[Region]:
    """A region that hears installers."""
    server = Region()
    with served_by_thread(server):
        yield server


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """A machine without disks, on which entering the new system is staying in its folder."""
    found = Machine(tmp_path)
    found.add_program("chroot", 'root=$1; shift 4; exec /bin/sh "$root$1"')
    yield found
    found.end_watching()
