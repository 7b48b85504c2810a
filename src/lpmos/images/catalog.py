"""The directory of images: each OS image with its manifest, and the boot agent's.

    <images_dir>/<name>/manifest.json            an OS image: `ImageManifest`
    <images_dir>/<name>/<manifest.file>          its archive, named after its digest
    <images_dir>/<name>/previous.json            the manifest of the archive that it replaced
    <images_dir>/agent/x86_64-> <generation>    the agent: kernel, initramfs and manifest together

An image exists from the moment its manifest (or the agent's link) is renamed into place, when all
else of it is on the disk; a reader meets the old one or the new one. Manifests are read again when
they change, so a region sees a new image at once. A damaged one is left out and logged; the others
are served. An archive that was replaced stays for one more build, served by its digest only: plans
that were given out name it.

Whoever asks for one thing (`load`, `verify`, `damaged`, `agent`, and those that write) gets an
`ImageError` where the directory cannot be read; a listing is empty then, and the log says why.
"""

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lpmos.images.atomic import (
    remove_directory,
    scratch_directory,
    sha256_of,
    sync_file,
    write_file,
)
from lpmos.images.catalog_agent import AGENT, KEPT_AGENTS, AgentImages
from lpmos.images.catalog_files import (
    MANIFEST,
    MISSING,
    check_digest,
    document,
    stamp_of,
    writing,
)
from lpmos.images.catalog_manifests import (
    PREVIOUS,
    RESERVED,
    Manifests,
    Refuses,
    UntrustedImage,
)
from lpmos.model.errors import ImageError
from lpmos.model.image import ImageFormat, ImageManifest, NetworkSystem

__all__ = ["AGENT", "KEPT_AGENTS", "Catalog", "ImageFields", "UntrustedImage"]

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


class ImageFields(msgspec.Struct, frozen=True, kw_only=True):
    """What the maker of an OS image says of it; the catalog adds file, size and digest."""

    name: str
    family: str
    os_type: str
    os_version: str
    unpacked_bytes: int
    packages: int | None = None
    first_boot: bool = False
    format: ImageFormat = "tar.zst"
    disk_bytes: int | None = None
    sector_bytes: int | None = None
    network: NetworkSystem = "systemd-networkd"
    cloud_init: bool = False
    source_sha256: str | None = None


