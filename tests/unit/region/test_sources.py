"""What a region installs from: what its images ask of a disk."""

from pathlib import Path

import pytest

from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.installers import Installers
from lpmos.model.job import Job, MemoryTest
from lpmos.region.sources import Sources
from tests.support.builders import make_task
from tests.support.region import fill


@pytest.mark.parametrize("sector_bytes", [None, 512, 4096])
def test_sectors_of_a_disk_image_are_asked_of_the_disk_and_offered(
    tmp_path: Path, sector_bytes: int | None
) -> None:
    archive = tmp_path / "disk"
    archive.write_bytes(b"disk")
    catalog = Catalog(tmp_path / "images")
    fields = ImageFields(
        name="rocky-9",
        family="rhel",
        os_type="rocky",
        os_version="9",
        unpacked_bytes=1 << 30,
        format="raw.zst",
        disk_bytes=1 << 30,
        sector_bytes=sector_bytes,
    )
    catalog.add(fields, archive)
    sources = Sources(catalog, Installers(tmp_path / "images"))
    assert sources.sector_bytes(make_task(os_type="rocky", os_version="9")) == sector_bytes
    assert sources.sector_bytes(make_task(os_type="debian", os_version="12")) is None
    assert sources.sector_bytes(None) is None
    (offered,) = sources.offered()
    assert (offered.whole_disk, offered.sector_bytes) == (True, sector_bytes)


def test_what_is_on_its_way_is_awaited_and_what_is_not_or_is_there_is_not(tmp_path: Path) -> None:
    catalog, installers = Catalog(tmp_path / "images"), Installers(tmp_path / "images")
    asked: list[tuple[str | None, tuple[str, str] | None]] = []

    def brings(kind: str | None, system: tuple[str, str] | None) -> bool:
        asked.append((kind, system))
        return True

    sources = Sources(catalog, installers, brings=brings)
    assert sources.awaited(make_task(method="image")) and sources.agent_awaited()
    assert asked == [("image", ("debian", "12")), ("agent", None)]
    assert not sources.awaited(make_task(job=Job(steps=(MemoryTest(),))))
    fill(catalog, tmp_path)
    assert not sources.awaited(make_task()) and not sources.agent_awaited()
    assert not Sources(Catalog(tmp_path / "none"), installers).agent_awaited()
