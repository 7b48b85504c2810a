"""Builds the boot agent's image: a kernel, and an initramfs put together from unpacked packages.

No root is needed, and nothing of the machine that builds goes in: the same packages, agent and
compression give the same bytes.
"""

import hashlib
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version as distribution_version
from pathlib import Path

import msgspec

from lpmos.images.agent_contents import AGENT_ROOT, collect
from lpmos.images.agent_firmware import (
    FetchedFirmware,
    choose_firmware,
    fetch_firmware,
    unpack_firmware,
)
from lpmos.images.agent_manifest import AgentFile, AgentImage, AgentManifest
from lpmos.images.agent_parts import PARTS, SUITE, packages
from lpmos.images.agent_sizes import compress, part_sizes, payload_bytes
from lpmos.images.apt_sources import debian_sources
from lpmos.images.atomic import scratch_directory, sha256_of
from lpmos.images.build_lock import building_in
from lpmos.images.catalog import Catalog
from lpmos.images.commands import require_programs
from lpmos.images.contents import own_files
from lpmos.images.debian_packages import fetch_packages, unpacked_root
from lpmos.images.kernel_modules import Closure, built_in_names, closure, read_modules
from lpmos.images.progress import Progress, silent, within
from lpmos.images.target_python import stage_library
from lpmos.model.errors import ImageError

RELEASE_LEVEL = 19
"""The zstd level of a release; level 3 is built in a tenth of the time and a quarter larger."""
LPMOS_PACKAGE = Path(__file__).resolve().parents[1]
BUILDERS = Path(__file__).resolve().parent


class _Recipe(msgspec.Struct, frozen=True, kw_only=True):
    """What is built: `digest` is of all that decides it, but for the packages' versions."""

    lpmos_package: Path
    compression_level: int
    with_firmware: bool
    digest: str

    @property
    def version(self) -> str:
        return f"{distribution_version('lpmos')}+{self.digest[:12]}"


class BuiltAgent(msgspec.Struct, frozen=True, kw_only=True):
    """A finished agent image; `reused` where the one in the catalog was already of this recipe.

    `missing_firmware` are the names of firmware packages that the mirror does not have.
    """

    image: AgentImage
    manifest: AgentManifest
    reused: bool
    missing_firmware: tuple[str, ...] = ()


def build_agent_image(
    images_dir: Path,
    cache_dir: Path,
    *,
    progress: Progress = silent,
    compression_level: int = RELEASE_LEVEL,
    firmware: bool = True,
    force: bool = False,
    mirror: str | None = None,
    lpmos_package: Path = LPMOS_PACKAGE,
) -> BuiltAgent:
    """Build the boot agent's image into the catalog, unless it is there already.

    One that was built while the mirror lacked firmware is there only as long as the mirror does.

    Args:
        images_dir: the catalog's directory.
        cache_dir: keeps downloaded and unpacked packages between builds.
        progress: told of each step.
        compression_level: of zstd, 1 to 19.
        firmware: put in the files that drivers load into their devices, where the mirror has them;
            most of them are not free software.
        force: build also where the catalog has an image of the same recipe; this is how security
            updates of the packages come in.
        mirror: see `debian_sources`.
        lpmos_package: the directory of the package `lpmos`, for `lpmos.agent` in it.

    Raises:
        ImageError: says what is missing and what to do; the catalog is as it was.
    """
    catalog = Catalog(images_dir)
    recipe = _Recipe(
        lpmos_package=lpmos_package,
        compression_level=compression_level,
        with_firmware=firmware,
        digest=recipe_digest(compression_level, with_firmware=firmware, package=lpmos_package),
    )
    known = None if force else catalog.agent_manifest()
    same = known if known is not None and known.recipe == recipe.digest else None
    if same is not None and not same.modules_unserved:
        return BuiltAgent(image=catalog.agent(), manifest=same, reused=True)
    require_programs({"zstd": "zstd"})
    with building_in(cache_dir, progress):
        sources = debian_sources(SUITE, mirror=mirror)
        fetched = fetch_packages(packages(), sources, cache_dir, within(progress, 0.0, 0.25))
        blobs = FetchedFirmware()
        if firmware:
            blobs = fetch_firmware(sources, fetched, cache_dir, within(progress, 0.25, 0.3))
        if same is not None and not blobs.adds_to(same.firmware):
            return BuiltAgent(
                image=catalog.agent(), manifest=same, reused=True, missing_firmware=blobs.missing
            )
        root = unpacked_root(fetched, cache_dir, within(progress, 0.3, 0.45))
        with scratch_directory(cache_dir) as scratch:
            trees = unpack_firmware(blobs.packages, scratch / "firmware")
            manifest = _build(
                recipe,
                scratch,
                within(progress, 0.45, 1.0),
                root=root,
                fetched=fetched,
                firmware_trees=trees,
            )
            image = catalog.put_agent(manifest, scratch / "vmlinuz", scratch / "initramfs")
    progress("done", 1.0, f"agent image {manifest.version}")
    return BuiltAgent(image=image, manifest=manifest, reused=False, missing_firmware=blobs.missing)


