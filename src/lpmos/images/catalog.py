"""The directory of images: each OS image with its manifest, and the boot agent's.

    <images_dir>/<name>/manifest.json            an OS image: `ImageManifest`
    <images_dir>/<name>/<manifest.file>          its archive, named after its digest
    <images_dir>/agent/x86_64-> <generation>    the agent: kernel, initramfs and manifest together

An image exists from the moment its manifest (or the agent's link) is renamed into place, when all
else of it is on the disk; a reader meets the old one or the new one. Manifests are read again when
they change, so a region sees a new image at once. A damaged one is left out and logged; the others
are served.
"""

import logging
import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lpmos.images.agent_manifest import AgentImage, AgentManifest
from lpmos.images.atomic import (
    UNFINISHED,
    point_link,
    scratch_directory,
    sha256_of,
    sync_directory,
    sync_file,
    write_file,
)
from lpmos.model.errors import ImageError
from lpmos.model.image import ImageManifest

MANIFEST = "manifest.json"
AGENT = "agent"
"""The one name that no OS image may have."""
KEPT_AGENTS = 2
"""Agent generations that stay: machines that are just booting may still fetch the one before."""

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_Stamp = tuple[int, int, int]


class ImageFields(msgspec.Struct, frozen=True, kw_only=True):
    """What the maker of an OS image says of it; the catalog adds file, size and digest."""

    name: str
    family: str
    os_type: str
    os_version: str
    unpacked_bytes: int
    packages: int | None = None


