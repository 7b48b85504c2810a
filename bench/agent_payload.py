"""How large the boot agent is: against the limit of requirement G1, and the whole image by part.

`python -m bench.agent_payload` builds the image as a release does, prints the table of its parts,
and ends with status 1 where the agent with its interpreter reaches the limit. Sizes do not depend
on the machine.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from lpmos.images.agent_image import RELEASE_LEVEL, build_agent_image
from lpmos.images.agent_parts import PAYLOAD_LIMIT_BYTES
from lpmos.images.agent_sizes import size_table

CACHE_DIR = Path(__file__).resolve().parents[1] / "build" / "cache"


def main() -> int:
    """Build, print, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--level", type=int, default=RELEASE_LEVEL, help="of zstd, 1 to 19")
    parser.add_argument("--cache-dir", type=Path, default=CACHE_DIR, help="downloaded packages")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as images_dir:
        started = time.monotonic()
        built = build_agent_image(
            Path(images_dir), chosen.cache_dir, compression_level=chosen.level
        )
        took_s = time.monotonic() - started
    print(size_table(built.manifest), end="")
    ratio = built.manifest.payload_bytes / PAYLOAD_LIMIT_BYTES
    print(f"built in {took_s:.0f} s; ratio of payload to limit {ratio:.2f} (below 1.00 is wanted)")
    return 0 if ratio < 1.0 else 1


if __name__ == "__main__":
    sys.exit(main())
