"""Evidence from a disk made by the same tools that made the partitions of a real one."""

import subprocess
from pathlib import Path

import pytest

from lpmos.lab.errors import EvidenceMissing
from lpmos.lab.evidence import is_blank, os_release, partitions, read_file

MIB = 1024 * 1024
TABLE = """label: gpt
start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649
size=16MiB, type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709
"""


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
    return disk


async def test_partitions_of_a_disk_are_its_table(disk: Path) -> None:
    found = [(part.role, part.start_bytes, part.size_bytes) for part in await partitions(disk)]
    assert found == [("bios_boot", MIB, MIB), ("root", 2 * MIB, 16 * MIB)]


async def test_file_of_the_root_file_system_is_read_without_a_mount(disk: Path) -> None:
    assert await read_file(disk, "/etc/hostname") == "web-1\n"
    assert await os_release(disk) == {"ID": "debian", "VERSION_ID": "12"}


async def test_file_that_is_not_there_is_named(disk: Path) -> None:
    with pytest.raises(EvidenceMissing, match="/etc/nosuch is not in the root file system"):
        await read_file(disk, "/etc/nosuch")


async def test_blank_disk_has_no_table_and_holds_nothing(tmp_path: Path, disk: Path) -> None:
    blank = tmp_path / "blank.raw"
    with blank.open("wb") as file:
        file.truncate(MIB)
    assert await is_blank(blank)
    assert not await is_blank(disk)
    with pytest.raises(EvidenceMissing, match="sfdisk"):
        await partitions(blank)
