"""When the size of the agent counts as good: an image that lacks firmware is none."""

from pathlib import Path

import pytest
from bench.agent_payload import rows

from lpmos.images.agent_image import BuiltAgent
from lpmos.images.agent_manifest import PartSize
from lpmos.images.catalog import Catalog
from tests.support.agent_images import put_agent_of_this_version


@pytest.mark.parametrize(("missing", "good"), [((), True), (("firmware-bnx2",), False)])
def test_image_without_firmware_passes_no_limit_of_size(
    tmp_path: Path, missing: tuple[str, ...], good: bool
) -> None:
    agent = PartSize(name="agent", why="", files=1, raw_bytes=1, compressed_bytes=1)
    manifest = put_agent_of_this_version(tmp_path, with_firmware=True, parts=(agent,))
    image = Catalog(tmp_path / "images").agent()
    built = BuiltAgent(image=image, manifest=manifest, reused=False, missing_firmware=missing)
    (row,) = (row for row in rows(built, 1.0) if row.name == "firmware packages missing")
    assert (row.value, row.ok, row.note) == (len(missing), good, " ".join(missing))
    assert all(other.ok for other in rows(built, 1.0) if other != row)
