"""What a manifest says of the first boot; one of an earlier version says nothing."""

import msgspec

from lpmos.model.image import ImageManifest
from tests.support.builders import make_manifest


def test_manifest_of_an_earlier_version_cannot_tell_of_a_first_boot() -> None:
    document = msgspec.json.decode(msgspec.json.encode(make_manifest(first_boot=True)))
    assert document.pop("first_boot") is True
    assert msgspec.convert(document, ImageManifest).first_boot is False
