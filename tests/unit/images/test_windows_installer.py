"""Windows's installer in an images directory: every file is what it is called, or nothing is."""

from pathlib import Path

import msgspec
import pytest

from lpmos.images.installers import InstallerFields, Installers
from lpmos.model.errors import ImageError
from tests.support.windows import curl_exe, supplied, wim

FIELDS = InstallerFields(
    name="windows-2022",
    family="windows",
    os_type="windows",
    os_version="server-2022",
    repository="/",
)


def test_add_keeps_every_file_by_its_digest_and_says_what_is_installed(tmp_path: Path) -> None:
    installers = Installers(tmp_path / "images")
    added = installers.add(FIELDS, *supplied(tmp_path, image=2))
    windows = added.windows
    assert windows is not None
    assert (windows.index, windows.image_name, windows.language) == (2, "Datacenter", "de-DE")
    assert added == installers.verify("windows-2022")
    named = [added.kernel, added.initrd, windows.bcd, windows.boot_sdi, windows.curl]
    for reference in (*named, windows.install):
        path = installers.by_digest(reference.sha256)
        assert path is not None and path.stat().st_size == reference.size_bytes
    assert added.required_bytes > 8 * 1024**3


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("wimboot", b"MZ" + bytes(1000), "is not wimboot"),
        ("wimboot", b"", "is not wimboot"),
        ("BCD", b"regg" + bytes(100), "is not a BCD"),
        ("boot.sdi", b"SDI" + bytes(100), "is not a boot.sdi"),
        ("curl.exe", b"#!/bin/sh\n", "is not curl.exe"),
        ("curl.exe", curl_exe(0x014C), "64-bit Windows"),
        ("curl.exe", b"MZ" + bytes(10), "64-bit Windows"),
        ("boot.wim", wim(boot=0), "has no image that starts"),
        ("boot.wim", wim(arch=0), "not for 64-bit x86"),
        ("boot.wim", b"ISO", "no whole WIM file"),
        ("install.wim", wim(("Standard",)), "has no image 2; it has: 1 Standard"),
        ("install.wim", wim(("Standard", "Core"), arch=12), "not for 64-bit x86"),
    ],
)
def test_file_that_is_something_else_is_refused_and_nothing_is_added(
    tmp_path: Path, name: str, content: bytes, why: str
) -> None:
    installers = Installers(tmp_path / "images")
    files = supplied(tmp_path, image=2)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ImageError, match=why):
        installers.add(FIELDS, *files)
    assert installers.manifests() == ()


def test_family_and_its_files_go_together(tmp_path: Path) -> None:
    installers = Installers(tmp_path / "images")
    kernel, initrd, windows = supplied(tmp_path)
    with pytest.raises(ImageError, match="no other has"):
        installers.add(FIELDS, kernel, initrd)
    debian = msgspec.structs.replace(FIELDS, family="debian", os_type="debian")
    with pytest.raises(ImageError, match="no other has"):
        installers.add(debian, kernel, initrd, windows)
    other = msgspec.structs.replace(FIELDS, os_type="debian")
    with pytest.raises(ImageError, match="is windows, and of no other"):
        installers.add(other, kernel, initrd, windows)


def test_file_that_is_gone_leaves_the_installer_out(tmp_path: Path) -> None:
    added = Installers(tmp_path / "images").add(FIELDS, *supplied(tmp_path))
    assert added.windows is not None
    place = tmp_path / "images" / "installers" / "windows-2022"
    (place / added.windows.install.file).unlink()
    assert Installers(tmp_path / "images").manifests() == ()
