"""A control plane with images, and a copy of them that a test runs beside it.

As a program (`python -m tests.support.image_copy URL TOKEN_FILE IMAGES_DIR`) it copies until it is
killed.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from pathlib import Path

from lpmos.control.config import ControlConfig
from lpmos.control.tls import TlsFiles
from lpmos.core.clock import Clock, utc_now
from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.catalog_manifests import Refuses
from lpmos.images.items import System
from lpmos.model.access import Role
from lpmos.model.diskplan import GIB
from lpmos.model.image import ImageManifest
from lpmos.region.image_fetching import ImageFetching
from lpmos.region.image_source import ImageSource, SourceSettings
from tests.support.control_plane import RunningControlPlane, open_store, running
from tests.support.region import put_agent

ASK_EVERY_S = 0.1
PLENTY_BYTES = 1 << 50
LARGE = bytes(range(256)) * 16_384  # 4 MiB
BYTES_PER_SECOND = 2 << 20


class SourceOfImages:
    """A control plane's images directory, as somebody fills it, and a viewer's token."""

    def __init__(self, control_plane: RunningControlPlane, directory: Path, token: Path) -> None:
        self.control_plane = control_plane
        self.images_dir = directory / "source"
        self.catalog = Catalog(self.images_dir)
        self.token = token
        self._directory = directory

    def add_image(
        self, name: str, content: bytes = b"archive", version: str = "12"
    ) -> ImageManifest:
        """An image of Debian."""
        path = self._directory / "archive"
        path.write_bytes(content)
        fields = ImageFields(
            name=name,
            family="debian",
            os_type="debian",
            os_version=version,
            unpacked_bytes=GIB,
            first_boot=True,
        )
        return self.catalog.add(fields, path)

    def add_agent(self) -> None:
        """The boot agent."""
        put_agent(self.catalog, self._directory)


@asynccontextmanager
async def image_source(
    directory: Path, *, tls: TlsFiles | None = None
) -> AsyncIterator[SourceOfImages]:
    """A control plane without images, until the block ends."""
    config = ControlConfig(images_dir=directory / "source")
    (directory / "control").mkdir()
    async with (
        open_store(directory / "control") as store,
        running(store, config=config, tls=tls) as control_plane,
    ):
        token = directory / "token"
        token.write_text(await control_plane.as_user([Role.VIEWER]) + "\n")
        yield SourceOfImages(control_plane, directory, token)


def copying(
    url: str,
    token: Path,
    images_dir: Path,
    *,
    needed: Collection[System] | None = (),
    trust: Refuses | None = None,
    free_bytes: int = PLENTY_BYTES,
    ca: Path | None = None,
    clock: Clock = utc_now,
) -> ImageFetching:
    """A client's copy; it asks ten times a second."""
    return ImageFetching(
        ImageSource(SourceSettings(url=url, token_file=token, ca=ca)),
        images_dir,
        lambda: needed,
        clock,
        trust=trust,
        ask_every_s=ASK_EVERY_S,
        free_bytes=lambda _: free_bytes,
    )


@asynccontextmanager
async def run_in_background(fetching: ImageFetching) -> AsyncIterator[ImageFetching]:
    """Copy until the block ends; what ends it by itself fails the test."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(fetching.run())
        yield fetching
        task.cancel()


def port_of(source: SourceOfImages) -> int:
    """Where the control plane listens."""
    return int(source.control_plane.url.rpartition(":")[2])


def part_of(images_dir: Path) -> int:
    """The bytes of what is on its way."""
    return sum(each.stat().st_size for each in (images_dir / ".unfinished-fetch").glob("*"))


if __name__ == "__main__":
    asyncio.run(copying(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])).run())
