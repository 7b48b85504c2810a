"""What is known of an OS image: the manifest that stands beside its file."""

from datetime import datetime
from typing import Literal

import msgspec

from lpmos.model.installer import Method
from lpmos.model.setup import Setup

ImageFormat = Literal["tar.zst", "raw.zst"]
"""An archive of the root file system, or a whole disk with its partitions."""
NetworkSystem = Literal["systemd-networkd", "netplan", "networkmanager", "ifupdown"]
"""Which program sets up the network of an installed system."""
UNSIGNED = ("file", "signature", "signed_by", "sector_bytes")
"""`sector_bytes` is said by the signed bytes themselves, and earlier versions do not know it."""


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One image. `family` names the module of `lpmos.install` that knows this OS.

    `first_boot` says that what is installed from it can run systemd units and bash: then it tells
    its region that it came up, and only that completes the task. `disk_bytes` is how large the disk
    of a disk image is, `sector_bytes` of which sectors, where its GPT says it; `network` who sets
    up its network, `cloud_init` whether it runs cloud-init. `source_sha256` is of what was
    uploaded, where that was converted. `signature` is Ed25519 in base64, `signed_by` the
    fingerprint of its key.
    """

    name: str
    family: str
    os_type: str
    os_version: str
    architecture: Literal["x86_64"]
    format: ImageFormat
    file: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int
    built_at: datetime
    packages: int | None = None
    first_boot: bool = False
    disk_bytes: int | None = None
    network: NetworkSystem = "systemd-networkd"
    cloud_init: bool = False
    source_sha256: str | None = None
    signature: str | None = None
    signed_by: str | None = None
    sector_bytes: int | None = None

    @property
    def whole_disk(self) -> bool:
        """Whether it brings its own partitions and boot loader."""
        return self.format == "raw.zst"


def hooks_problem(setup: Setup, image: str, first_boot: bool) -> str | None:
    """Why a system from this image could not do what a task says of its first boot."""
    if first_boot or not setup.has_hooks:
        return None
    return (
        f"image {image} does not say that it came up, and so can do nothing at its first boot:"
        " build it again, or take cloud-init, Ansible and Puppet from the task"
    )


def arguments_problem(kernel_arguments: str, whole_disk: bool) -> str | None:
    """Why a system from an image could not start with a task's words in its kernel line."""
    if not kernel_arguments or not whole_disk:
        return None
    return (
        "the image is of a whole disk and brings a boot loader of its own: leave them out, or"
        " install from a root archive"
    )


def root_bytes(unpacked_bytes: int) -> int:
    """What the root file system must offer for an archive: a quarter more, and room to work."""
    return unpacked_bytes * 5 // 4 + 512 * 1024 * 1024


def signed_content(manifest: ImageManifest) -> bytes:
    """What a signature is of: JSON of all that is said of the image, its digest among it.

    Keys are sorted, there is no white space, and what has its default is left out: so a signature
    stays good when later versions know more fields. Where the file is, is not signed.
    """
    defaults = dict(
        zip(
            ImageManifest.__struct_fields__[-len(ImageManifest.__struct_defaults__) :],
            ImageManifest.__struct_defaults__,
            strict=True,
        )
    )
    said = {
        name: value
        for name, value in msgspec.structs.asdict(manifest).items()
        if name not in UNSIGNED and (name not in defaults or value != defaults[name])
    }
    return msgspec.json.encode(said, order="deterministic")


class OfferedOs(msgspec.Struct, frozen=True, kw_only=True):
    """An OS that a region can install, and by which `methods`.

    `unpacked_bytes` is of its image; where there is only an installer, what that needs of the disk.
    With `whole_disk` the image brings its own partitions: a task leaves `disk_layout` at `auto`,
    and its disk has sectors of `sector_bytes`, where the image says which.
    """

    os_type: str
    os_version: str
    unpacked_bytes: int
    methods: tuple[Method, ...] = ("image",)
    whole_disk: bool = False
    sector_bytes: int | None = None
