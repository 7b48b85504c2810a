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


class AgentManifest(msgspec.Struct, frozen=True, kw_only=True):
    """One build. `recipe` is the digest of all that decides it but the packages' versions.

    `payload_bytes` is the agent with its interpreter and their libraries, compressed alone;
    `modules_wanting_firmware` name firmware files, of which the image has none.
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


class AgentImage(msgspec.Struct, frozen=True, kw_only=True):
    """Where the two files of the agent's image are, and what they must hash to."""

    kernel: Path
    initramfs: Path
    version: str
    architecture: str
    kernel_sha256: str
    initramfs_sha256: str
