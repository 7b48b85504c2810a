"""How large the boot agent's image is, part by part: measured for its manifest, and as a table."""

import stat
from collections.abc import Mapping
from pathlib import Path

from lpmos.images import cpio
from lpmos.images.agent_manifest import AgentManifest, PartSize
from lpmos.images.agent_parts import PARTS, PAYLOAD_LIMIT_BYTES, PAYLOAD_PARTS
from lpmos.images.commands import feed
from lpmos.images.contents import Contents
from lpmos.images.progress import Progress

_COMPRESS_TIMEOUT_S = 1200.0
_MEASURING_LEVEL = 3


def compress(entries: Mapping[str, cpio.Entry], output: Path, level: int) -> int:
    """Write the archive of `entries`, compressed by zstd at `level`; returns its size in bytes.

    The result does not depend on how many threads share the work.

    Raises:
        ImageError: zstd failed.
    """
    command = ("zstd", "-q", "-f", f"-{level}", "-T0", "-o", output)
    feed(cpio.archive(entries), command, timeout_s=_COMPRESS_TIMEOUT_S)
    return output.stat().st_size


def part_sizes(
    contents: Contents, scratch: Path, whole_bytes: int, progress: Progress
) -> tuple[PartSize, ...]:
    """How large each part that has files is, raw and as its share of the initramfs' `whole_bytes`.

    The shares are those that the parts have at a quick level, where they are compressed alone.
    """
    files = {part.name: contents.entries(part.name) for part in PARTS}
    parts = [part for part in PARTS if files[part.name]]
    alone = {}
    for done, part in enumerate(parts):
        progress("measure", done / len(parts), f"measuring part {part.name}")
        alone[part.name] = compress(files[part.name], scratch / "measured", _MEASURING_LEVEL)
    scale = whole_bytes / sum(alone.values())
    return tuple(
        PartSize(
            name=part.name,
            why=part.why,
            files=sum(stat.S_ISREG(entry.mode) for entry in files[part.name].values()),
            raw_bytes=sum(len(piece) for piece in cpio.archive(files[part.name])),
            compressed_bytes=round(alone[part.name] * scale),
        )
        for part in parts
    )


def payload_bytes(contents: Contents, scratch: Path, level: int) -> int:
    """The compressed size of the agent with all that it needs to run (requirement G1)."""
    return compress(contents.entries(*PAYLOAD_PARTS), scratch / "measured", level)


def size_table(manifest: AgentManifest) -> str:
    """The sizes of an agent image as a table for a terminal, in millions of bytes."""
    lines = [f"{'part':<12}{'files':>6}{'raw MB':>9}{'packed MB':>11}  what"]
    for part in manifest.parts:
        sizes = f"{part.raw_bytes / 1e6:>9.2f}{part.compressed_bytes / 1e6:>11.2f}"
        lines.append(f"{part.name:<12}{part.files:>6}{sizes}  {part.why}")
    share = manifest.payload_bytes / PAYLOAD_LIMIT_BYTES
    lines += [
        f"kernel {manifest.kernel.size_bytes / 1e6:.2f} MB,"
        f" initramfs {manifest.initramfs.size_bytes / 1e6:.2f} MB ({manifest.compression},"
        f" {manifest.modules} modules)",
        f"agent payload ({', '.join(PAYLOAD_PARTS)}) {manifest.payload_bytes / 1e6:.2f} MB,"
        f" {share:.2f} of the limit",
    ]
    return "\n".join(lines) + "\n"
