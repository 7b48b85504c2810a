"""The distributions' own installers of an images directory: kernel, initrd and manifest of each.

    <images_dir>/installers/<name>/manifest.json       `InstallerManifest`
    <images_dir>/installers/<name>/kernel-<SHA-256>    its files, named after their digests
    <images_dir>/installers/<name>/initrd-<SHA-256>  (and Windows's own: bcd, boot_sdi, …)

An installer exists from the moment its manifest is renamed into place, when its files are on the
disk. Those that were replaced stay until the next replacement: plans that were given out name them.
A damaged one is left out and logged; the others are served.
"""

import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from lpmos.images.atomic import (
    UNFINISHED,
    remove_directory,
    scratch_directory,
    sha256_of,
    sync_directory,
    sync_file,
    write_file,
)
from lpmos.images.windows_files import KINDS as WINDOWS_KINDS
from lpmos.images.windows_files import WindowsSources, check_windows
from lpmos.model.errors import ImageError
from lpmos.model.installer import (
    FAMILIES,
    REQUIRED_BYTES,
    Family,
    FileRef,
    InstallerManifest,
)
from lpmos.model.newtask import OS_PATTERN
from lpmos.model.windows import OS_TYPE as WINDOWS

DIRECTORY = "installers"
"""Below the images directory; no OS image may have this name."""
MANIFEST = "manifest.json"

_log = logging.getLogger(__name__)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_OS = re.compile(OS_PATTERN)
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REPOSITORY = re.compile(r"[!-~]{1,500}")
_WINDOWS_FILES = "the family windows has a BCD, boot.sdi, curl.exe and install.wim; no other has"
_KINDS = ("kernel", "initrd", *WINDOWS_KINDS)


class InstallerFields(msgspec.Struct, frozen=True, kw_only=True):
    """What is said of an installer that is added; `Installers` adds files, digests and time."""

    name: str
    family: Family
    os_type: str
    os_version: str
    repository: str
    media: str | None = None
    required_bytes: int = REQUIRED_BYTES


