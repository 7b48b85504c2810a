"""Signatures of images: Ed25519 (RFC 8032) over what the manifest says, the file's digest included.

The rule: whoever may write into the images directory can add and replace images, and still nothing
of it is installed that no trusted key signed. The digest in the signed manifest covers the file;
the region checks it by size and on demand, the agent whenever it streams.

Keys are PEM files as OpenSSL writes them (RFC 8410): `openssl genpkey -algorithm ed25519`.
"""

import base64
import binascii
import hashlib
import os
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from lpmos.model.errors import ImageError
from lpmos.model.image import ImageManifest, signed_content

DOMAIN = b"LPMOS image manifest 1\n"
"""Stands before what is signed: a signature of something else is none of an image."""
PUBLIC_SUFFIX = ".pub"
FINGERPRINT_CHARACTERS = 32
_ADVICE = "make a pair with `lpmos image keygen FILE`"


class TrustedKeys:
    """The public keys that a region trusts, by fingerprint."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    def refuses(self, manifest: ImageManifest) -> str | None:
        """Why an image is not trusted; None where a key of these signed it as it is."""
        if manifest.signature is None or manifest.signed_by is None:
            return f"is not signed: sign it with `lpmos image sign {manifest.name} --key FILE`"
        key = self._keys.get(manifest.signed_by)
        if key is None:
            return f"is signed by {manifest.signed_by[:64]}, which is none of image_trusted_keys"
        if not is_signed(manifest, key):
            return (
                f"has a wrong signature of {manifest.signed_by}: its manifest was changed after it"
                " was signed; look who did, then sign it again"
            )
        return None


def trusted_keys(place: Path) -> TrustedKeys:
    """The keys of a directory (each file `*.pub` or `*.pem`), or of one file.

    Raises:
        ImageError: there is none, or a file is no public Ed25519 key.
    """
    try:
        files = (
            sorted(each for each in place.iterdir() if each.suffix in (PUBLIC_SUFFIX, ".pem"))
            if place.is_dir()
            else [place]
        )
        keys = [public_key(file.read_bytes(), str(file)) for file in files]
    except OSError as error:
        raise ImageError(f"the keys {place} cannot be read ({error.strerror})") from error
    if not keys:
        raise ImageError(f"there is no key in {place} (*{PUBLIC_SUFFIX}, *.pem): {_ADVICE}")
    return TrustedKeys({fingerprint(key): key for key in keys})


def generate(path: Path) -> str:
    """Write a new private key to `path` and its public key beside it; the key's fingerprint.

    Raises:
        ImageError: a file of either name is there, or none can be written.
    """
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        _write_new(path, pem, 0o600)
        _write_new(public_path(path), public_pem(private.public_key()), 0o644)
    except OSError as error:
        raise ImageError(f"the key cannot be written ({error}): name a new file") from error
    return fingerprint(private.public_key())


def public_path(path: Path) -> Path:
    """Where the public key of the pair at `path` is."""
    return path.with_name(path.name + PUBLIC_SUFFIX)


def private_key(path: Path) -> Ed25519PrivateKey:
    """The private key of a file that only its owner may read.

    Raises:
        ImageError: it is none, others may read it, or it has a password.
    """
    try:
        content = path.read_bytes()
        mode = path.stat().st_mode
    except OSError as error:
        raise ImageError(f"the key {path} cannot be read ({error.strerror})") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ImageError(f"the key {path} can be read by others: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise ImageError(f"{path} is no private Ed25519 key without a password: {_ADVICE}")
    return key


def public_key(pem: bytes, source: str) -> Ed25519PublicKey:
    """The public key of a PEM text that came from `source`.

    Raises:
        ImageError: it is none.
    """
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PublicKey):
        raise ImageError(f"{source} is no public Ed25519 key: {_ADVICE}")
    return key


def public_pem(key: Ed25519PublicKey) -> bytes:
    """A public key as a PEM text."""
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def fingerprint(key: Ed25519PublicKey) -> str:
    """The first half of the SHA-256 of a public key's 32 bytes, in lower-case hex."""
    raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    return hashlib.sha256(raw).hexdigest()[:FINGERPRINT_CHARACTERS]


def signed(manifest: ImageManifest, key: Ed25519PrivateKey) -> ImageManifest:
    """The manifest with a signature of all that it says."""
    signature = key.sign(DOMAIN + signed_content(manifest))
    return msgspec.structs.replace(
        manifest,
        signature=base64.b64encode(signature).decode(),
        signed_by=fingerprint(key.public_key()),
    )


def is_signed(manifest: ImageManifest, key: Ed25519PublicKey) -> bool:
    """Whether the manifest's signature is this key's, of what the manifest says now."""
    try:
        signature = base64.b64decode(manifest.signature or "", validate=True)
        key.verify(signature, DOMAIN + signed_content(manifest))
    except (InvalidSignature, binascii.Error, ValueError):
        return False
    return True


def _write_new(path: Path, content: bytes, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
