"""What is known of an OS image: the manifest that stands beside its file."""

from datetime import datetime
from typing import Literal

import msgspec


class ImageManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One image. `family` names the module of `lpmos.install` that knows this OS.

    `first_boot` says that what is installed from it can run systemd units and bash: then it tells
    its region that it came up, and only that completes the task.
    """

    name: str
    family: str
    os_type: str
    os_version: str
    architecture: Literal["x86_64"]
    format: Literal["tar.zst"]
    file: str
    sha256: str
    size_bytes: int
    unpacked_bytes: int
    built_at: datetime
    packages: int | None = None
    first_boot: bool = False


class OfferedOs(msgspec.Struct, frozen=True, kw_only=True):
    """An OS that a region can install."""

    os_type: str
    os_version: str
    unpacked_bytes: int