class Installers:
    """The installers of one images directory; any number of readers and writers may have it."""

    def __init__(self, images_dir: Path) -> None:
        """The directory may be missing: then there are no installers yet."""
        self._directory = images_dir / DIRECTORY
        self._read: dict[str, tuple[tuple[int, int], InstallerManifest | ImageError]] = {}

    def manifests(self) -> tuple[InstallerManifest, ...]:
        """Every whole installer, by name; none where the directory cannot be read (logged)."""
        try:
            names = self._names()
        except ImageError as error:
            _log.warning("no installer is served: %s", error)
            return ()
        found = (self._current(name) for name in names)
        return tuple(each for each in found if isinstance(each, InstallerManifest))

    def damaged(self) -> dict[str, ImageError]:
        """What is wrong with each installer that cannot be served, by its name.

        Raises:
            ImageError: the directory cannot be read.
        """
        found = {name: self._current(name) for name in self._names()}
        return {name: each for name, each in found.items() if isinstance(each, ImageError)}

    def load(self, name: str) -> InstallerManifest:
        """One installer's manifest.

        Raises:
            ImageError: there is no such installer, it is damaged, or cannot be read.
        """
        found = self._current(name) if name in self._names() else None
        if found is None:
            raise ImageError(f"there is no installer {name!r} in {self._directory}")
        if isinstance(found, ImageError):
            raise found
        return found

    def find(self, os_type: str, os_version: str) -> InstallerManifest | None:
        """The installer of an OS; where several are, the one that was added last."""
        wanted = (os_type, os_version)
        fitting = [each for each in self.manifests() if (each.os_type, each.os_version) == wanted]
        return max(fitting, key=lambda each: (each.added_at, each.name), default=None)

    def by_digest(self, sha256: str) -> Path | None:
        """The file with this digest, also of what was replaced last."""
        if not _SHA256.fullmatch(sha256):
            return None
        paths = (
            self._directory / manifest.name / f"{kind}-{sha256}"
            for manifest in self.manifests()
            for kind in _KINDS
        )
        return next((path for path in paths if path.is_file()), None)

    def verify(self, name: str) -> InstallerManifest:
        """Read an installer's files and compare them with its manifest.

        Raises:
            ImageError: it is missing or damaged; names the file and both digests.
        """
        manifest = self.load(name)
        for reference in files_of(manifest).values():
            path = self._directory / name / reference.file
            try:
                found = sha256_of(path)
            except OSError as error:
                raise _damaged(path, str(error.strerror)) from error
            if found != reference.sha256:
                raise _damaged(
                    path, f"its SHA-256 is {found}, its manifest says {reference.sha256}"
                )
        return manifest

    def add(
        self,
        fields: InstallerFields,
        kernel: Path,
        initrd: Path,
        windows: WindowsSources | None = None,
    ) -> InstallerManifest:
        """Copy an installer in, in place of one of the same name.

        Args:
            fields: what is said of it.
            kernel: the kernel; of Windows wimboot.
            initrd: the initrd; of Windows the WIM of Windows PE.
            windows: the files that Windows alone has.

        Raises:
            ImageError: a field cannot be used, a file is not there or not what it is called, or
                the directory cannot be written.
        """
        _check(fields)
        if (fields.family == WINDOWS) != (windows is not None):
            raise ImageError(_WINDOWS_FILES)
        sources = {"kernel": kernel, "initrd": initrd, **(windows.paths() if windows else {})}
        for path in sources.values():
            if not path.is_file():
                raise ImageError(f"there is no file {path}")
        with _writing(self._directory), scratch_directory(self._directory) as scratch:
            return self._put(fields, scratch, sources, windows)

    def remove(self, name: str) -> None:
        """Remove an installer with its files.

        Raises:
            ImageError: there is no such installer, or the directory cannot be written.
        """
        if name not in self._names():
            raise ImageError(f"there is no installer {name!r} in {self._directory}")
        with _writing(self._directory):
            remove_directory(self._directory / name)

    def _put(
        self,
        fields: InstallerFields,
        scratch: Path,
        sources: dict[str, Path],
        windows: WindowsSources | None,
    ) -> InstallerManifest:
        checked = check_windows(sources["kernel"], sources["initrd"], windows) if windows else None
        place = self._directory / fields.name
        place.mkdir(exist_ok=True)
        files: dict[str, FileRef] = {}
        for kind, source in sources.items():
            arrived = Path(shutil.copyfile(source, scratch / kind))
            digest = sha256_of(arrived)
            size_bytes = arrived.stat().st_size
            arrived.chmod(0o644)
            sync_file(arrived)
            arrived.replace(place / f"{kind}-{digest}")
            files[kind] = FileRef(file=f"{kind}-{digest}", sha256=digest, size_bytes=size_bytes)
        before = self._current(fields.name) if (place / MANIFEST).exists() else None
        kept = {MANIFEST, *(reference.file for reference in files.values())}
        if isinstance(before, InstallerManifest):
            kept |= {reference.file for reference in files_of(before).values()}
        if checked:
            required_bytes = max(fields.required_bytes, checked.required_bytes)
            fields = msgspec.structs.replace(fields, required_bytes=required_bytes)
        manifest = InstallerManifest(
            **msgspec.structs.asdict(fields),
            kernel=files["kernel"],
            initrd=files["initrd"],
            windows=checked.files(files) if checked else None,
            added_at=datetime.now(UTC),
        )
        sync_directory(place)
        document = msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"
        write_file(place / MANIFEST, document)
        for leftover in place.iterdir():
            if leftover.name not in kept:
                leftover.unlink()
        return manifest

    def _names(self) -> list[str]:
        try:
            with os.scandir(self._directory) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.is_dir() and not entry.name.startswith(UNFINISHED)
                )
        except FileNotFoundError:
            return []
        except OSError as error:
            raise ImageError(
                f"the installers' directory {self._directory} cannot be read ({error.strerror}):"
                " name an images directory that this user may read"
            ) from error

    def _current(self, name: str) -> InstallerManifest | ImageError:
        """An installer as it is now: read again only where its manifest changed."""
        path = self._directory / name / MANIFEST
        try:
            status = path.stat()
            stamp = (status.st_mtime_ns, status.st_ino)
        except OSError:
            stamp = (0, 0)
        known_stamp, known = self._read.get(name, (None, None))
        if isinstance(known, InstallerManifest) and known_stamp == stamp:
            return known
        found = self._inspect(name, path)
        if isinstance(found, ImageError) and str(found) != str(known):
            _log.warning("installer left out: %s", found)
        self._read[name] = (stamp, found)
        return found

    def _inspect(self, name: str, path: Path) -> InstallerManifest | ImageError:
        try:
            manifest = msgspec.json.decode(path.read_bytes(), type=InstallerManifest)
            if manifest.name != name:
                return _damaged(path, f"it is of {manifest.name!r}")
            _check(manifest)
            if (manifest.family == WINDOWS) != (manifest.windows is not None):
                return _damaged(path, _WINDOWS_FILES)
            for kind, reference in files_of(manifest).items():
                if reference.file != f"{kind}-{reference.sha256}":
                    return _damaged(path, f"its {kind} is not named after its digest")
                size_bytes = (path.parent / reference.file).stat().st_size
                if size_bytes != reference.size_bytes:
                    return _damaged(path.parent / reference.file, f"it has {size_bytes} bytes")
        except (OSError, msgspec.MsgspecError, UnicodeError, ImageError) as error:
            return _damaged(path, str(error))
        return manifest


