"""Signatures of images as somebody with a key makes them, from what the API says of an image."""

from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from lpmos.images.signatures import public_pem, signed
from lpmos.model.image import ImageManifest

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def signature_of(image: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The body that brings the signature of `KEY`; `changes` are said of another image."""
    manifest = msgspec.convert({**image, "file": "", **changes}, ImageManifest)
    return {
        "signature": signed(manifest, KEY).signature,
        "public_key": public_pem(KEY.public_key()).decode(),
    }
