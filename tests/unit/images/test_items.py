"""The list of an images directory, and what is refused of one that came over the network."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.images.catalog import Catalog
from lpmos.images.installers import Installers
from lpmos.images.items import digest_of, file_of, item_of, listed
from lpmos.model.errors import ImageError
from tests.support.builders import make_manifest
from tests.support.region import fill

MANIFEST: dict[str, Any] = msgspec.to_builtins(
    make_manifest(file="root-abab.tar.zst", size_bytes=10, unpacked_bytes=100)
)


def read(of: str = "debian-12", /, **changes: Any) -> Any:
    """The item of a manifest with these changes."""
    return item_of("image", of, msgspec.json.encode({**MANIFEST, **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"file": "../../etc/passwd"},
        {"file": ".unfinished-x"},
        {"file": "manifest.json"},
        {"file": "fetched.json"},
        {"file": ""},
        {"sha256": "../x"},
        {"size_bytes": -1},
        {"name": "another"},
        {"format": "zip"},
    ],
)
def test_a_manifest_that_leads_elsewhere_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ImageError):
        read(**changes)


@pytest.mark.parametrize("name", ["agent", "installers", "..", "a/b", "", ".hidden", "A"])
def test_an_image_cannot_have_the_name_of_another_place(name: str) -> None:
    with pytest.raises(ImageError):
        read(name, name=name)


@given(st.text(max_size=20), st.text(max_size=20), st.binary(max_size=50))
def test_anything_else_is_refused(kind: str, name: str, manifest: bytes) -> None:
    with pytest.raises(ImageError):
        item_of(kind, name, manifest)


def test_fields_of_a_newer_version_stay_and_layout_does_not_matter() -> None:
    item = read(new_field={"b": 1, "a": 2})
    assert b"new_field" in item.manifest
    assert item.system == ("debian", "12")
    assert item.digest == digest_of(msgspec.json.format(item.manifest, indent=2))
    assert item.digest != read().digest


def test_a_directory_is_listed_with_the_agent_and_what_is_damaged(tmp_path: Path) -> None:
    directory = tmp_path / "images"
    catalog, installers = Catalog(directory), Installers(directory)
    assert list(listed(catalog, installers, directory)) == []
    image = fill(catalog, tmp_path)
    (directory / "broken").mkdir()
    found = {(each.kind, each.name): each for each in listed(catalog, installers, directory)}
    assert set(found) == {("agent", "x86_64"), ("image", "debian-12"), ("image", "broken")}
    assert "cannot be read" in (found["image", "broken"].error or "")
    agent = item_of("agent", "x86_64", bytes(found["agent", "x86_64"].manifest))
    assert (directory / agent.place / "vmlinuz").is_file()
    for sha256 in (image.sha256, *(each.sha256 for each in agent.files)):
        path = file_of(catalog, installers, sha256)
        assert path is not None
        assert path.is_file()
    assert file_of(catalog, installers, "00" * 32) is None
    assert file_of(catalog, installers, "../x") is None
