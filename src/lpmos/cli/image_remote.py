"""The images of the control plane: what `lpmos image list|show|verify|delete` ask and show."""

import argparse

from lpmos.cli.connect import connect
from lpmos.cli.display import Column, Display, confirm, utc_now
from lpmos.cli.failures import Unfinished
from lpmos.cli.image import path
from lpmos.cli.words import ago, size, stamp

VERIFY_TIMEOUT_S = 1800.0
COLUMNS = (
    Column("IMAGE", lambda image: image["name"]),
    Column("OS", lambda image: f"{image['os_type'] or ''} {image['os_version'] or ''}".strip()),
    Column("SIZE", lambda image: size(image["size_bytes"]), right=True),
    Column("UNPACKED", lambda image: size(image["unpacked_bytes"]), drop=2, right=True),
    Column("BUILT", lambda image: ago(image["built_at"], utc_now()), drop=1),
    Column("SIGNED BY", lambda image: image["signed_by"] or "", drop=4),
    Column("SHA-256", lambda image: image["sha256"] or "", drop=3),
    Column("", lambda image: f"LEFT OUT: {image['error']}" if image["error"] else ""),
)


def list_images(chosen: argparse.Namespace) -> int:
    """List the images; 1 where one is left out: damaged, or not signed by a trusted key."""
    with connect(chosen) as client:
        found = client.get("images")
    Display(chosen).listing(
        found, "images", COLUMNS, lambda image: str(image["name"]), nothing="no images"
    )
    return int(any(image["error"] for image in found["images"]))


def show(chosen: argparse.Namespace) -> None:
    """Show one image."""
    with connect(chosen) as client:
        image = client.get(path(chosen))
    display = Display(chosen)
    if not display.for_person(image, image["name"]):
        return
    display.fields(
        [
            ("image", image["name"]),
            ("system", f"{image['os_type'] or ''} {image['os_version'] or ''}"),
            ("family", image["family"]),
            ("format", image["format"]),
            ("architecture", image["architecture"]),
            ("size", size(image["size_bytes"])),
            ("unpacked", size(image["unpacked_bytes"])),
            ("first boot", "tells that it came up" if image["first_boot"] else "tells nothing"),
            ("built", stamp(image["built_at"])),
            ("SHA-256", image["sha256"]),
            ("signed by", image["signed_by"] or "nobody"),
            ("left out", image["error"]),
        ]
    )


def verify(chosen: argparse.Namespace) -> int:
    """Have the digest computed again.

    Raises:
        Unfinished: the image is damaged, or no trusted key signed it.
    """
    with connect(chosen) as client:
        image = client.call("POST", path(chosen, "verify"), timeout_s=VERIFY_TIMEOUT_S).document
    if image["error"]:
        raise Unfinished(f"{chosen.name}: {image['error']}")
    Display(chosen).result(image, image["name"], f"{chosen.name}: the digest matches")
    return 0


def delete(chosen: argparse.Namespace) -> None:
    """Delete an image."""
    if not confirm(chosen, f"Delete the image {chosen.name}?"):
        raise Unfinished("nothing was deleted")
    with connect(chosen) as client:
        client.call("DELETE", path(chosen))
    Display(chosen).done(chosen.name, f"deleted {chosen.name}")
