"""The items of an images directory as one list: the agent, images and installers with their files.

A control plane lists what it has, and gives out files by their digest; a region reads that list.
The rule: what is read of a list names files inside its own directory only, and each with a digest.
"""

import hashlib
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import msgspec

from lpmos.images.agent_manifest import AgentManifest
from lpmos.images.catalog import AGENT, Catalog
from lpmos.images.catalog_files import MANIFEST
from lpmos.images.catalog_manifests import RESERVED
from lpmos.images.installers import DIRECTORY, Installers, files_of
from lpmos.model.errors import ImageError
from lpmos.model.image import ImageManifest
from lpmos.model.installer import FileRef, InstallerManifest

ItemKind = Literal["agent", "image", "installer"]
"""The boot agent, images, the distributions' own installers."""
ARCHITECTURE = "x86_64"
"""The name of the one agent that there is."""

_TYPES: dict[str, Any] = {
    "agent": AgentManifest,
    "image": ImageManifest,
    "installer": InstallerManifest,
}
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")

Key = tuple[str, str]
"""Kind and name."""
System = tuple[str, str]


class Item(NamedTuple):
    """One item: its `manifest` as JSON, whose `digest` is over its content, not its layout."""

    kind: ItemKind
    name: str
    manifest: bytes
    digest: str
    files: tuple[FileRef, ...]
    system: System | None = None

    @property
    def key(self) -> Key:
        """What it is among the others."""
        return self.kind, self.name

    @property
    def size_bytes(self) -> int:
        """Of all its files."""
        return sum(each.size_bytes for each in self.files)

    @property
    def place(self) -> Path:
        """Its directory below the images directory."""
        if self.kind == "agent":
            generation = "".join(each.sha256[:8] for each in self.files)
            return Path(AGENT) / f"{self.name}-{generation}"
        return Path(DIRECTORY) / self.name if self.kind == "installer" else Path(self.name)


class Listed(msgspec.Struct, frozen=True, kw_only=True):
    """One item as a control plane lists it; `error` where it has no manifest that can be served."""

    kind: str
    name: str
    manifest: msgspec.Raw = msgspec.Raw()
    error: str | None = None


def listed(catalog: Catalog, installers: Installers, directory: Path) -> Iterator[Listed]:
    """What there is, the damaged and untrusted items with what is wrong of them.

    Raises:
        ImageError: the directory cannot be read.
    """
    if catalog.agent_manifest() is not None:
        yield _listed("agent", ARCHITECTURE, directory / AGENT / ARCHITECTURE)
    for name, error in catalog.damaged().items():
        yield Listed(kind="image", name=name, error=str(error))
    for image in catalog.manifests():
        yield _listed("image", image.name, directory / image.name)
    for name, error in installers.damaged().items():
        yield Listed(kind="installer", name=name, error=str(error))
    for installer in installers.manifests():
        yield _listed("installer", installer.name, directory / DIRECTORY / installer.name)


def file_of(catalog: Catalog, installers: Installers, sha256: str) -> Path | None:
    """The file with this digest, as long as its manifest says; None where there is none.

    An installer's file that was replaced is in no manifest any more: nothing says how long it is.
    """
    if not _SHA256.fullmatch(sha256):
        return None
    if found := catalog.by_digest(sha256):
        image, archive = found
        return archive if _has_size(archive, image.size_bytes) else None
    path = catalog.agent_file(sha256) or installers.by_digest(sha256)
    if path is None:
        return None
    agent = catalog.agent_manifest()
    refs = [*_files_of_agent(agent)] if agent else []
    refs += [file for each in installers.manifests() for file in _files_of_installer(each)]
    sizes = {each.size_bytes for each in refs if each.sha256 == sha256}
    return path if not sizes or any(_has_size(path, size) for size in sizes) else None


def item_of(kind: str, name: str, manifest: bytes) -> Item:
    """An item by its manifest.

    Raises:
        ImageError: it cannot be read, or names what it must not.
    """
    what = f"the manifest of the {kind} {name[:100]!r}"
    if kind not in _TYPES:
        raise ImageError(f"{what} is of a kind that this version does not know: update it")
    try:
        said = msgspec.json.decode(manifest, type=_TYPES[kind])
        digest = digest_of(manifest)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise ImageError(f"{what} cannot be read ({error}): update the older part") from error
    files, system = _FILES[kind](said), None
    its_name = said.architecture if kind == "agent" else said.name
    if kind != "agent":
        system = said.os_type, said.os_version
    if its_name != name or not _NAME.fullmatch(name) or (kind == "image" and name in RESERVED):
        raise ImageError(f"{what} names another one, or one that cannot be a directory's")
    for each in files:
        plain = _FILE.fullmatch(each.file) and not each.file.endswith(".json")
        if not plain or not _SHA256.fullmatch(each.sha256) or each.size_bytes < 0:
            raise ImageError(f"{what} has no proper digest or file name: {each.file[:100]!r}")
    return Item(cast(ItemKind, kind), name, manifest, digest, files, system)


def digest_of(manifest: bytes) -> str:
    """The SHA-256 of what a manifest says, whatever the order and the spaces of its JSON.

    Raises:
        msgspec.DecodeError: it is no JSON.
    """
    said = msgspec.json.encode(msgspec.json.decode(manifest), order="deterministic")
    return hashlib.sha256(said).hexdigest()


def _listed(kind: ItemKind, name: str, place: Path) -> Listed:
    """An item with the manifest that stands there now; it may be a newer one than was just read."""
    try:
        manifest = (place / MANIFEST).read_bytes()
        item_of(kind, name, manifest)
    except (OSError, ImageError) as error:
        return Listed(kind=kind, name=name, error=str(error))
    return Listed(kind=kind, name=name, manifest=msgspec.Raw(manifest))


def _has_size(path: Path, size_bytes: int) -> bool:
    try:
        return path.stat().st_size == size_bytes
    except OSError:
        return False


def _files_of_agent(manifest: AgentManifest) -> tuple[FileRef, ...]:
    named = (("vmlinuz", manifest.kernel), ("initramfs", manifest.initramfs))
    return tuple(
        FileRef(file=name, sha256=each.sha256, size_bytes=each.size_bytes) for name, each in named
    )


def _files_of_image(manifest: ImageManifest) -> tuple[FileRef, ...]:
    said = FileRef(file=manifest.file, sha256=manifest.sha256, size_bytes=manifest.size_bytes)
    return (said,)


def _files_of_installer(manifest: InstallerManifest) -> tuple[FileRef, ...]:
    return tuple(files_of(manifest).values())


_FILES: dict[str, Callable[[Any], tuple[FileRef, ...]]] = {
    "agent": _files_of_agent,
    "image": _files_of_image,
    "installer": _files_of_installer,
}
