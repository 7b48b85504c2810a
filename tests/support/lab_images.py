"""The images that guests boot and install: the boot agent's and Debian's, as `make demo` has them.

    python -m tests.support.lab_images

builds what is missing, so that no test waits for it.
"""

import os
import sys
from pathlib import Path

from rich.console import Console

from lpmos.lab.rack import check_host
from lpmos.lab.stage import build_missing_images
from lpmos.model.errors import LpmosError

_BUILD = Path(__file__).resolve().parents[2] / "build"
IMAGES_DIR = Path(os.environ.get("LPMOS_IMAGES_DIR", _BUILD / "images"))
CACHE_DIR = Path(os.environ.get("LPMOS_CACHE_DIR", _BUILD / "cache"))
"""What the demo, or one of the tests, downloaded, the others have."""


def lab_images() -> Path:
    """The catalog with both images; what is missing is built now."""
    mirror = os.environ.get("LPMOS_MIRROR")
    build_missing_images(IMAGES_DIR, CACHE_DIR, Console(stderr=True), mirror)
    return IMAGES_DIR


def main() -> int:
    """Build what is missing; where that cannot be, one line says why, and tests will say it too."""
    try:
        check_host()
        lab_images()
    except (LpmosError, OSError) as error:
        print(f"the images of the lab are not built: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
