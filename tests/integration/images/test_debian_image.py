"""The image of Debian, built for real: what is in its archive, and what is not."""

import subprocess
import tarfile
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest

from lpmos.images.catalog import Catalog
from lpmos.images.debian_image import BuiltImage, build_debian_image
from lpmos.model.errors import ImageError
from tests.support.lab_images import CACHE_DIR, IMAGES_DIR

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def built() -> BuiltImage:
    return build_debian_image(IMAGES_DIR, CACHE_DIR)


@pytest.fixture(scope="module")
def members(built: BuiltImage) -> Mapping[str, tarfile.TarInfo]:
    with subprocess.Popen(["zstd", "-dc", built.path], stdout=subprocess.PIPE) as process:
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            found = {member.name.removeprefix("./"): member for member in archive}
        assert process.stdout is not None
        process.stdout.read()  # the padding after the end mark
    assert process.returncode == 0
    return found


def matching(members: Mapping[str, tarfile.TarInfo], pattern: str) -> list[str]:
    return [name for name in members if fnmatch(name, pattern)]


def test_image_is_whole_and_found_by_its_os(built: BuiltImage) -> None:
    catalog = Catalog(IMAGES_DIR)
    assert catalog.find("debian", "12") == built.manifest
    assert catalog.verify("debian-12") == built.manifest
    assert built.manifest.unpacked_bytes > built.manifest.size_bytes > 100_000_000


def test_image_built_again_is_reused(built: BuiltImage) -> None:
    again = build_debian_image(IMAGES_DIR, CACHE_DIR)
    assert again.reused
    assert again.manifest == built.manifest


@pytest.mark.parametrize(
    "path",
    [
        "boot/vmlinuz-*-amd64",
        "boot/initrd.img-*-amd64",
        "usr/sbin/grub-install",
        "usr/lib/grub/i386-pc/boot.img",
        "usr/lib/grub/x86_64-efi/normal.mod",
        "usr/bin/efibootmgr",
        "usr/sbin/sshd",
        "etc/systemd/system/multi-user.target.wants/systemd-networkd.service",
        "etc/systemd/system/multi-user.target.wants/ssh-host-keys.service",
        "usr/lib/modules/*/kernel/drivers/net/ethernet/intel/ixgbe/ixgbe.ko",
        "usr/lib/modules/*/kernel/drivers/scsi/mpt3sas/mpt3sas.ko",
        "etc/apt/sources.list.d/*.sources",
    ],
)
def test_image_has(members: Mapping[str, tarfile.TarInfo], path: str) -> None:
    assert matching(members, path)


@pytest.mark.parametrize(
    "path",
    [
        "etc/ssh/ssh_host_*",
        "etc/hostname",
        "var/lib/dbus/machine-id",
        "etc/apt/apt.conf.d/99mmdebstrap",
        "var/lib/apt/lists/*Packages*",
        "var/cache/apt/archives/*.deb",
        "usr/share/man/man1/*",
        "usr/lib/modules/*/kernel/sound/*.ko",
    ],
)
def test_image_has_nothing_of_one_machine_or_of_the_build(
    members: Mapping[str, tarfile.TarInfo], path: str
) -> None:
    assert matching(members, path) == []


def test_image_makes_its_machine_id_at_the_first_start(
    members: Mapping[str, tarfile.TarInfo],
) -> None:
    assert members["etc/machine-id"].size == 0


def test_image_keeps_owners_modes_and_capabilities(
    members: Mapping[str, tarfile.TarInfo],
) -> None:
    assert members["usr/bin/sudo"].mode & 0o4000
    assert members["etc/shadow"].gid != 0
    assert any("security.capability" in key for key in members["usr/bin/ping"].pax_headers)
    assert {member.uname for member in members.values()} == {""}


def test_image_of_an_unknown_release_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="known releases: 12"):
        build_debian_image(tmp_path, tmp_path, release="7")


def test_image_that_cannot_be_fetched_leaves_the_catalog_as_it_was(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="mmdebstrap"):
        build_debian_image(tmp_path / "images", tmp_path, mirror="http://127.0.0.1:9/debian")
    assert Catalog(tmp_path / "images").manifests() == ()
    assert list(tmp_path.glob(".unfinished-*")) == []
