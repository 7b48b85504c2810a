"""Copies in an images directory: they appear whole, and what is somebody's own is not touched."""

import hashlib
from pathlib import Path

import msgspec
import pytest

from lpmos.images.catalog import Catalog, ImageFields
from lpmos.images.copies import MARK, Copies, Held
from lpmos.images.installers import Installers
from lpmos.images.items import Item, item_of, listed
from lpmos.model.errors import ImageError
from tests.support.region import put_agent

SOURCE = "https://control.example"


class Sites:
    """A source's directory, and a region's that is filled by hand, byte for byte."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.source, self.region = directory / "source", directory / "region"
        self.catalog = Catalog(self.source)
        self.served = Catalog(self.region)
        self.copies = Copies(self.region)

    def add(self, catalog: Catalog, content: bytes = b"one", name: str = "debian-12") -> None:
        """An image, by an operator's hand."""
        path = self.directory / "archive"
        path.write_bytes(content)
        fields = ImageFields(
            name=name, family="debian", os_type="debian", os_version="12", unpacked_bytes=100
        )
        catalog.add(fields, path)

    def items(self) -> list[Item]:
        """What the source lists."""
        found = listed(self.catalog, Installers(self.source), self.source)
        return [item_of(each.kind, each.name, bytes(each.manifest)) for each in found]

    def copy(self) -> None:
        """Bring all of it."""
        for item in self.items():
            with self.copies.alone() as mine:
                assert mine
                for file, _ in self.copies.missing(item):
                    content = (self.source / item.place / file.file).read_bytes()
                    self.copies.unfinished(file).write_bytes(content)
                self.copies.put(item, SOURCE)

    def held(self) -> dict[str, Held]:
        """What is there, by name."""
        return {each.name: each for each in self.copies.held()}


@pytest.fixture
def sites(tmp_path: Path) -> Sites:
    """Two empty directories."""
    return Sites(tmp_path)


def test_a_copy_is_served_and_known_as_one(sites: Sites) -> None:
    sites.add(sites.catalog)
    put_agent(sites.catalog, sites.directory)
    sites.copy()
    assert sites.served.manifests() == sites.catalog.manifests()
    assert sites.served.agent().kernel_sha256 == sites.catalog.agent().kernel_sha256
    assert {each.source for each in sites.copies.held()} == {SOURCE}
    assert all(each.whole for each in sites.copies.held())
    assert {each.digest for each in sites.copies.held()} == {each.digest for each in sites.items()}


def test_a_newer_one_takes_its_place_and_the_file_before_stays_by_its_digest(sites: Sites) -> None:
    for content in (b"one", b"two", b"three"):
        sites.add(sites.catalog, content)
        sites.copy()
    digests = [hashlib.sha256(each).hexdigest() for each in (b"one", b"two", b"three")]
    assert [sites.served.by_digest(each) is not None for each in digests] == [False, True, True]
    assert sites.held()["debian-12"].source == SOURCE
    assert not list((sites.region / ".unfinished-fetch").iterdir())


def test_a_signature_that_came_later_is_taken_without_the_file(sites: Sites) -> None:
    sites.add(sites.catalog)
    sites.copy()
    (image,) = sites.catalog.manifests()
    sites.catalog.sign(msgspec.structs.replace(image, signature="c2ln", signed_by="me"))
    (item,) = sites.items()
    assert sites.copies.missing(item) == []
    sites.copy()
    assert sites.served.load("debian-12").signed_by == "me"
    assert sites.held()["debian-12"].source == SOURCE


def test_what_was_built_over_a_copy_is_its_makers_own(sites: Sites) -> None:
    sites.add(sites.catalog)
    sites.copy()
    sites.add(sites.served, b"own")
    assert sites.held()["debian-12"].source is None
    with pytest.raises(ImageError, match="by hand"):
        sites.copies.put(sites.items()[0], SOURCE)
    sites.copies.remove(sites.held()["debian-12"])
    assert sites.served.load("debian-12").size_bytes == 3


def test_a_stop_between_mark_and_manifest_takes_the_copy_from_nobody(sites: Sites) -> None:
    sites.add(sites.catalog, b"one")
    sites.copy()
    before = (sites.region / "debian-12" / "manifest.json").read_bytes()
    sites.add(sites.catalog, b"two")
    sites.copy()
    (sites.region / "debian-12" / "manifest.json").write_bytes(before)
    assert sites.held()["debian-12"].source == SOURCE
    sites.copy()
    assert sites.served.load("debian-12") == sites.catalog.load("debian-12")


def test_a_removed_copy_is_gone_and_an_own_directory_without_manifest_stays(sites: Sites) -> None:
    sites.add(sites.catalog)
    sites.copy()
    sites.copies.remove(sites.held()["debian-12"])
    assert not (sites.region / "debian-12").exists()
    (sites.region / "debian-12").mkdir()
    with pytest.raises(ImageError, match="by hand"):
        sites.copies.put(sites.items()[0], SOURCE)


def test_a_copy_that_lost_its_file_is_not_whole(sites: Sites) -> None:
    sites.add(sites.catalog)
    sites.copy()
    (file,) = sites.items()[0].files
    (sites.region / "debian-12" / file.file).unlink()
    assert not sites.held()["debian-12"].whole
    sites.copy()
    assert sites.held()["debian-12"].whole


def test_old_agents_go_but_for_one_and_for_those_built_here(sites: Sites) -> None:
    put_agent(sites.served, sites.directory, line=b"own")
    own = (sites.region / "agent" / "x86_64").resolve()
    (sites.region / "agent" / "x86_64").unlink()
    generations = []
    for line in (b"1", b"2", b"3"):
        put_agent(sites.catalog, sites.directory, line=line)
        sites.copy()
        assert sites.served.agent().kernel_sha256 == sites.catalog.agent().kernel_sha256
        generations.append((sites.region / "agent" / "x86_64").resolve())
    assert [each.is_dir() for each in (own, *generations)] == [True, False, True, True]


def test_one_process_at_a_time(sites: Sites) -> None:
    with sites.copies.alone() as mine, Copies(sites.region).alone() as other:
        assert (mine, other) == (True, False)
    with Copies(sites.region).alone() as then:
        assert then


def test_bytes_that_nobody_wants_any_more_are_removed(sites: Sites) -> None:
    sites.add(sites.catalog)
    (item,) = sites.items()
    with sites.copies.alone():
        stale = sites.region / ".unfinished-fetch" / ("cd" * 32)
        stale.touch()
        sites.copies.unfinished(item.files[0]).write_bytes(b"o")
        sites.copies.forget_unfinished([item])
    assert not stale.exists()
    assert [have for _, have in sites.copies.missing(item)] == [1]
    assert not (sites.region / MARK).exists()
