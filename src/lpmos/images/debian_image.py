"""Builds an image of Debian: a root file system archive that the agent unpacks onto a disk.

Everything that is the same on each machine is in it, the initrd and both boot loaders' files
included; everything that must differ is not: host keys, machine-id, host name, addresses, fstab and
the boot loader's configuration come with the install.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lpmos.images.apt_sources import AptSource, debian_sources
from lpmos.images.atomic import scratch_directory, sha256_of, write_file
from lpmos.images.build_lock import building_in
from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.commands import pipe, require_programs, run
from lpmos.images.contents import own_files
from lpmos.images.debian_packages import network_settings
from lpmos.images.debian_releases import ENABLED_UNITS, PACKAGES, DebianRelease, release_named
from lpmos.images.mmdebstrap_progress import MmdebstrapProgress
from lpmos.images.progress import Progress, silent, within
from lpmos.model.errors import ImageError
from lpmos.model.image import ImageManifest

QUICK_LEVEL = 3
"""The zstd level by default: a release may take 19, a fifth smaller for a minute of work."""
DEBIAN_ROOT = Path(__file__).resolve().parent / "debian_root"
DPKG_SETTINGS = "etc/dpkg/dpkg.cfg.d/lpmos-server"
RECIPE = "recipe"
"""The file beside a manifest that holds the digest of what the image was built from."""
_MERGED_USR_HOOK = Path("/usr/share/mmdebstrap/hooks/merged-usr")
_MAKE_INITRD = 'chroot "$1" update-initramfs -c -k all'
_BOOTSTRAP_TIMEOUT_S = 3600.0
_CHROOT_TIMEOUT_S = 60.0
_ARCHIVE_TIMEOUT_S = 1800.0
_MADE_FOR_EACH_MACHINE = (
    "etc/hostname",
    "etc/ssh/ssh_host_*",
    "var/lib/dbus/machine-id",
    "var/lib/systemd/random-seed",
)
_OF_THE_BUILD = (
    "vmlinuz*",
    "etc/apt/apt.conf.d/99mmdebstrap",
    "etc/dpkg/dpkg.cfg.d/99mmdebstrap",
    "var/log/*.log",
    "var/log/apt/*",
    "var/cache/debconf/*-old",
    "var/lib/dpkg/*-old",
)


class BuiltImage(msgspec.Struct, frozen=True, kw_only=True):
    """A finished OS image; `reused` where the one in the catalog was already of this recipe."""

    manifest: ImageManifest
    path: Path
    reused: bool


def build_debian_image(
    images_dir: Path,
    cache_dir: Path,
    *,
    release: str = "12",
    progress: Progress = silent,
    compression_level: int = QUICK_LEVEL,
    force: bool = False,
    mirror: str | None = None,
) -> BuiltImage:
    """Build an image of a Debian release into the catalog, unless it is there already.

    Args:
        images_dir: the catalog's directory.
        cache_dir: where the root is put together; 1 GB must be free.
        release: a version such as `12`, or a code name.
        progress: told of each step.
        compression_level: of zstd, 1 to 19.
        force: build also where the catalog has an image of the same recipe; this is how security
            updates of the packages come in.
        mirror: see `debian_sources`.

    Raises:
        ImageError: says what is missing and what to do; the catalog is as it was.
    """
    chosen = release_named(release)
    catalog = Catalog(images_dir)
    name = _image_name(chosen)
    recipe = _recipe(chosen, compression_level)
    recipe_file = images_dir / name / RECIPE
    if not force and (found := _found(catalog, name, recipe_file, recipe)):
        return found
    _require_root_and_programs()
    sources = debian_sources(chosen.suite, mirror=mirror)
    own_cache = cache_dir / name  # nothing of it is shared: other builds need not wait
    with building_in(own_cache, progress), scratch_directory(own_cache) as scratch:
        if not force and (found := _found(catalog, name, recipe_file, recipe)):
            return found  # made by the build that was waited for
        fields, archive = _build(scratch, chosen, sources, compression_level, progress)
        progress("catalog", 0.98, "computing the digest")
        manifest = catalog.add(fields, archive)
        write_file(recipe_file, f"{recipe}\n".encode())
    progress("done", 1.0, f"image {name}, {manifest.size_bytes / 1e6:.0f} MB")
    return BuiltImage(manifest=manifest, path=catalog.path(manifest), reused=False)


def _found(catalog: Catalog, name: str, recipe_file: Path, recipe: str) -> BuiltImage | None:
    """The image that the catalog has, where it is of this recipe."""
    known = next((m for m in catalog.manifests() if m.name == name), None)
    if known is None or not _is_of_recipe(recipe_file, recipe):
        return None
    return BuiltImage(manifest=known, path=catalog.path(known), reused=True)


def _build(
    scratch: Path,
    release: DebianRelease,
    sources: Sequence[AptSource],
    level: int,
    progress: Progress,
) -> tuple[ImageFields, Path]:
    """Make the archive in `scratch`; returns what the catalog is to know of it, and its path."""
    root, archive = scratch / "root", scratch / "root.tar.zst"
    _bootstrap(root, scratch, release, sources, within(progress, 0.0, 0.9))
    _finish(root)
    fields = ImageFields(
        name=_image_name(release),
        family="debian",
        os_type="debian",
        os_version=release.version,
        unpacked_bytes=_allocated_bytes(root),
        packages=_installed_packages(root),
        first_boot=True,
    )
    _pack(root, archive, level, fields.unpacked_bytes, within(progress, 0.9, 0.98))
    return fields, archive


def _image_name(release: DebianRelease) -> str:
    return f"debian-{release.version}"


def _recipe(release: DebianRelease, level: int) -> str:
    """A digest of all that decides the image, but for the versions of the packages."""
    digest = hashlib.sha256(msgspec.json.encode((release, PACKAGES, ENABLED_UNITS, level)))
    for path in (*own_files(DEBIAN_ROOT), Path(__file__)):
        digest.update(f"{path.name} {sha256_of(path)}\n".encode())
    return digest.hexdigest()


def _is_of_recipe(recipe_file: Path, recipe: str) -> bool:
    return recipe_file.is_file() and recipe_file.read_text().strip() == recipe


def _require_root_and_programs() -> None:
    require_programs(
        {
            "mmdebstrap": "mmdebstrap",
            "apt-get": "apt",
            "tar": "tar",
            "zstd": "zstd",
            "unshare": "util-linux",
            "chroot": "coreutils",
        }
    )
    if os.geteuid() != 0:
        raise ImageError(
            "building an OS image needs root, for the owners of its files: run it again with sudo,"
            " as `sudo lpmos image build debian`"
        )


def _bootstrap(
    root: Path,
    scratch: Path,
    release: DebianRelease,
    sources: Sequence[AptSource],
    progress: Progress,
) -> None:
    """Make the root file system with mmdebstrap, its mounts in a namespace of their own."""
    listing = scratch / "debian.sources"
    listing.write_text("\n".join(source.stanza() for source in sources))
    reader = MmdebstrapProgress()

    def show(line: str) -> None:
        if said := reader.feed(line):
            progress("mmdebstrap", *said)

    run(
        [
            *("unshare", "--mount", "--propagation", "private"),
            *("mmdebstrap", "--verbose", "--mode=root", "--format=directory"),
            "--variant=minbase",
            "--architectures=amd64",
            f"--hook-dir={_MERGED_USR_HOOK}",
            f"--dpkgopt={DEBIAN_ROOT / DPKG_SETTINGS}",
            "--aptopt=APT::Install-Recommends false",
            *(f"--aptopt={setting.rstrip(';')}" for setting in network_settings()),
            "--dpkgopt=force-unsafe-io",
            f"--include={','.join(PACKAGES)}",
            f"--customize-hook={_MAKE_INITRD}",
            *(release.suite, root, listing),
        ],
        timeout_s=_BOOTSTRAP_TIMEOUT_S,
        # The kernel's own script makes an initrd before all is set up, and then one more is made.
        environment={"TMPDIR": tempfile.gettempdir(), "INITRD": "No"},
        on_line=show,
    )


def _finish(root: Path) -> None:
    """Add what is ours, and take out what belongs to one machine or to this build."""
    for path in own_files(DEBIAN_ROOT):
        target = root / path.relative_to(DEBIAN_ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        target.chmod(0o644)
    run(["chroot", root, "systemctl", "enable", *ENABLED_UNITS], timeout_s=_CHROOT_TIMEOUT_S)
    for pattern in (*_MADE_FOR_EACH_MACHINE, *_OF_THE_BUILD):
        for path in root.glob(pattern):
            path.unlink()
    (root / "etc/machine-id").write_bytes(b"")
    if not list(root.glob("boot/initrd.img-*")) or not list(root.glob("boot/vmlinuz-*")):
        raise ImageError(
            "mmdebstrap made a root without a kernel and its initrd: build again, and look for"
            " update-initramfs in its output"
        )


def _installed_packages(root: Path) -> int:
    status = (root / "var/lib/dpkg/status").read_text(errors="replace")
    return status.count("\nStatus: install ok installed\n")


def _allocated_bytes(root: Path) -> int:
    """What the tree takes on a disk, in whole blocks."""
    total = 0
    for directory, names, files in os.walk(root):
        for name in (*names, *files):
            total += Path(directory, name).lstat().st_blocks * 512
    return total


def _pack(root: Path, archive: Path, level: int, unpacked_bytes: int, progress: Progress) -> None:
    """Write the archive: numeric owners, extended attributes, names in a fixed order."""

    def show(passed: int) -> None:
        share = passed / max(unpacked_bytes, 1)
        progress("archive", share, f"packing, {passed / 1e6:.0f} MB")

    pipe(
        [
            *("tar", "--create", "--sort=name", "--numeric-owner", "--format=pax"),
            "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
            *("--xattrs", "--xattrs-include=*", "--acls", "--directory", root, "."),
        ],
        ["zstd", "-q", "-f", f"-{level}", "-T0", "-o", archive],
        timeout_s=_ARCHIVE_TIMEOUT_S,
        on_bytes=show,
    )
