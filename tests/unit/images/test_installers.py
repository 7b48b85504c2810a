"""The installers of an images directory: whole or not there, and each file what its name says."""

from pathlib import Path

import msgspec
import pytest

from lpmos.images.catalog import Catalog
from lpmos.images.installers import InstallerFields, Installers, is_repository
from lpmos.model.errors import ImageError

FIELDS = InstallerFields(
    name="debian-12",
    family="debian",
    os_type="debian",
    os_version="12",
    repository="http://mirror.example.net/debian",
)


def files(directory: Path, number: int = 0) -> tuple[Path, Path]:
    kernel, initrd = directory / "linux", directory / "initrd.gz"
    kernel.write_bytes(b"kernel %d" % number)
    initrd.write_bytes(b"initrd %d" % number * 100)
    return kernel, initrd


def test_add_makes_an_installer_that_is_found_by_its_os_and_verified(tmp_path: Path) -> None:
    installers = Installers(tmp_path / "images")
    added = installers.add(FIELDS, *files(tmp_path))
    assert installers.find("debian", "12") == added == installers.verify("debian-12")
    assert installers.find("debian", "13") is None
    for reference in (added.kernel, added.initrd):
        path = installers.by_digest(reference.sha256)
        assert path is not None and path.stat().st_size == reference.size_bytes
    assert installers.by_digest("0" * 64) is None
    assert installers.by_digest("../../etc/passwd") is None


def test_catalog_of_the_same_directory_takes_no_installer_for_an_image(tmp_path: Path) -> None:
    Installers(tmp_path).add(FIELDS, *files(tmp_path))
    catalog = Catalog(tmp_path)
    assert (catalog.manifests(), catalog.damaged()) == ((), {})


def test_add_over_another_keeps_the_files_of_the_one_before_for_plans_that_name_it(
    tmp_path: Path,
) -> None:
    installers = Installers(tmp_path / "images")
    first, second, third = (installers.add(FIELDS, *files(tmp_path, n)) for n in range(3))
    assert installers.by_digest(first.kernel.sha256) is None
    assert installers.by_digest(second.kernel.sha256) is not None
    assert installers.by_digest(third.initrd.sha256) is not None


def test_remove_takes_all_of_it(tmp_path: Path) -> None:
    installers = Installers(tmp_path / "images")
    added = installers.add(FIELDS, *files(tmp_path))
    installers.remove("debian-12")
    assert installers.manifests() == ()
    assert installers.by_digest(added.kernel.sha256) is None
    with pytest.raises(ImageError, match="there is no installer"):
        installers.remove("debian-12")


def test_damaged_installer_is_left_out_and_named(tmp_path: Path) -> None:
    installers = Installers(tmp_path / "images")
    added = installers.add(FIELDS, *files(tmp_path))
    path = tmp_path / "images" / "installers" / "debian-12" / added.initrd.file
    path.write_bytes(b"short")
    fresh = Installers(tmp_path / "images")
    assert fresh.manifests() == ()
    assert "has 5 bytes" in str(fresh.damaged()["debian-12"])


def test_verify_finds_bytes_that_changed(tmp_path: Path) -> None:
    installers = Installers(tmp_path / "images")
    added = installers.add(FIELDS, *files(tmp_path))
    path = tmp_path / "images" / "installers" / "debian-12" / added.initrd.file
    path.write_bytes(bytes(added.initrd.size_bytes))
    with pytest.raises(ImageError, match="its SHA-256 is"):
        installers.verify("debian-12")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"name": "../x"}, "cannot be an installer's name"),
        ({"os_type": "De bian"}, "is no OS type"),
        ({"repository": "ftp://mirror.example.net/"}, "is no repository"),
        ({"family": "ubuntu"}, "needs a medium"),
    ],
)
def test_add_refuses_what_cannot_be_used(
    tmp_path: Path, changes: dict[str, str], said: str
) -> None:
    fields = msgspec.structs.replace(FIELDS, **changes)
    with pytest.raises(ImageError, match=said):
        Installers(tmp_path).add(fields, *files(tmp_path))


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("http://mirror.example.net/debian", True),
        ("https://[2001:db8::1]:8443/rocky/9", True),
        ("/repositories/rocky", True),
        ("//mirror.example.net/debian", False),
        ("http://mirror.example.net/debian?x=1", False),
        ("http://mirror.example.net/a b", False),
        ("http:///debian", False),
        ("http://mirror.example.net:99999/", False),
        ("file:///etc", False),
        ("http://mirror.example.net/$(reboot)", False),
    ],
)
def test_is_repository(text: str, is_one: bool) -> None:
    assert is_repository(text) is is_one
