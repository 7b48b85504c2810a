"""Signatures: what they cover, whose are trusted, and files that are no keys."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from lpmos.images.catalog import Catalog, ImageFields, UntrustedImage
from lpmos.images.signatures import (
    TrustedKeys,
    generate,
    private_key,
    public_path,
    signed,
    trusted_keys,
)
from lpmos.model.errors import ImageError
from lpmos.model.image import ImageManifest, signed_content
from tests.support.builders import NOW, make_manifest

FIELDS = ImageFields(
    name="debian-12", family="debian", os_type="debian", os_version="12", unpacked_bytes=100
)
CHANGES: dict[str, Any] = {
    "name": "other",
    "os_version": "13",
    "sha256": "cd" * 32,
    "size_bytes": 1,
    "unpacked_bytes": 1,
    "built_at": NOW + timedelta(microseconds=1),
    "first_boot": True,
    "format": "raw.zst",
    "disk_bytes": 512,
    "network": "netplan",
    "cloud_init": True,
    "source_sha256": "ef" * 32,
}


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "signing.key"
    generate(path)
    return path


@pytest.fixture
def trusted(key: Path) -> TrustedKeys:
    return trusted_keys(public_path(key))


def test_image_that_a_trusted_key_signed_is_trusted(key: Path, trusted: TrustedKeys) -> None:
    manifest = signed(make_manifest(), private_key(key))
    assert trusted.refuses(manifest) is None
    stored = msgspec.json.decode(msgspec.json.encode(manifest), type=ImageManifest)
    assert trusted.refuses(stored) is None
    assert trusted.refuses(msgspec.structs.replace(manifest, file="elsewhere")) is None


@pytest.mark.parametrize("field", CHANGES)
def test_manifest_that_was_changed_after_signing_is_refused(
    key: Path, trusted: TrustedKeys, field: str
) -> None:
    manifest = signed(make_manifest(), private_key(key))
    changed = msgspec.structs.replace(manifest, **{field: CHANGES[field]})
    assert "wrong signature" in str(trusted.refuses(changed))


def test_every_field_of_a_manifest_is_signed_or_said_to_be_not() -> None:
    fixed = {"family", "os_type", "architecture", "packages"}
    unsigned = {"file", "signature", "signed_by", "sector_bytes"}
    assert {*ImageManifest.__struct_fields__} == {*CHANGES} | fixed | unsigned


def test_image_whose_sectors_only_this_version_knows_is_trusted_by_the_one_before(
    key: Path, trusted: TrustedKeys
) -> None:
    manifest = signed(make_manifest(sector_bytes=4096), private_key(key))
    assert trusted.refuses(manifest) is None
    assert trusted.refuses(msgspec.structs.replace(manifest, sector_bytes=None)) is None


def test_signed_content_is_the_same_for_a_version_that_knows_more_fields() -> None:
    assert signed_content(make_manifest()) == (
        b'{"architecture":"x86_64","built_at":"2026-01-02T03:04:05Z","family":"debian",'
        b'"format":"tar.zst","name":"debian-12","os_type":"debian","os_version":"12","sha256":"'
        + b"ab" * 32
        + b'","size_bytes":268435456,"unpacked_bytes":1073741824}'
    )


def test_image_of_another_key_or_none_is_refused_with_the_reason(
    tmp_path: Path, trusted: TrustedKeys
) -> None:
    other = tmp_path / "other.key"
    fingerprint = generate(other)
    assert "is not signed" in str(trusted.refuses(make_manifest()))
    manifest = signed(make_manifest(), private_key(other))
    assert fingerprint in str(trusted.refuses(manifest))
    broken = msgspec.structs.replace(manifest, signature="no base64!")
    assert "is signed by" in str(trusted.refuses(broken))


@pytest.mark.parametrize("signature", ["", "!!!", "AAAA", "é", "A" * 88])
def test_signature_that_is_none_is_refused(key: Path, trusted: TrustedKeys, signature: str) -> None:
    manifest = signed(make_manifest(), private_key(key))
    assert trusted.refuses(msgspec.structs.replace(manifest, signature=signature))


def test_keys_of_a_directory_are_all_trusted(tmp_path: Path) -> None:
    place = tmp_path / "keys"
    place.mkdir()
    manifests = []
    for name in ("a", "b"):
        path = tmp_path / name
        generate(path)
        public_path(path).rename(place / f"{name}.pub")
        manifests.append(signed(make_manifest(), private_key(path)))
    (place / "readme.txt").write_text("not a key")
    found = trusted_keys(place)
    assert [found.refuses(manifest) for manifest in manifests] == [None, None]


def _empty(path: Path) -> Path:
    path.mkdir()
    return path


def _text(path: Path) -> Path:
    path.write_text("no key")
    path.chmod(0o600)
    return path


@pytest.mark.parametrize(
    ("make", "message"),
    [(_empty, "there is no key in"), (_text, "no public Ed25519 key"), (lambda p: p, "cannot be")],
)
def test_place_without_keys_is_an_error_that_says_what_to_do(
    tmp_path: Path, make: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(ImageError, match=message):
        trusted_keys(make(tmp_path / "place"))


def test_private_key_that_others_may_read_is_refused(key: Path) -> None:
    key.chmod(0o640)
    with pytest.raises(ImageError, match="chmod 600"):
        private_key(key)


def test_private_key_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (_text(tmp_path / "text"), tmp_path / "missing"):
        with pytest.raises(ImageError):
            private_key(path)


def test_generate_never_replaces_a_key(key: Path) -> None:
    before = key.read_bytes()
    with pytest.raises(ImageError, match="name a new file"):
        generate(key)
    assert key.read_bytes() == before


def test_catalog_that_trusts_keys_serves_only_what_they_signed(
    tmp_path: Path, key: Path, trusted: TrustedKeys, caplog: pytest.LogCaptureFixture
) -> None:
    images = tmp_path / "images"
    archive = tmp_path / "root.tar.zst"
    archive.write_bytes(b"archive")
    maker = Catalog(images)
    manifest = maker.add(FIELDS, archive)
    region = Catalog(images, refuses=trusted.refuses)
    for _ in range(2):
        assert region.manifests() == ()
        assert region.by_digest(manifest.sha256) is None
        assert region.find("debian", "12") is None
    assert isinstance(region.damaged()["debian-12"], UntrustedImage)
    assert [record.message for record in caplog.records] == [
        "image left out: the image debian-12 is not signed: sign it with"
        " `lpmos image sign debian-12 --key FILE`"
    ]
    whole = maker.sign(signed(region.said("debian-12"), private_key(key)))
    assert region.manifests() == (whole,)
    assert region.by_digest(manifest.sha256) == (whole, region.path(whole))


def test_signature_of_an_image_that_changed_meanwhile_is_not_kept(
    tmp_path: Path, key: Path
) -> None:
    catalog = Catalog(tmp_path / "images")
    for content in (b"one", b"two"):
        archive = tmp_path / "root.tar.zst"
        archive.write_bytes(content)
        manifest = catalog.add(FIELDS, archive)
        if content == b"one":
            old = signed(manifest, private_key(key))
    with pytest.raises(ImageError, match="changed meanwhile"):
        catalog.sign(old)
    assert catalog.load("debian-12").signature is None