def is_repository(text: str) -> bool:
    """Whether packages may come from `text`: an http(s) URL, or a path of the region itself."""
    if not _REPOSITORY.fullmatch(text) or any(mark in text for mark in "\"'\\$`?#"):
        return False
    if text.startswith("/") and not text.startswith("//"):
        return True
    try:
        url = urlsplit(text)
        port_is_sound = url.port is None or url.port > 0
    except ValueError:
        return False
    return url.scheme in ("http", "https") and bool(url.hostname) and port_is_sound


def files_of(manifest: InstallerManifest) -> dict[str, FileRef]:
    """Every file of an installer, by its kind."""
    found = {"kernel": manifest.kernel, "initrd": manifest.initrd}
    if windows := manifest.windows:
        found |= {kind: getattr(windows, kind) for kind in WINDOWS_KINDS}
    return found


def _check(fields: InstallerFields | InstallerManifest) -> None:
    if not _NAME.fullmatch(fields.name):
        raise ImageError(
            f"{fields.name!r} cannot be an installer's name: use lower-case letters, digits, dots,"
            " dashes and underscores"
        )
    if fields.family not in FAMILIES:
        raise ImageError(f"unknown family {fields.family!r}; known: {', '.join(FAMILIES)}")
    for what, text in (("OS type", fields.os_type), ("OS version", fields.os_version)):
        if not _OS.fullmatch(text):
            raise ImageError(f"{text!r} is no {what}: use lower-case letters, digits, . and -")
    for url in (fields.repository, fields.media):
        if url is not None and not is_repository(url):
            raise ImageError(
                f"{url!r} is no repository: name an http(s) URL without quotes, query and"
                " fragment, or a path of the region"
            )
    if (fields.family == WINDOWS) != (fields.os_type == WINDOWS):
        raise ImageError("the OS type of the family windows is windows, and of no other one")
    if fields.family == "ubuntu" and not fields.media:
        raise ImageError("the installer of ubuntu needs a medium: the URL of its live server's ISO")


def _damaged(path: Path, what: str) -> ImageError:
    return ImageError(
        f"the installer's file {path} cannot be used: {what}; add the installer again with `lpmos"
        " image add-installer`"
    )


@contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ImageError(
            f"nothing can be put into {directory} ({error}): name a directory that this user may"
            " write, on a disk with room"
        ) from error
