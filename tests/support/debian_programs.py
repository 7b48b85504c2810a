"""Programs of Debian packages that a test reads or checks with, unpacked and not installed.

What a test needs beside the system stays beside it: no service is started, no file of the machine
changes. Packages come from the machine's own apt sources.
"""

import subprocess
from collections.abc import Sequence
from pathlib import Path

DOWNLOAD_TIMEOUT_S = 180


def unpacked(packages: Sequence[str], place: Path) -> Path:
    """The root below `place` in which the packages' files stand."""
    run = ["apt-get", "download", "-qq", *packages]
    subprocess.run(run, cwd=place, check=True, timeout=DOWNLOAD_TIMEOUT_S, capture_output=True)
    root = place / "root"
    for package in sorted(place.glob("*.deb")):
        subprocess.run(["dpkg-deb", "-x", package, root], check=True, timeout=60)
    return root
