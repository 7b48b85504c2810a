"""Independent programs read what simulated servers are installed from."""

import subprocess
from pathlib import Path

from lpmos.images.catalog import Catalog
from lpmos.lab.simulated_images import make_simulated_images


def test_simulated_image_is_an_archive_that_zstd_and_tar_accept(tmp_path: Path) -> None:
    make_simulated_images(tmp_path, 1_000_000)
    catalog = Catalog(tmp_path)
    manifest = catalog.verify("debian-12-simulated")
    listing = subprocess.run(
        ["tar", "--zstd", "-tf", catalog.path(manifest)], capture_output=True, check=True
    )
    assert listing.stdout == b""
    assert catalog.verify_agent().version == "simulated"
