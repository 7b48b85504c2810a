"""Images for a simulated fleet: a catalog like any other, whose contents cost nothing to make."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lpmos.images.agent_manifest import AgentFile, AgentManifest
from lpmos.images.atomic import sha256_of
from lpmos.images.catalog import Catalog, ImageFields

AGENT_TEXT: Final = b"A simulated fleet boots no kernel.\n"
TAR_BLOCK: Final = 512
"""An archive of nothing but zero blocks is an empty tar archive (pax(1), "ustar")."""
_ZSTD_BLOCK: Final = 128 * 1024


def make_simulated_images(images_dir: Path, size_bytes: int) -> None:
    """A catalog that a simulated fleet can be installed from: an archive of nothing.

    The archive is a valid `.tar.zst` of `size_bytes`; a simulated agent downloads it and checks its
    digest. The agent's image holds a sentence in place of a kernel: no simulated server boots it.
    """
    images_dir.mkdir(parents=True, exist_ok=True)
    catalog = Catalog(images_dir)
    archive = images_dir / "simulated.tar.zst"
    archive.write_bytes(stored_zstd(bytes(size_bytes // TAR_BLOCK * TAR_BLOCK)))
    catalog.add(
        ImageFields(
            name="debian-12-simulated",
            family="debian",
            os_type="debian",
            os_version="12",
            unpacked_bytes=size_bytes,
            first_boot=True,
        ),
        archive,
    )
    _make_agent(catalog, images_dir)


def stored_zstd(data: bytes) -> bytes:
    """Data as one Zstandard frame of stored blocks, without compression (RFC 8878 section 3.1.1).

    The frame says: single segment, no checksum, content size in eight bytes.
    """
    pieces = [data[at : at + _ZSTD_BLOCK] for at in range(0, len(data), _ZSTD_BLOCK)] or [b""]
    frame = [bytes.fromhex("28b52ffd"), b"\xe0", len(data).to_bytes(8, "little")]
    for number, piece in enumerate(pieces, start=1):
        last = number == len(pieces)
        frame += [(len(piece) << 3 | last).to_bytes(3, "little"), piece]
    return b"".join(frame)


def _make_agent(catalog: Catalog, directory: Path) -> None:
    files = {}
    for name in ("kernel", "initramfs"):
        path = directory / f"simulated-{name}"
        path.write_bytes(AGENT_TEXT + name.encode())
        files[name] = path
    described = {
        name: AgentFile(sha256=sha256_of(path), size_bytes=path.stat().st_size)
        for name, path in files.items()
    }
    agent_dir = directory / "agent"
    agent_dir.mkdir(exist_ok=True)
    manifest = AgentManifest(
        version="simulated",
        recipe="simulated",
        architecture="x86_64",
        kernel_version="none",
        compression="none",
        built_at=datetime.now(UTC),
        kernel=described["kernel"],
        initramfs=described["initramfs"],
        payload_bytes=0,
        parts=(),
        modules=0,
        unknown_modules=(),
        modules_wanting_firmware=(),
        packages=(),
    )
    catalog.put_agent(manifest, files["kernel"], files["initramfs"])
