"""Where a region fetches its images from, by its settings."""

from pathlib import Path

import pytest

from lpmos.app.region import images_source
from lpmos.app.settings import load
from lpmos.model.errors import SettingsError
from lpmos.region.image_source import ImageSource, SourceSettings

URL, TOKEN = "https://lpmos.example.com", "/etc/lpmos/images.token"


def source(**flags: str) -> SourceSettings | None:
    """By these flags, whatever this machine has in its own file."""
    return images_source(load("region", flags, {}, Path("/dev/null")))


def test_without_settings_images_are_brought_by_hand() -> None:
    assert source() is None


def test_a_url_and_a_token_are_enough() -> None:
    said = source(images_url=f"{URL}/", images_token_file=TOKEN)
    assert said == SourceSettings(url=URL, token_file=Path(TOKEN))


@pytest.mark.parametrize(
    "url",
    [
        "http://lpmos.example.com",
        "https://user:word@lpmos.example.com",
        "https://lpmos.example.com/?a=1",
        "lpmos.example.com",
    ],
)
def test_a_url_without_tls_or_with_a_password_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"images.url"):
        source(images_url=url, images_token_file=TOKEN)


def test_loopback_needs_no_tls() -> None:
    said = source(images_url="http://127.0.0.1:8080", images_token_file=TOKEN)
    assert said is not None
    assert said.url == "http://127.0.0.1:8080"


@pytest.mark.parametrize(
    "flags", [{"images_url": URL}, {"images_token_file": TOKEN}, {"images_ca": "/ca.pem"}]
)
def test_one_without_the_other_is_refused(flags: dict[str, str]) -> None:
    with pytest.raises(SettingsError, match="--images-url and --images-token-file"):
        source(**flags)


def test_a_ca_file_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "missing.pem"):
        settings = SourceSettings(url=URL, token_file=Path(TOKEN), ca=tmp_path / name)
        with pytest.raises(SettingsError, match="--images-ca"):
            ImageSource(settings)
