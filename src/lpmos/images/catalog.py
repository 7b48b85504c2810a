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

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
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
PREVIOUS = "previous.json"
AGENT = "agent"
"""The one name that no OS image may have."""
KEPT_AGENTS = 2
"""Agent generations that stay: machines that are just booting may still fetch the one before."""

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

_Stamp = tuple[int, int, int]
_MISSING: _Stamp = (0, 0, 0)


class ImageFields(msgspec.Struct, frozen=True, kw_only=True):
    """What the maker of an OS image says of it; the catalog adds file, size and digest."""

    name: str
    family: str
    os_type: str
    os_version: str
    unpacked_bytes: int
    packages: int | None = None
    first_boot: bool = False


class Catalog:
    """One images directory; any number of readers and writers may have it open."""

    def __init__(self, images_dir: Path) -> None:
        """The directory may be missing: then there are no images yet."""
        self._directory = images_dir
        self._read: dict[Path, tuple[_Stamp, ImageManifest | ImageError]] = {}
        self._complaint = ""

    def manifests(self) -> tuple[ImageManifest, ...]:
        """Every whole image, by name."""
        found = (self._current(name) for name in self._listed())
        return tuple(item for item in found if isinstance(item, ImageManifest))

    def damaged(self) -> dict[str, ImageError]:
        """What is wrong with each image that cannot be served, by its directory's name.

        Raises:
            ImageError: the images directory cannot be read.
        """
        found = {name: self._current(name) for name in self._names()}
        return {name: item for name, item in found.items() if isinstance(item, ImageError)}

    def load(self, name: str) -> ImageManifest:
        """One image's manifest.

        Raises:
            ImageError: there is no such image, it is damaged, or the directory cannot be read.
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
        """The image whose archive has this digest, or had it before the last build; its path."""
        before = (self._previous(name) for name in self._listed())
        for manifest in (*self.manifests(), *before):
            if manifest is None or manifest.sha256 != sha256:
                continue
            if _stamp(path := self.path(manifest)) != _MISSING:
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
        manifest = self.load(name)
        path = self.path(manifest)
        _check_digest(path, manifest.sha256, f"build or add the image {name!r} again")
        return manifest

    def add(self, fields: ImageFields, archive: Path) -> ImageManifest:
        """Move an archive into the catalog, in place of an image of the same name.

        The archive that it replaces stays for `by_digest`, until the next one comes.

        Raises:
            ImageError: the name cannot be a directory's, the archive is not there, or the images
                directory cannot be written.
        """
        if not _NAME.fullmatch(fields.name) or fields.name == AGENT:
            raise ImageError(
                f"{fields.name!r} cannot be an image's name: use lower-case letters, digits, dots,"
                f" dashes and underscores, and not {AGENT!r}"
            )
        if not archive.is_file():
            raise ImageError(f"there is no archive {archive}")
        with _writing(self._directory):
            return self._put(fields, archive)

    def remove(self, name: str) -> None:
        """Remove an image with its archives; who reads one at this moment reads it to the end.

        Raises:
            ImageError: there is no such image, or the images directory cannot be written.
        """
        if name == AGENT or name not in self._names():
            raise ImageError(f"there is no image {name!r} in {self._directory}")
        with _writing(self._directory), scratch_directory(self._directory) as scratch:
            (self._directory / name).rename(scratch / name)

    def _put(self, fields: ImageFields, archive: Path) -> ImageManifest:
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
                first_boot=fields.first_boot,
            )
            arrived.chmod(0o644)
            sync_file(arrived)
            place.mkdir(exist_ok=True)
            arrived.replace(place / manifest.file)
        replaced = self._current(fields.name) if (place / MANIFEST).exists() else None
        if isinstance(replaced, ImageManifest) and replaced.sha256 != digest:
            write_file(place / PREVIOUS, _document(replaced))
        write_file(place / MANIFEST, _document(manifest))
        before = self._previous(fields.name)
        kept = {MANIFEST, manifest.file} | ({PREVIOUS, before.file} if before else set())
        for leftover in place.iterdir():
            if leftover.name not in kept:
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
            architecture=manifest.architecture,
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
        """Move a kernel and an initramfs into the catalog, in place of the agent that is there.

        Raises:
            ImageError: the images directory cannot be written.
        """
        with _writing(self._directory):
            self._put_generation(manifest, kernel, initramfs)
        return self.agent()

    def _put_generation(self, manifest: AgentManifest, kernel: Path, initramfs: Path) -> None:
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

    def _agent_link(self) -> Path:
        return self._directory / AGENT / "x86_64"

    def _forget_old_agents(self) -> None:
        parent = self._agent_link().parent
        generations = sorted(
            parent.glob("x86_64-*"), key=lambda path: (path / MANIFEST).stat().st_mtime_ns
        )
        current = self._agent_link().readlink().name
        others = [path for path in generations if path.name != current]
        for old in others[: len(others) - (KEPT_AGENTS - 1)]:
            shutil.rmtree(old)

    def _listed(self) -> list[str]:
        """The names of what is there; none where the directory cannot be read, which is logged."""
        try:
            names = self._names()
        except ImageError as error:
            if str(error) != self._complaint:
                _log.warning("no image is served: %s", error)
            self._complaint = str(error)
            return []
        self._complaint = ""
        return names

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
        except OSError as error:
            raise ImageError(
                f"the images directory {self._directory} cannot be read ({error.strerror}): name a"
                " directory that this user may read"
            ) from error

    def _current(self, name: str, file: str = MANIFEST) -> ImageManifest | ImageError:
        """An image as it is now: read again only where its manifest changed, or was damaged."""
        path = self._directory / name / file
        stamp = _stamp(path)
        known_stamp, known = self._read.get(path, (None, None))
        if isinstance(known, ImageManifest) and known_stamp == stamp:
            return known
        found = self._inspect(name, path)
        if isinstance(found, ImageError) and str(found) != str(known):
            _log.warning("image left out: %s", found)
        self._read[path] = (stamp, found)
        return found

    def _previous(self, name: str) -> ImageManifest | None:
        """What the image of this name was before its last build, where that is still there."""
        if _stamp(self._directory / name / PREVIOUS) == _MISSING:
            return None
        found = self._current(name, PREVIOUS)
        return found if isinstance(found, ImageManifest) else None

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


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    """Say what to do where the images directory cannot be written."""
    try:
        yield
    except OSError as error:
        raise ImageError(
            f"nothing can be put into the images directory {directory} ({error}): name a directory"
            " that this user may write, on a disk with room"
        ) from error


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
        return _MISSING
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
