"""Firmware files of a boot image: exactly those that its drivers name, with their licences.

Most of them are in a component of Debian that a mirror need not have: where it was read and has no
such packages, the image is built all the same, and says which drivers lack theirs. Source:
`firmware` in `.modinfo` (`MODULE_FIRMWARE` in `include/linux/module.h`), names or patterns below
`/lib/firmware`.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import filter as matching
from pathlib import Path
from urllib.parse import unquote

import msgspec

from lpmos.images import cpio
from lpmos.images.agent_manifest import FirmwarePackage
from lpmos.images.agent_parts import FIRMWARE, FREE_FIRMWARE, NON_FREE_FIRMWARE
from lpmos.images.apt_sources import FIRMWARE_COMPONENT, AptSource, firmware_sources
from lpmos.images.commands import run
from lpmos.images.contents import Contents
from lpmos.images.debian_packages import UNPACK_TIMEOUT_S, read_lists
from lpmos.images.kernel_modules import KernelModule
from lpmos.images.progress import Progress
from lpmos.model.errors import ImageError

_DIRECTORIES = ("lib/firmware", "usr/lib/firmware")
"""Where packages have them; they move below `/usr` with Debian 13."""
_RELEASE = re.compile(r"\d+(?:\.\d+){2,}")
"""A release in a file's name, as in `bnx2x-e2-7.13.21.0.fw`; `-2` in `rtl8168d-2.fw` is a chip."""


class FetchedFirmware(msgspec.Struct, frozen=True, kw_only=True):
    """Package files, and the names that the sources have no package of."""

    packages: tuple[Path, ...] = ()
    missing: tuple[str, ...] = ()

    def adds_to(self, firmware: Iterable[FirmwarePackage]) -> bool:
        """Whether here is a package, or a version of one, of which an image has nothing."""
        held = {(package.name, package.version) for package in firmware}
        return not held.issuperset(_name_and_version(path.stem) for path in self.packages)


class Firmware(msgspec.Struct, frozen=True, kw_only=True):
    """What goes in, and the modules that name files which no package has.

    `files` are paths in the image to files here, the licences of the `packages` among them.
    """

    packages: tuple[FirmwarePackage, ...] = ()
    files: Mapping[str, Path] = {}
    modules_wanting: tuple[str, ...] = ()

    def add_to(self, contents: Contents) -> None:
        """Put the files into the image."""
        for path, source in self.files.items():
            contents.put(path, cpio.file(source.read_bytes()), FIRMWARE)


def fetch_firmware(
    sources: Sequence[AptSource],
    fetched: Iterable[Path],
    cache_dir: Path,
    progress: Progress,
    names: Sequence[str] = NON_FREE_FIRMWARE,
) -> FetchedFirmware:
    """Download the firmware packages that the sources have.

    Only a source that was read can lack some: one that does not answer, or has not the files that
    it lists, is an error, as it is for every other package.

    Args:
        sources: where the rest of the image comes from.
        fetched: the packages of the rest, for the firmware among them.
        cache_dir: holds a private state of its own for firmware, and the packages.
        progress: told of the download.
        names: packages of the firmware component.

    Raises:
        ImageError: a source cannot be read, or a package that it has not be downloaded; says how
            to build without any.
    """
    free = tuple(path for path in fetched if path.name.partition("_")[0] in FREE_FIRMWARE)
    try:
        lists = read_lists(firmware_sources(sources), cache_dir / FIRMWARE, progress)
        known = lists.known(names)
        others = lists.fetch(known, progress) if known else ()
    except ImageError as error:
        raise ImageError(
            f"the component {FIRMWARE_COMPONENT} cannot be read: name another mirror by"
            " LPMOS_MIRROR, or build the image without firmware by --no-firmware."
            f" What failed: {error}"
        ) from error
    return FetchedFirmware(
        packages=(*free, *others),
        missing=tuple(name for name in names if name not in known),
    )


def unpack_firmware(packages: Iterable[Path], directory: Path) -> tuple[Path, ...]:
    """Unpack each package into a tree of its own below `directory`, named as the package file.

    Raises:
        ImageError: a package cannot be unpacked.
    """
    trees = []
    for package in packages:
        tree = directory / package.stem
        tree.mkdir(parents=True)
        run(["dpkg-deb", "-x", package, tree], timeout_s=UNPACK_TIMEOUT_S)
        trees.append(tree)
    return tuple(trees)


def choose_firmware(modules: Sequence[KernelModule], trees: Sequence[Path]) -> Firmware:
    """What the modules name, from the first tree (`<name>_<version>_<architecture>`) that has it.

    Raises:
        ImageError: a package of which files go in brings no licence.
    """
    held = {tree: _held(tree) for tree in trees}
    names = {name for files in held.values() for name in files}
    left = {name for module in modules for name in wanted_files(module.firmware, names)}
    packages: list[FirmwarePackage] = []
    chosen: dict[str, Path] = {}
    for tree, files in held.items():
        taken = tuple(sorted(left & files.keys()))
        left -= set(taken)
        if taken:
            package = _described(tree, taken)
            packages.append(package)
            chosen |= {f"/lib/firmware/{name}": files[name] for name in taken}
            chosen[package.licence] = _below(tree, package.licence)
    return Firmware(
        packages=tuple(packages),
        files=chosen,
        modules_wanting=tuple(m.name for m in modules if not is_served(m.firmware, names)),
    )


def wanted_files(patterns: Iterable[str], held: Collection[str]) -> frozenset[str]:
    """Which of the `held` names a driver's patterns ask for; of several releases only the newest.

    A driver that names several releases of one file loads the newest that there is.
    """
    newest: dict[str, str] = {}
    for pattern in patterns:
        for name in matching(held, pattern):
            series = _series(name)
            newest[series] = max(newest.get(series, name), name, key=_release)
    return frozenset(newest.values())


def is_served(patterns: Sequence[str], held: Collection[str]) -> bool:
    """Whether each file that a driver's patterns ask for is there, in one release at least."""
    found = {_series(pattern) for pattern in patterns if matching(held, pattern)}
    return found >= {_series(pattern) for pattern in patterns}


def _described(tree: Path, files: tuple[str, ...]) -> FirmwarePackage:
    name, version = _name_and_version(tree.name)
    licence = f"/usr/share/doc/{name}/copyright"
    if not _below(tree, licence).is_file():
        raise ImageError(f"the package {name} brings no licence ({licence})")
    return FirmwarePackage(name=name, version=version, licence=licence, files=files)


def _name_and_version(stem: str) -> tuple[str, str]:
    """What the name of a package file, or of its tree, says: `<name>_<version>_<architecture>`."""
    name, version, _ = stem.split("_")
    return name, unquote(version)


def _held(tree: Path) -> dict[str, Path]:
    """The files of an unpacked package by the name that drivers use; links in it are followed."""
    return {
        str(path.relative_to(tree / directory)): path
        for directory in _DIRECTORIES
        for path in (tree / directory).rglob("*")
        if path.is_file() and path.resolve().is_relative_to(tree.resolve())
    }


def _below(tree: Path, path: str) -> Path:
    return tree / path.lstrip("/")


def _series(name: str) -> str:
    return _RELEASE.sub("*", name)


def _release(name: str) -> list[list[int]]:
    return [[int(part) for part in found.split(".")] for found in _RELEASE.findall(name)]
