"""What is known of a boot agent's image: the document beside its two files."""

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec


class AgentFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file of the image; `sha256` in lower-case hex."""

    sha256: str
    size_bytes: int


class PartSize(msgspec.Struct, frozen=True, kw_only=True):
    """One part of the initramfs: `compressed_bytes` is its share of the whole file."""

    name: str
    why: str
    files: int
    raw_bytes: int
    compressed_bytes: int


class FirmwarePackage(msgspec.Struct, frozen=True, kw_only=True):
    """What the image has of one package: `files` below `/lib/firmware`.

    `licence` is the path of its terms in the image, of all that the package holds.
    """

    name: str
    version: str
    licence: str
    files: tuple[str, ...]


class AgentManifest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One build. `recipe` is the digest of all that decides it but the packages' versions.

    `payload_bytes` is the agent with its interpreter and their libraries, compressed alone;
    `with_firmware` says that firmware was asked for; `modules_wanting_firmware` name firmware files
    that the image does not have.
    """

    version: str
    recipe: str
    architecture: Literal["x86_64"]
    kernel_version: str
    compression: str
    built_at: datetime
    kernel: AgentFile
    initramfs: AgentFile
    payload_bytes: int
    parts: tuple[PartSize, ...]
    modules: int
    unknown_modules: tuple[str, ...]
    modules_wanting_firmware: tuple[str, ...]
    packages: tuple[str, ...]
    with_firmware: bool = False
    firmware: tuple[FirmwarePackage, ...] = ()

    @property
    def modules_unserved(self) -> tuple[str, ...]:
        """The modules whose firmware was asked for, and was nowhere to be had when it was built."""
        return self.modules_wanting_firmware if self.with_firmware else ()


class AgentImage(msgspec.Struct, frozen=True, kw_only=True):
    """Where the two files of the agent's image are, and what they must hash to."""

    kernel: Path
    initramfs: Path
    version: str
    architecture: str
    kernel_sha256: str
    initramfs_sha256: str
