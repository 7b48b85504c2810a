"""How large the boot agent is: against the limit of requirement G1, and the whole image by part.

`python -m bench.agent_payload` builds the image as a release does, prints the table of its parts,
and ends with status 1 where a size is beyond its limit, or the mirror lacks firmware. Sizes do not
depend on the machine.
"""

import sys
import tempfile
import time
from pathlib import Path

from bench import report

from lpmos.images.agent_image import RELEASE_LEVEL, BuiltAgent, build_agent_image
from lpmos.images.agent_parts import PAYLOAD_LIMIT_BYTES
from lpmos.images.agent_sizes import size_table

IMAGE_LIMIT_MB = 40.0
"""Kernel and initramfs, with the drivers of servers, their firmware, RAID and LVM."""
TO_BEAT_MB = 7.9
"""The agent of the system whose figures are to be beaten: one file, its runtime in it."""
CACHE_DIR = Path(__file__).resolve().parents[1] / "build" / "cache"


def main() -> int:
    """Build, print, compare."""
    parser = report.parser(__doc__)
    parser.add_argument("--level", type=int, default=RELEASE_LEVEL, help="of zstd, 1 to 19")
    parser.add_argument("--cache-dir", type=Path, default=CACHE_DIR, help="downloaded packages")
    chosen = report.chosen(parser, {"level": 1})
    with tempfile.TemporaryDirectory() as images_dir:
        started = time.monotonic()
        built = build_agent_image(
            Path(images_dir), chosen.cache_dir, compression_level=chosen.level
        )
        took_s = time.monotonic() - started
    print(size_table(built.manifest), end="")
    return report.end(rows(built, took_s), chosen)


def rows(built: BuiltAgent, took_s: float) -> list[report.Row]:
    """The sizes against their limits, which hold only for an image that lacks nothing."""
    manifest = built.manifest
    image = manifest.kernel.size_bytes + manifest.initramfs.size_bytes
    agent = next(part.compressed_bytes for part in manifest.parts if part.name == "agent")
    return [
        report.limited(
            "agent with its interpreter", manifest.payload_bytes / 1e6, "MB",
            at_most=PAYLOAD_LIMIT_BYTES / 1e6,
        ),
        report.limited(
            "agent with its interpreter, to beat", manifest.payload_bytes / 1e6, "MB",
            at_most=TO_BEAT_MB, note=f"agent without interpreter {agent / 1e6:.2f} MB",
        ),
        report.limited(
            "kernel and initramfs", image / 1e6, "MB", at_most=IMAGE_LIMIT_MB,
            note=f"{sum(len(package.files) for package in manifest.firmware)} files of firmware;"
            f" {len(manifest.modules_wanting_firmware)} of {manifest.modules} modules lack theirs",
        ),
        report.limited(
            "firmware packages missing", len(built.missing_firmware),
            at_most=0, note=" ".join(built.missing_firmware),
        ),
        report.noted("build of the image", took_s, "s"),
    ]  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
