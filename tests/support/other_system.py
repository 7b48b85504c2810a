"""A disk with another system on it: what installers take for their own where nobody stops them."""

import hashlib
import subprocess
from pathlib import Path

MIB = 1024**2
ESP_MIB = 100
SWAP_MIB = 200
TABLE = f"""label: gpt
start=1MiB, size={ESP_MIB}MiB, type=uefi
start={1 + ESP_MIB}MiB, size={SWAP_MIB}MiB, type=swap
start={1 + ESP_MIB + SWAP_MIB}MiB, type=linux
"""


def put_other_system(disk: Path) -> None:
    """Write an EFI system partition, swap, and an empty Linux partition to a blank disk's file."""
    part = disk.with_suffix(".part")
    with part.open("wb") as file:
        file.truncate(ESP_MIB * MIB)
    subprocess.run(["mformat", "-i", part, "-F", "::"], check=True)
    _put(disk, part, 1)
    with part.open("wb") as file:
        file.truncate(SWAP_MIB * MIB)
    subprocess.run(["mkswap", part], check=True, capture_output=True)
    _put(disk, part, 1 + ESP_MIB)
    part.unlink()
    subprocess.run(["sfdisk", disk], input=TABLE, text=True, check=True, capture_output=True)


def _put(disk: Path, part: Path, at_mib: int) -> None:
    with disk.open("r+b") as target:
        target.seek(at_mib * MIB)
        target.write(part.read_bytes())


def digest(disk: Path) -> str:
    """SHA-256 of all of a disk."""
    with disk.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
