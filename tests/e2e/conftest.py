"""What every end-to-end test stands on: images, and how guests run here."""

import asyncio
import os
from pathlib import Path

import pytest
from rich.console import Console

from lpmos.lab.acceleration import Acceleration, choose_acceleration
from lpmos.lab.rack import check_host
from lpmos.lab.stage import build_missing_images

BUILD = Path(__file__).parents[2] / "build"


@pytest.fixture(scope="session")
def images_dir() -> Path:
    """The catalog with the agent's image and Debian's; what is missing is built now."""
    check_host()
    images_dir = Path(os.environ.get("LPMOS_IMAGES_DIR", BUILD / "images"))
    cache_dir = Path(os.environ.get("LPMOS_CACHE_DIR", BUILD / "cache"))
    mirror = os.environ.get("LPMOS_MIRROR")
    build_missing_images(images_dir, cache_dir, Console(stderr=True), mirror)
    return images_dir


@pytest.fixture(scope="session")
def accel() -> Acceleration:
    """KVM where it works, else translation."""
    return asyncio.run(choose_acceleration())
