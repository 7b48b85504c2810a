"""Which images the lab builds, and which it leaves as they are."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from lpmos.images.catalog import Catalog
from lpmos.lab import stage
from tests.support.agent_images import put_agent_of_this_version
from tests.support.region import put_agent


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Whether each agent image that is built is to have firmware."""
    asked: list[bool] = []
    monkeypatch.setattr(
        stage, "build_agent_image", lambda *_, firmware, **rest: asked.append(firmware)
    )
    monkeypatch.setattr(stage, "build_debian_image", lambda *_, **rest: None)
    return asked


def build_missing(directory: Path) -> None:
    console = Console(file=io.StringIO())
    stage.build_missing_images(directory / "images", directory / "cache", console)


@pytest.mark.parametrize("with_firmware", [True, False])
def test_agent_of_this_version_stays_however_it_was_built(
    tmp_path: Path, built: list[bool], with_firmware: bool
) -> None:
    put_agent_of_this_version(tmp_path, with_firmware=with_firmware)
    build_missing(tmp_path)
    assert built == []


@pytest.mark.parametrize("with_firmware", [True, False])
def test_agent_of_another_version_is_built_as_it_was(
    tmp_path: Path, built: list[bool], with_firmware: bool
) -> None:
    put_agent(Catalog(tmp_path / "images"), tmp_path, with_firmware=with_firmware)
    build_missing(tmp_path)
    assert built == [with_firmware]


def test_catalog_without_an_agent_gets_one_without_firmware(
    tmp_path: Path, built: list[bool]
) -> None:
    build_missing(tmp_path)
    assert built == [False]