class Catalog:
    """One images directory; any number of readers and writers may have it open."""

    def __init__(self, images_dir: Path) -> None:
        """The directory may be missing: then there are no images yet."""
        self._directory = images_dir
        self._read: dict[str, tuple[_Stamp, ImageManifest | ImageError]] = {}

    def manifests(self) -> tuple[ImageManifest, ...]:
        """Every whole image, by name."""
        found = (self._current(name) for name in self._names())
        return tuple(item for item in found if isinstance(item, ImageManifest))

    def damaged(self) -> dict[str, ImageError]:
        """What is wrong with each image that cannot be served, by its directory's name."""
        found = {name: self._current(name) for name in self._names()}
        return {name: item for name, item in found.items() if isinstance(item, ImageError)}

    def load(self, name: str) -> ImageManifest:
        """One image's manifest.

        Raises:
            ImageError: there is no such image, or it is damaged.
        """
        found = self._current(name) if name in self._names() else None
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
        """The image whose archive has this digest, with the archive's path."""
        for manifest in self.manifests():
            if manifest.sha256 == sha256:
                return manifest, self.path(manifest)
        return None

    def path(self, manifest: ImageManifest) -> Path:
        """Where an image's archive is."""
        return self._directory / manifest.name / manifest.file

    def verify(self, name: str) -> ImageManifest:
        """Read an image's archive and compare it with its manifest; takes seconds per gigabyte.

        Raises:
            ImageError: the image is missing or damaged; names the file and both digests.
        """
        manifest = self.load(name)
        path = self.path(manifest)
        _check_digest(path, manifest.sha256, f"build or add the image {name!r} again")
        return manifest

    def add(self, fields: ImageFields, archive: Path) -> ImageManifest:
        """Move an archive into the catalog, in place of an image of the same name.

        Raises:
            ImageError: the name cannot be a directory's, or the archive is not there.
        """
        if not _NAME.fullmatch(fields.name) or fields.name == AGENT:
            raise ImageError(
                f"{fields.name!r} cannot be an image's name: use lower-case letters, digits, dots,"
                f" dashes and underscores, and not {AGENT!r}"
            )
        if not archive.is_file():
            raise ImageError(f"there is no archive {archive}")
        place = self._directory / fields.name
        with scratch_directory(self._directory) as scratch:
            arrived = Path(shutil.move(archive, scratch / "archive"))
            digest = sha256_of(arrived)
            manifest = ImageManifest(
                name=fields.name,
                family=fields.family,
                os_type=fields.os_type,
                os_version=fields.os_version,
                architecture="x86_64",
                format="tar.zst",
                file=f"root-{digest[:16]}.tar.zst",
                sha256=digest,
                size_bytes=arrived.stat().st_size,
                unpacked_bytes=fields.unpacked_bytes,
                built_at=datetime.now(UTC),
                packages=fields.packages,
            )
            arrived.chmod(0o644)
            sync_file(arrived)
            place.mkdir(exist_ok=True)
            arrived.replace(place / manifest.file)
        write_file(place / MANIFEST, _document(manifest))
        for leftover in place.iterdir():
            if leftover.name not in {MANIFEST, manifest.file}:
                leftover.unlink()
        return manifest

    def agent_manifest(self) -> AgentManifest | None:
        """What is known of the boot agent's image; None where there is none, or a damaged one."""
        return _read_agent_manifest(self._agent_link().resolve())

    def agent(self) -> AgentImage:
        """The boot agent's kernel and initramfs; both are of one build, and stay for another one.

        Raises:
            ImageError: there is none, or it is damaged.
        """
        generation = self._agent_link().resolve()
        advice = "build it with `lpmos image build-agent`"
        manifest = _read_agent_manifest(generation)
        if manifest is None:
            raise ImageError(f"there is no usable agent image in {generation}: {advice}")
        image = AgentImage(
            kernel=generation / "vmlinuz",
            initramfs=generation / "initramfs",
            version=manifest.version,
            kernel_sha256=manifest.kernel.sha256,
            initramfs_sha256=manifest.initramfs.sha256,
        )
        _check_size(image.kernel, manifest.kernel.size_bytes, advice)
        _check_size(image.initramfs, manifest.initramfs.size_bytes, advice)
        return image

    def verify_agent(self) -> AgentImage:
        """Read the agent's files and compare them with their manifest.

        Raises:
            ImageError: a file is missing or damaged; names the file and both digests.
        """
        image = self.agent()
        advice = "build it again with `lpmos image build-agent --force`"
        _check_digest(image.kernel, image.kernel_sha256, advice)
        _check_digest(image.initramfs, image.initramfs_sha256, advice)
        return image

    def put_agent(self, manifest: AgentManifest, kernel: Path, initramfs: Path) -> AgentImage:
        """Move a kernel and an initramfs into the catalog, in place of the agent that is there."""
        parent = self._agent_link().parent
        generation = parent / f"x86_64-{manifest.kernel.sha256[:8]}{manifest.initramfs.sha256[:8]}"
        with scratch_directory(parent) as scratch:
            for path, name in ((kernel, "vmlinuz"), (initramfs, "initramfs")):
                shutil.move(path, scratch / name)
                sync_file(scratch / name)
            write_file(scratch / MANIFEST, _document(manifest))
            if generation.exists():  # the same bytes, built again
                write_file(generation / MANIFEST, _document(manifest))
            else:
                scratch.rename(generation)
        sync_directory(parent)
        point_link(self._agent_link(), generation.name)
        self._forget_old_agents()
        return self.agent()

    def _agent_link(self) -> Path:
        return self._directory / AGENT / "x86_64"

    def _forget_old_agents(self) -> None:
        parent = self._agent_link().parent
        generations = sorted(
            parent.glob("x86_64-*"), key=lambda path: (path / MANIFEST).stat().st_mtime_ns
        )
        current = self._agent_link().resolve()
        others = [path for path in generations if path != current]
        for old in others[: len(others) - (KEPT_AGENTS - 1)]:
            shutil.rmtree(old)

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._directory) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.name != AGENT
                    and not entry.name.startswith(UNFINISHED)
                    and entry.is_dir()
                )
        except FileNotFoundError:
            return []

    def _current(self, name: str) -> ImageManifest | ImageError:
        """An image as it is now: read again only where its manifest changed."""
        path = self._directory / name / MANIFEST
        stamp = _stamp(path)
        known = self._read.get(name)
        if known is not None and known[0] == stamp:
            return known[1]
        found = self._inspect(name, path)
        if isinstance(found, ImageError):
            _log.warning("image left out: %s", found)
        self._read[name] = (stamp, found)
        return found

    def _inspect(self, name: str, path: Path) -> ImageManifest | ImageError:
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=ImageManifest)
        except (OSError, msgspec.MsgspecError, UnicodeError) as error:
            return ImageError(
                f"the manifest {path} cannot be read ({error}): build the image again"
            )
        if manifest.name != name:
            return ImageError(f"the manifest {path} is of {manifest.name!r}: rename its directory")
        if not _SHA256.fullmatch(manifest.sha256) or Path(manifest.file).name != manifest.file:
            return ImageError(f"the manifest {path} has no proper digest or file name")
        try:
            _check_size(self.path(manifest), manifest.size_bytes, "build or add the image again")
        except ImageError as error:
            return error
        return manifest


def _document(manifest: msgspec.Struct) -> bytes:
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def _read_agent_manifest(generation: Path) -> AgentManifest | None:
    path = generation / MANIFEST
    try:
        return msgspec.json.decode(path.read_bytes(), type=AgentManifest)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError, UnicodeError) as error:
        _log.warning("the agent's manifest %s cannot be read: %s", path, error)
        return None


def _stamp(path: Path) -> _Stamp:
    try:
        status = path.stat()
    except OSError:
        return (0, 0, 0)
    return (status.st_mtime_ns, status.st_size, status.st_ino)


def _check_size(path: Path, size_bytes: int, advice: str) -> None:
    try:
        found = path.stat().st_size
    except OSError as error:
        raise ImageError(f"the file {path} cannot be read ({error.strerror}): {advice}") from error
    if found != size_bytes:
        raise ImageError(
            f"the file {path} has {found} bytes, its manifest says {size_bytes}: {advice}"
        )


def _check_digest(path: Path, sha256: str, advice: str) -> None:
    try:
        found = sha256_of(path)
    except OSError as error:
        raise ImageError(f"the file {path} cannot be read ({error.strerror}): {advice}") from error
    if found != sha256:
        raise ImageError(
            f"the file {path} is damaged: its SHA-256 is {found}, its manifest says {sha256};"
            f" {advice}"
        )