class Catalog(AgentImages):
    """One images directory; any number of readers and writers may have it open."""

    def __init__(self, images_dir: Path, refuses: Refuses | None = None) -> None:
        """The directory may be missing: then there are no images yet.

        `refuses` says of an image why it is not trusted; without it, all are.
        """
        super().__init__(images_dir)
        self._manifests = Manifests(images_dir, refuses)

    def manifests(self) -> tuple[ImageManifest, ...]:
        """Every whole image, by name."""
        found = (self._manifests.current(name) for name in self._manifests.listed())
        return tuple(item for item in found if isinstance(item, ImageManifest))

    def damaged(self) -> dict[str, ImageError]:
        """What is wrong with each image that cannot be served, by its directory's name.

        Raises:
            ImageError: the images directory cannot be read.
        """
        found = {name: self._manifests.current(name) for name in self._manifests.names()}
        return {name: item for name, item in found.items() if isinstance(item, ImageError)}

    def load(self, name: str) -> ImageManifest:
        """One image's manifest.

        Raises:
            ImageError: there is no such image, it is damaged, or the directory cannot be read.
        """
        found = self._manifests.current(name) if name in self._manifests.names() else None
        if found is None:
            raise ImageError(f"there is no image {name!r} in {self._directory}")
        if isinstance(found, ImageError):
            raise found
        return found

    def find(self, os_type: str, os_version: str) -> ImageManifest | None:
        """The image of an OS; where several are, the one that was built last."""
        wanted = (os_type, os_version)
        fitting = [m for m in self.manifests() if (m.os_type, m.os_version) == wanted]
        return max(fitting, key=lambda manifest: (manifest.built_at, manifest.name), default=None)

    def by_digest(self, sha256: str) -> tuple[ImageManifest, Path] | None:
        """The image whose archive has this digest, or had it before the last build; its path."""
        before = (self._manifests.previous(name) for name in self._manifests.listed())
        for manifest in (*self.manifests(), *before):
            if manifest is None or manifest.sha256 != sha256:
                continue
            if stamp_of(path := self.path(manifest)) != MISSING:
                return manifest, path
        return None

    def path(self, manifest: ImageManifest) -> Path:
        """Where an image's archive is."""
        return self._directory / manifest.name / manifest.file

    def verify(self, name: str) -> ImageManifest:
        """Read an image's archive and compare it with its manifest; takes seconds per gigabyte.

        Raises:
            ImageError: the image is missing or damaged; names the file and both digests.
        """
        manifest = self.said(name)
        path = self.path(manifest)
        check_digest(path, manifest.sha256, f"build or add the image {name!r} again")
        return manifest

    def add(self, fields: ImageFields, archive: Path) -> ImageManifest:
        """Move an archive into the catalog, in place of an image of the same name.

        The archive that it replaces stays for `by_digest`, until the next one comes.

        Raises:
            ImageError: the name cannot be a directory's, the archive is not there, or the images
                directory cannot be written.
        """
        if not _NAME.fullmatch(fields.name) or fields.name in RESERVED:
            raise ImageError(
                f"{fields.name!r} cannot be an image's name: use lower-case letters, digits, dots,"
                f" dashes and underscores, and not {' or '.join(sorted(RESERVED))}"
            )
        if not archive.is_file():
            raise ImageError(f"there is no archive {archive}")
        with writing(self._directory):
            return self._put(fields, archive)

    def remove(self, name: str) -> None:
        """Remove an image with its archives; who reads one at this moment reads it to the end.

        Raises:
            ImageError: there is no such image, or the images directory cannot be written.
        """
        if name not in self._manifests.names():
            raise ImageError(f"there is no image {name!r} in {self._directory}")
        with writing(self._directory):
            remove_directory(self._directory / name)

    def sign(self, manifest: ImageManifest) -> ImageManifest:
        """Put a signed manifest in place of the same one without, or with another signature.

        Raises:
            ImageError: there is no such image, it says something else now, or the images directory
                cannot be written.
        """
        present = self.said(manifest.name)
        bare = msgspec.structs.replace(
            manifest, file=present.file, signature=present.signature, signed_by=present.signed_by
        )
        if bare != present:
            raise ImageError(f"the image {manifest.name} changed meanwhile: sign it again")
        whole = msgspec.structs.replace(manifest, file=present.file)
        with writing(self._directory):
            write_file(self._directory / manifest.name / MANIFEST, document(whole))
        return whole

    def said(self, name: str) -> ImageManifest:
        """What an image's manifest says, whether it is trusted or not.

        Raises:
            ImageError: there is no such image, it is damaged, or the directory cannot be read.
        """
        try:
            return self.load(name)
        except UntrustedImage as untrusted:
            return untrusted.manifest

    def _put(self, fields: ImageFields, archive: Path) -> ImageManifest:
        place = self._directory / fields.name
        with scratch_directory(self._directory) as scratch:
            arrived = Path(shutil.move(archive, scratch / "archive"))
            digest = sha256_of(arrived)
            stem = "root" if fields.format == "tar.zst" else "disk"
            manifest = ImageManifest(
                **msgspec.structs.asdict(fields),
                architecture="x86_64",
                file=f"{stem}-{digest[:16]}.{fields.format}",
                sha256=digest,
                size_bytes=arrived.stat().st_size,
                built_at=datetime.now(UTC),
            )
            arrived.chmod(0o644)
            sync_file(arrived)
            place.mkdir(exist_ok=True)
            arrived.replace(place / manifest.file)
        replaced = self._manifests.current(fields.name) if (place / MANIFEST).exists() else None
        if isinstance(replaced, ImageManifest) and replaced.sha256 != digest:
            write_file(place / PREVIOUS, document(replaced))
        write_file(place / MANIFEST, document(manifest))
        before = self._manifests.previous(fields.name)
        kept = {MANIFEST, manifest.file} | ({PREVIOUS, before.file} if before else set())
        for leftover in place.iterdir():
            if leftover.name not in kept:
                leftover.unlink()
        return manifest