def is_of_this_version(manifest: AgentManifest) -> bool:
    """Whether building the agent image now would make it of the same recipe; reads the sources."""
    _, _, level = manifest.compression.rpartition("-")
    return level.isdigit() and manifest.recipe == recipe_digest(
        int(level), with_firmware=manifest.with_firmware
    )


def recipe_digest(level: int, *, with_firmware: bool, package: Path = LPMOS_PACKAGE) -> str:
    """The digest, in hex, of all that decides an image but the versions of Debian's packages.

    Args:
        level: of zstd.
        with_firmware: whether firmware is asked for.
        package: the directory of the package `lpmos`.

    Raises:
        ImageError: there is no agent in it.
    """
    agent = package / "agent"
    if not (agent / "__main__.py").is_file():
        raise ImageError(f"{agent} is not the agent's package: it has no __main__.py")
    digest = hashlib.sha256(msgspec.json.encode((PARTS, level, with_firmware)))
    sources = [*own_files(AGENT_ROOT), *own_files(agent), *BUILDERS.glob("*.py")]
    for path in sorted(sources):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _build(
    recipe: _Recipe,
    scratch: Path,
    progress: Progress,
    *,
    root: Path,
    fetched: Sequence[Path],
    firmware_trees: Sequence[Path],
) -> AgentManifest:
    """Leave `vmlinuz` and `initramfs` in `scratch`."""
    level = recipe.compression_level
    progress("python", 0.0, "compiling the agent and its library")
    stage_library(root, recipe.lpmos_package, scratch / "stage")
    progress("modules", 0.15, "choosing kernel modules")
    kernel_version, modules = _modules(root)
    contents = collect(root, scratch / "stage", kernel_version, modules, recipe.version)
    firmware = choose_firmware(modules.modules, firmware_trees)
    firmware.add_to(contents)
    progress("compress", 0.3, f"compressing with zstd -{level}")
    shutil.copyfile(root / "boot" / f"vmlinuz-{kernel_version}", scratch / "vmlinuz")
    size_bytes = compress(contents.entries(), scratch / "initramfs", level)
    progress("measure", 0.75, "measuring the agent with its interpreter")
    payload = payload_bytes(contents, scratch, level)
    return AgentManifest(
        version=recipe.version,
        recipe=recipe.digest,
        architecture="x86_64",
        kernel_version=kernel_version,
        compression=f"zstd -{level}",
        built_at=datetime.now(UTC),
        kernel=_describe(scratch / "vmlinuz"),
        initramfs=_describe(scratch / "initramfs"),
        payload_bytes=payload,
        parts=part_sizes(contents, scratch, size_bytes, within(progress, 0.95, 1.0)),
        modules=len(modules.modules),
        unknown_modules=modules.unknown,
        modules_wanting_firmware=firmware.modules_wanting,
        packages=tuple(path.stem for path in fetched),
        with_firmware=recipe.with_firmware,
        firmware=firmware.packages,
    )


def _modules(root: Path) -> tuple[str, Closure]:
    """The version of the one kernel among the packages, and the modules that go in."""
    versions = sorted(path.name for path in (root / "usr/lib/modules").iterdir())
    if len(versions) != 1:
        raise ImageError(f"expected the modules of one kernel, found {', '.join(versions)}")
    directory = root / "usr/lib/modules" / versions[0]
    wanted = [name for part in PARTS for name in part.modules]
    return versions[0], closure(wanted, read_modules(directory), built_in_names(directory))


def _describe(path: Path) -> AgentFile:
    return AgentFile(sha256=sha256_of(path), size_bytes=path.stat().st_size)
