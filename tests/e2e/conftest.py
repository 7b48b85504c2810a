"""What every end-to-end test stands on: images, and how guests run here."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from lpmos.lab.acceleration import Acceleration, choose_acceleration
from lpmos.lab.rack import Rack, check_host
from lpmos.lab.site import Site
from lpmos.lab.stage import rack_site
from tests.support.lab_images import lab_images


@pytest.fixture(scope="session")
def images_dir() -> Path:
    """The catalog with the agent's image and Debian's; what is missing is built now."""
    check_host()
    return lab_images()


@pytest.fixture(scope="session")
def accel() -> Acceleration:
    """KVM where it works, else translation."""
    return asyncio.run(choose_acceleration())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def rack(
    tmp_path_factory: pytest.TempPathFactory, images_dir: Path, accel: Acceleration
) -> AsyncIterator[tuple[Rack, Site, Path]]:
    """A virtual rack with a data center in it that offers Debian, and where their files are."""
    directory = tmp_path_factory.mktemp("e2e")
    placed = rack_site(directory=directory, images_dir=images_dir, accel=accel)
    async with placed as (rack, site):
        yield rack, site, directory
