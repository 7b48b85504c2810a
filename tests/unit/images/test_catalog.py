"""The images directory: what is served, what is left out, and that writes are whole."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpmos.images.agent_manifest import AgentFile, AgentManifest
from lpmos.images.atomic import sha256_of
from lpmos.images.catalog import AGENT, KEPT_AGENTS, Catalog, ImageFields
from lpmos.model.errors import ImageError

FIELDS = ImageFields(
    name="debian-12", family="debian", os_type="debian", os_version="12", unpacked_bytes=100
)


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    return Catalog(tmp_path / "images")


def archive(tmp_path: Path, data: bytes = b"archive") -> Path:
    path = tmp_path / "root.tar.zst"
    path.write_bytes(data)
    return path


def put_agent(catalog: Catalog, tmp_path: Path, text: bytes = b"one") -> AgentManifest:
    files = [tmp_path / "kernel", tmp_path / "initramfs"]
    for path in files:
        path.write_bytes(text + path.name.encode())
    kernel, initramfs = (
        AgentFile(sha256=sha256_of(path), size_bytes=path.stat().st_size) for path in files
    )
    manifest = AgentManifest(
        version=f"1+{text.decode()}",
        recipe="r",
        architecture="x86_64",
        kernel_version="6.1",
        compression="zstd -3",
        built_at=datetime.now(UTC),
        kernel=kernel,
        initramfs=initramfs,
        payload_bytes=1,
        parts=(),
        modules=0,
        unknown_modules=(),
        modules_wanting_firmware=(),
        packages=(),
    )
    catalog.put_agent(manifest, *files)
    return manifest


def test_add_computes_digest_and_size_and_moves_the_file(catalog: Catalog, tmp_path: Path) -> None:
    source = archive(tmp_path)
    manifest = catalog.add(FIELDS, source)
    path = catalog.path(manifest)
    assert not source.exists()
    assert path.read_bytes() == b"archive"
    assert (manifest.sha256, manifest.size_bytes) == (sha256_of(path), 7)
    assert Catalog(tmp_path / "images").manifests() == (manifest,)


def test_add_in_place_of_another_offers_only_the_new_one(catalog: Catalog, tmp_path: Path) -> None:
    catalog.add(FIELDS, archive(tmp_path, b"old"))
    new = catalog.add(FIELDS, archive(tmp_path, b"new"))
    assert catalog.manifests() == (new,)
    assert catalog.find("debian", "12") == new
    assert catalog.verify("debian-12") == new


def test_digest_of_a_plan_is_served_after_one_build_and_gone_after_two(
    catalog: Catalog, tmp_path: Path
) -> None:
    region = Catalog(tmp_path / "images")
    planned = catalog.add(FIELDS, archive(tmp_path, b"planned"))
    assert region.by_digest(planned.sha256) == (planned, catalog.path(planned))
    new = catalog.add(FIELDS, archive(tmp_path, b"new"))
    assert region.by_digest(planned.sha256) == (planned, catalog.path(planned))
    assert catalog.path(planned).read_bytes() == b"planned"
    assert region.by_digest(new.sha256) == (new, catalog.path(new))
    catalog.add(FIELDS, archive(tmp_path, b"newest"))
    assert region.by_digest(planned.sha256) is None
    assert not catalog.path(planned).exists()
    assert region.by_digest(new.sha256) == (new, catalog.path(new))
    assert len(list((tmp_path / "images/debian-12").glob("root-*"))) == 2


def test_add_of_the_same_bytes_keeps_the_one_before(catalog: Catalog, tmp_path: Path) -> None:
    planned = catalog.add(FIELDS, archive(tmp_path, b"planned"))
    for _ in range(2):
        catalog.add(FIELDS, archive(tmp_path, b"new"))
    assert catalog.by_digest(planned.sha256) == (planned, catalog.path(planned))


def test_digest_of_a_replaced_archive_that_was_deleted_is_gone(
    catalog: Catalog, tmp_path: Path
) -> None:
    planned = catalog.add(FIELDS, archive(tmp_path, b"planned"))
    new = catalog.add(FIELDS, archive(tmp_path, b"new"))
    catalog.path(planned).unlink()
    assert catalog.by_digest(planned.sha256) is None
    assert catalog.manifests() == (new,)
    assert catalog.damaged() == {}


def test_images_directory_that_is_a_file_is_an_empty_listing_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = tmp_path / "images"
    place.write_text("")
    catalog = Catalog(place)
    for _ in range(2):
        assert catalog.manifests() == ()
        assert catalog.find("debian", "12") is None
        assert catalog.by_digest("0" * 64) is None
    assert len(caplog.records) == 1
    assert f"{place} cannot be read" in caplog.text


def test_images_directory_that_is_a_file_is_an_error_to_who_asks(tmp_path: Path) -> None:
    place = tmp_path / "images"
    place.write_text("")
    catalog = Catalog(place)
    for ask in (
        lambda: catalog.load("x"),
        lambda: catalog.verify("x"),
        catalog.damaged,
        lambda: catalog.add(FIELDS, archive(tmp_path)),
        lambda: put_agent(catalog, tmp_path),
    ):
        with pytest.raises(ImageError, match=f"images directory {place}"):
            ask()
    with pytest.raises(ImageError, match="lpmos image build-agent"):
        catalog.agent()


def test_image_that_was_mended_is_served_again(catalog: Catalog, tmp_path: Path) -> None:
    manifest = catalog.add(FIELDS, archive(tmp_path))
    fresh = Catalog(tmp_path / "images")
    catalog.path(manifest).rename(tmp_path / "away")
    assert fresh.manifests() == ()
    (tmp_path / "away").rename(catalog.path(manifest))
    assert fresh.manifests() == (manifest,)


def test_add_leaves_nothing_unfinished(catalog: Catalog, tmp_path: Path) -> None:
    catalog.add(FIELDS, archive(tmp_path))
    assert [path.name for path in (tmp_path / "images").iterdir()] == ["debian-12"]


@pytest.mark.parametrize("name", ["", "../x", "a/b", AGENT, ".hidden", "UPPER"])
def test_add_with_a_name_that_is_no_directory_is_refused(
    catalog: Catalog, tmp_path: Path, name: str
) -> None:
    source = archive(tmp_path)
    with pytest.raises(ImageError, match="cannot be an image's name"):
        catalog.add(msgspec.structs.replace(FIELDS, name=name), source)
    assert source.exists()


def test_add_without_the_archive_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="there is no archive"):
        catalog.add(FIELDS, tmp_path / "missing")


def test_find_takes_the_newest_of_an_os(catalog: Catalog, tmp_path: Path) -> None:
    catalog.add(FIELDS, archive(tmp_path, b"1"))
    newer = catalog.add(msgspec.structs.replace(FIELDS, name="a-newer"), archive(tmp_path, b"2"))
    assert catalog.find("debian", "12") == newer
    assert catalog.find("debian", "13") is None


def test_find_sees_an_image_that_another_process_added(catalog: Catalog, tmp_path: Path) -> None:
    assert catalog.find("debian", "12") is None
    added = Catalog(tmp_path / "images").add(FIELDS, archive(tmp_path))
    assert catalog.find("debian", "12") == added


def test_by_digest_gives_manifest_and_path(catalog: Catalog, tmp_path: Path) -> None:
    manifest = catalog.add(FIELDS, archive(tmp_path))
    assert catalog.by_digest(manifest.sha256) == (manifest, catalog.path(manifest))
    assert catalog.by_digest("0" * 64) is None


def test_verify_of_a_changed_archive_names_file_and_both_digests(
    catalog: Catalog, tmp_path: Path
) -> None:
    manifest = catalog.add(FIELDS, archive(tmp_path))
    path = catalog.path(manifest)
    path.write_bytes(b"archivE")
    with pytest.raises(ImageError) as raised:
        catalog.verify("debian-12")
    text = str(raised.value)
    assert all(part in text for part in (str(path), manifest.sha256, sha256_of(path), "again"))


def test_manifests_leave_out_the_damaged_and_serve_the_others(
    catalog: Catalog, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good = catalog.add(FIELDS, archive(tmp_path))
    bad = tmp_path / "images/broken"
    bad.mkdir()
    (bad / "manifest.json").write_text('{"name": "broken"')
    assert catalog.manifests() == (good,)
    assert catalog.manifests() == (good,)
    assert "cannot be read" in str(catalog.damaged()["broken"])
    assert len(caplog.records) == 1
    with pytest.raises(ImageError, match=r"broken/manifest\.json cannot be read"):
        catalog.load("broken")


def test_manifests_leave_out_a_half_copied_archive(catalog: Catalog, tmp_path: Path) -> None:
    manifest = catalog.add(FIELDS, archive(tmp_path))
    catalog.path(manifest).write_bytes(b"arch")
    fresh = Catalog(tmp_path / "images")
    assert fresh.manifests() == ()
    assert "has 4 bytes, its manifest says 7" in str(fresh.damaged()["debian-12"])


def test_manifests_leave_out_one_that_points_elsewhere(catalog: Catalog, tmp_path: Path) -> None:
    manifest = catalog.add(FIELDS, archive(tmp_path))
    path = tmp_path / "images/debian-12/manifest.json"
    path.write_bytes(msgspec.json.encode(msgspec.structs.replace(manifest, file="../../etc/x")))
    assert catalog.manifests() == ()


def test_manifests_of_a_missing_directory_are_none(catalog: Catalog) -> None:
    assert catalog.manifests() == ()
    assert catalog.damaged() == {}
    with pytest.raises(ImageError, match="there is no image 'x'"):
        catalog.load("x")


@settings(max_examples=40)
@given(st.binary(max_size=200))
def test_manifest_of_any_bytes_never_breaks_the_catalog(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    directory = tmp_path_factory.getbasetemp() / "any-bytes"
    (directory / "x").mkdir(parents=True, exist_ok=True)
    (directory / "x/manifest.json").write_bytes(data)
    assert Catalog(directory).manifests() == ()


def test_agent_gives_both_files_of_one_build(catalog: Catalog, tmp_path: Path) -> None:
    manifest = put_agent(catalog, tmp_path)
    image = catalog.agent()
    assert image.kernel.read_bytes() == b"onekernel"
    assert image.initramfs.parent == image.kernel.parent
    assert image.version == manifest.version
    assert (tmp_path / "images/agent/x86_64/vmlinuz").read_bytes() == b"onekernel"
    catalog.verify_agent()


def test_agent_put_again_keeps_the_one_before_for_machines_that_boot(
    catalog: Catalog, tmp_path: Path
) -> None:
    put_agent(catalog, tmp_path, b"one")
    put_agent(catalog, tmp_path, b"two")
    before = catalog.agent()
    put_agent(catalog, tmp_path, b"three")
    assert before.kernel.read_bytes() == b"twokernel"
    assert catalog.agent().kernel.read_bytes() == b"threekernel"
    generations = [path for path in (tmp_path / "images/agent").iterdir() if path.is_dir()]
    assert len([path for path in generations if not path.is_symlink()]) == KEPT_AGENTS


def test_agent_put_through_a_link_keeps_the_one_before(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "images").symlink_to("real")
    catalog = Catalog(tmp_path / "images")
    put_agent(catalog, tmp_path, b"one")
    before = catalog.agent()
    put_agent(catalog, tmp_path, b"two")
    assert before.kernel.read_bytes() == b"onekernel"
    assert catalog.agent().kernel.read_bytes() == b"twokernel"


def test_agent_put_twice_the_same_is_one_generation(catalog: Catalog, tmp_path: Path) -> None:
    put_agent(catalog, tmp_path)
    put_agent(catalog, tmp_path)
    assert len(list((tmp_path / "images/agent").iterdir())) == 2
    assert catalog.agent().version == "1+one"


def test_agent_missing_says_how_to_build_it(catalog: Catalog) -> None:
    assert catalog.agent_manifest() is None
    with pytest.raises(ImageError, match="lpmos image build-agent"):
        catalog.agent()


def test_agent_with_a_damaged_manifest_is_none(catalog: Catalog, tmp_path: Path) -> None:
    put_agent(catalog, tmp_path)
    (catalog.agent().kernel.parent / "manifest.json").write_text("{")
    assert catalog.agent_manifest() is None


def test_agent_with_a_cut_off_file_is_refused(catalog: Catalog, tmp_path: Path) -> None:
    put_agent(catalog, tmp_path)
    catalog.agent().initramfs.write_bytes(b"one")
    with pytest.raises(ImageError, match="initramfs has 3 bytes"):
        catalog.agent()


def test_verify_agent_of_a_changed_file_names_it(catalog: Catalog, tmp_path: Path) -> None:
    put_agent(catalog, tmp_path)
    catalog.agent().kernel.write_bytes(b"oneKERNEL")
    with pytest.raises(ImageError, match="vmlinuz is damaged"):
        catalog.verify_agent()
