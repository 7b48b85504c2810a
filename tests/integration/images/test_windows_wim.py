"""Windows's installer added by the command line, with WIM files that wimlib made."""

from pathlib import Path

import pytest

from lpmos.cli.main import main
from lpmos.images.installers import Installers
from lpmos.images.wim import read_wim
from tests.support.windows import real_wim, supplied


@pytest.fixture
def files(tmp_path: Path) -> Path:
    supplied(tmp_path)
    for name in ("boot.wim", "install.wim"):
        (tmp_path / name).unlink()
    real_wim(tmp_path / "boot.wim", "Setup", "Windows PE", boot=2)
    real_wim(tmp_path / "install.wim", "Standard", "Datacenter", check=True)
    return tmp_path


def add(files: Path, *more: str) -> list[str]:
    named = ("--kernel", "wimboot"), ("--initrd", "boot.wim"), ("--bcd", "BCD"), (
        "--boot-sdi", "boot.sdi"), ("--curl", "curl.exe"), ("--install", "install.wim")  # fmt: skip
    given = [word for option, name in named for word in (option, str(files / name))]
    return [
        *("image", "add-installer", "windows-2022", "--family", "windows", "--os-type", "windows"),
        *("--os-version", "server-2022", "--images-dir", str(files / "images"), *given, *more),
    ]  # fmt: skip


def test_real_wim_says_its_images_its_start_and_whether_it_can_be_checked(files: Path) -> None:
    boot, install = read_wim(files / "boot.wim"), read_wim(files / "install.wim")
    assert [each.name for each in boot.images] == ["Setup", "Windows PE"]
    assert (boot.boot_index, boot.integrity) == (2, False)
    assert (install.boot_index, install.integrity) == (0, True)
    assert {each.architecture for each in (*boot.images, *install.images)} == {"9"}
    assert install.images[0].total_bytes == 4002


def test_windows_is_added_listed_and_removed(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(add(files, "--image-index", "2")) == 0
    assert "installer windows-2022: windows server-2022" in capsys.readouterr().out
    added = Installers(files / "images").verify("windows-2022")
    assert added.windows is not None
    said = (added.windows.image_name, added.windows.integrity, added.repository)
    assert said == ("Datacenter", True, "/")
    assert main(["image", "list", "--images-dir", str(files / "images")]) == 0
    assert "server-2022" in capsys.readouterr().out
    assert main(["image", "verify", "windows-2022", "--images-dir", str(files / "images")]) == 0


def test_windows_without_one_of_its_files_is_refused_by_the_options_name(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = add(files)
    at = whole.index("--curl")
    assert main(whole[:at] + whole[at + 2 :]) != 0
    assert "--curl" in capsys.readouterr().err


def test_image_index_that_the_wim_does_not_have_is_refused_with_those_that_it_has(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(add(files, "--image-index", "3")) != 0
    assert "it has: 1 Standard, 2 Datacenter" in " ".join(capsys.readouterr().err.split())
