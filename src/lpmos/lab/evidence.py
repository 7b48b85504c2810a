"""What stands on a machine's disk, read from outside: no mount, no guest, nothing taken on trust.

The partition table is read by `partx`, files of an ext4 file system by `debugfs`, those of a FAT
file system by `mcopy`, all straight from the disk's file; so the machine should be off, or the file
will lag behind its caches.
"""

import asyncio
import re
from pathlib import Path
from typing import Final

import msgspec

from lpmos.lab.errors import EvidenceMissing

READ_TIMEOUT_S: Final = 30.0

PARTITION_ROLES: Final = {
    "21686148-6449-6E6F-744E-656564454649": "bios_boot",
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B": "esp",
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709": "root",
    "0FC63DAF-8483-4772-8E79-3D69D8477DE4": "linux",
    "A19D880F-05FC-4D3B-A006-743F0F84911E": "raid",
    "CA7D7CCB-63ED-4C53-861C-1742536059CC": "luks",
}
"""GPT partition types (UEFI 2.10 section 5.3.3; the Discoverable Partitions Specification)."""


class DiskPartition(msgspec.Struct, frozen=True):
    """One partition; `role` is its type by name, or the type's UUID where that has none."""

    number: int
    role: str
    start_bytes: int
    size_bytes: int


_PAIR: Final = re.compile(r'([A-Z]+)="([^"]*)"')
_PARTX_SECTOR_BYTES: Final = 512
"""partx counts in these, whatever the disk's own sectors are."""
_SIGNATURE: Final = b"EFI PART"
_SECTORS_BYTES: Final = (512, 4096)


def parse_partx(listing: str) -> tuple[DiskPartition, ...]:
    """The partitions of `partx --pairs` for a GPT (partx(8) of util-linux 2.38).

    Raises:
        EvidenceMissing: it is no such listing, or no GPT.
    """
    try:
        return tuple(_partition(dict(_PAIR.findall(line))) for line in listing.splitlines())
    except (KeyError, ValueError) as error:
        raise EvidenceMissing(f"partx printed no partition table: {error}") from error


def _partition(row: dict[str, str]) -> DiskPartition:
    if row["SCHEME"] != "gpt":
        raise EvidenceMissing(f"the partition table is {row['SCHEME']}, not gpt")
    kind = row["TYPE"].upper()
    return DiskPartition(
        number=int(row["NR"]),
        role=PARTITION_ROLES.get(kind, kind),
        start_bytes=int(row["START"]) * _PARTX_SECTOR_BYTES,
        size_bytes=int(row["SECTORS"]) * _PARTX_SECTOR_BYTES,
    )


def parse_os_release(text: str) -> dict[str, str]:
    """The assignments of an os-release file, unquoted (os-release(5))."""
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line[1:])
    return {name: value.strip().strip("\"'") for name, value in pairs if name[0] != "#"}


async def partitions(disk: Path) -> tuple[DiskPartition, ...]:
    """The partition table of a disk's file.

    Raises:
        EvidenceMissing: the disk has none that partx can read.
    """
    sector_bytes = await asyncio.to_thread(_sector_bytes, disk)
    columns = "NR,START,SECTORS,SCHEME,TYPE"
    options = ("--sector-size", str(sector_bytes), "--output", columns, "--pairs")
    return parse_partx((await _output("partx", *options, str(disk))).decode(errors="replace"))


def _sector_bytes(disk: Path) -> int:
    """Of which size a disk's sectors are: its GPT begins in the second one (UEFI 2.10, 5.3.2)."""
    with disk.open("rb") as file:
        for size in _SECTORS_BYTES:
            file.seek(size)
            if file.read(len(_SIGNATURE)) == _SIGNATURE:
                return size
    raise EvidenceMissing(f"{disk} has no GPT")


async def read_file(disk: Path, path: str) -> str:
    """A file of the root file system of a disk.

    Raises:
        EvidenceMissing: no root partition, or no such file in it.
    """
    device = f"{disk}?offset={await _start_bytes(disk, 'root')}"
    listing = await _output("debugfs", "-R", f"stat {path}", device)
    if b"Inode:" not in listing:
        raise EvidenceMissing(f"{path} is not in the root file system of {disk}")
    return (await _output("debugfs", "-R", f"cat {path}", device)).decode(errors="replace")


async def read_esp_file(disk: Path, path: str) -> bytes:
    """A file of the EFI system partition of a disk.

    Raises:
        EvidenceMissing: no such partition, or no such file in it.
    """
    image = f"{disk}@@{await _start_bytes(disk, 'esp')}"
    return await _output("mcopy", "-n", "-i", image, f"::{path}", "-")


async def _start_bytes(disk: Path, role: str) -> int:
    for part in await partitions(disk):
        if part.role == role:
            return part.start_bytes
    raise EvidenceMissing(f"{disk} has no {role} partition")


async def os_release(disk: Path) -> dict[str, str]:
    """The identity of the installed system; where `/etc/os-release` is a link, it is followed."""
    return parse_os_release(await read_file(disk, "/usr/lib/os-release"))


async def is_blank(disk: Path) -> bool:
    """Whether nothing was ever written: the sparse file has no data (lseek(2), SEEK_DATA)."""
    return await asyncio.to_thread(lambda: disk.stat().st_blocks == 0)


async def _output(*argv: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(READ_TIMEOUT_S):
            output, complaint = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        raise EvidenceMissing(f"{argv[0]} did not end in {READ_TIMEOUT_S:.0f} s") from None
    if process.returncode != 0:
        raise EvidenceMissing(f"{' '.join(argv)}: {complaint.decode(errors='replace').strip()}")
    return output
