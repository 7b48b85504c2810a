"""`lpmos image keygen|sign`: the private key is read here and goes nowhere."""

import argparse

import msgspec

from lpmos.cli.connect import connect
from lpmos.cli.display import Display
from lpmos.cli.failures import Unfinished
from lpmos.cli.image import path
from lpmos.images.catalog import Catalog
from lpmos.images.signatures import generate, private_key, public_path, public_pem, signed
from lpmos.model.image import ImageManifest


def keygen(chosen: argparse.Namespace) -> None:
    """Make a pair of keys; raises ImageError where a file is there."""
    fingerprint = generate(chosen.file)
    public = public_path(chosen.file)
    found = {"fingerprint": fingerprint, "private": str(chosen.file), "public": str(public)}
    text = f"key {fingerprint}: keep {chosen.file} where only you read it; regions get {public}"
    Display(chosen).result(found, fingerprint, text)


def sign(chosen: argparse.Namespace) -> None:
    """Sign an image of the control plane, or of a directory here.

    Raises:
        ImageError: the key cannot be used, or the image is damaged.
        Unfinished: the image is damaged.
    """
    key = private_key(chosen.key)
    if chosen.images_dir is not None:
        catalog = Catalog(chosen.images_dir)
        done = catalog.sign(signed(catalog.said(chosen.name), key))
        _tell(chosen, msgspec.to_builtins(done), done.signed_by)
        return
    with connect(chosen) as client:
        image = client.get(path(chosen))
        if image["sha256"] is None:
            raise Unfinished(f"{chosen.name} is damaged: {image['error']}")
        manifest = signed(msgspec.convert({**image, "file": ""}, ImageManifest), key)
        body = {
            "signature": manifest.signature,
            "public_key": public_pem(key.public_key()).decode(),
        }
        answer = client.call("PUT", path(chosen, "signature"), body).document
    _tell(chosen, answer, manifest.signed_by)


def _tell(chosen: argparse.Namespace, image: dict[str, object], signed_by: str | None) -> None:
    Display(chosen).result(image, chosen.name, f"{chosen.name}: signed by {signed_by}")
