"""The manifests of the images directory: each read again when it changes, and believed when whole.

The rule: an image is only what its manifest says, of the size that it says, and, where keys are
trusted, what one of these signed. A damaged or untrusted one is left out and logged, each reason
once; the others are served.
"""

import logging
import os
import re
from collections.abc import Callable
from pathlib import Path

import msgspec

from lpmos.images.atomic import UNFINISHED
from lpmos.images.catalog_agent import AGENT
from lpmos.images.catalog_files import MANIFEST, MISSING, Stamp, check_size, stamp_of
from lpmos.model.errors import ImageError
from lpmos.model.image import ImageManifest

PREVIOUS = "previous.json"
RESERVED = frozenset({AGENT, "installers"})
"""Names that no OS image may have."""

Refuses = Callable[[ImageManifest], str | None]
"""Why an image is not trusted; None where it is."""

_log = logging.getLogger(__name__)
_SHA256 = re.compile(r"[0-9a-f]{64}")


class UntrustedImage(ImageError):
    """An image that is whole, and that no trusted key signed as it is."""

    def __init__(self, manifest: ImageManifest, why: str) -> None:
        super().__init__(f"the image {manifest.name} {why}")
        self.manifest = manifest


class Manifests:
    """What is known of the images of one directory."""

    def __init__(self, images_dir: Path, refuses: Refuses | None) -> None:
        """Without `refuses` every image is trusted."""
        self._directory = images_dir
        self._refuses = refuses
        self._read: dict[Path, tuple[Stamp, ImageManifest | ImageError]] = {}
        self._complaint = ""

    def listed(self) -> list[str]:
        """The names of what is there; none where the directory cannot be read, which is logged."""
        try:
            names = self.names()
        except ImageError as error:
            if str(error) != self._complaint:
                _log.warning("no image is served: %s", error)
            self._complaint = str(error)
            return []
        self._complaint = ""
        return names

    def names(self) -> list[str]:
        """The names of what is there.

        Raises:
            ImageError: the directory cannot be read.
        """
        try:
            with os.scandir(self._directory) as entries:
                return sorted(
                    entry.name
                    for entry in entries
                    if entry.name not in RESERVED
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

    def current(self, name: str, file: str = MANIFEST) -> ImageManifest | ImageError:
        """An image as it is now: read again only where its manifest changed, or was damaged."""
        path = self._directory / name / file
        stamp = stamp_of(path)
        known_stamp, known = self._read.get(path, (None, None))
        if isinstance(known, ImageManifest | UntrustedImage) and known_stamp == stamp:
            return known
        found = self._inspect(name, path)
        if isinstance(found, ImageError) and str(found) != str(known):
            _log.warning("image left out: %s", found)
        self._read[path] = (stamp, found)
        return found

    def previous(self, name: str) -> ImageManifest | None:
        """What the image of this name was before its last build, where that is still there."""
        if stamp_of(self._directory / name / PREVIOUS) == MISSING:
            return None
        found = self.current(name, PREVIOUS)
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
            check_size(
                path.with_name(manifest.file), manifest.size_bytes, "build or add the image again"
            )
        except ImageError as error:
            return error
        if self._refuses is not None and (why := self._refuses(manifest)):
            return UntrustedImage(manifest, why)
        return manifest
