"""Evidence from a disk made by the same tools that made the partitions of a real one."""

import subprocess
from pathlib import Path

import pytest

from lpmos.lab.errors import EvidenceMissing
from lpmos.lab.evidence import is_blank, os_release, partitions, read_esp_file, read_file

MIB = 1024 * 1024
TABLE = """label: gpt
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649
size=16MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
size=4MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
"""
EFI_PROGRAM = b"MZ" + bytes(range(256))


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "usr/lib").mkdir(parents=True)
    (root / "etc/hostname").write_text("web-1\n")
    (root / "usr/lib/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
    disk = tmp_path / "disk.raw"
    with disk.open("wb") as file:
        file.truncate(24 * MIB)
    subprocess.run(["sfdisk", "-q", disk], input=TABLE, text=True, check=True)
    options = ("-q", "-F", "-t", "ext4", "-E", f"offset={2 * MIB}", "-d", root)
    subprocess.run(["mke2fs", *options, disk, "16M"], check=True)
    esp = f"{disk}@@{18 * MIB}"
    (root / "program").write_bytes(EFI_PROGRAM)
    subprocess.run(["mformat", "-i", esp, "-T", str(4 * MIB // 512), "::"], check=True)
    subprocess.run(["mmd", "-i", esp, "::/EFI"], check=True)
    subprocess.run(["mcopy", "-i", esp, root / "program", "::/EFI/A.EFI"], check=True)
    return disk


async def test_partitions_of_a_disk_are_its_table(disk: Path) -> None:
    found = [(part.role, part.start_bytes, part.size_bytes) for part in await partitions(disk)]
    assert found == [
        ("bios_boot", MIB, MIB),
        ("root", 2 * MIB, 16 * MIB),
        ("esp", 18 * MIB, 4 * MIB),
    ]


async def test_file_of_the_root_file_system_is_read_without_a_mount(disk: Path) -> None:
    assert await read_file(disk, "/etc/hostname") == "web-1\n"
    assert await os_release(disk) == {"ID": "debian", "VERSION_ID": "12"}


async def test_file_that_is_not_there_is_named(disk: Path) -> None:
    with pytest.raises(EvidenceMissing, match="/etc/nosuch is not in the root file system"):
        await read_file(disk, "/etc/nosuch")


async def test_file_of_the_efi_system_partition_is_read_without_a_mount(disk: Path) -> None:
    assert await read_esp_file(disk, "/EFI/A.EFI") == EFI_PROGRAM
    with pytest.raises(EvidenceMissing, match=r"B\.EFI"):
        await read_esp_file(disk, "/EFI/B.EFI")


async def test_blank_disk_has_no_table_and_holds_nothing(tmp_path: Path, disk: Path) -> None:
    blank = tmp_path / "blank.raw"
    with blank.open("wb") as file:
        file.truncate(MIB)
    assert await is_blank(blank)
    assert not await is_blank(disk)
    with pytest.raises(EvidenceMissing, match="has no GPT"):
        await partitions(blank)
