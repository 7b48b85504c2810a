"""Collecting the files of a boot image from unpacked packages."""

from pathlib import Path

import pytest

from lpmos.images import cpio
from lpmos.images.contents import Contents, merged, merged_links, own_files
from lpmos.model.errors import ImageError
from tests.support.elf_files import program_needing

LIB = "usr/lib/x86_64-linux-gnu"


def write(root: Path, path: str, data: bytes, mode: int = 0o644) -> None:
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(data)
    target.chmod(mode)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write(
        tmp_path, "usr/sbin/tool", program_needing(["libone.so.1", "ld-linux-x86-64.so.2"]), 0o755
    )
    write(tmp_path, f"{LIB}/libone.so.1.2", program_needing(["libtwo.so.2"]))
    (tmp_path / LIB / "libone.so.1").symlink_to("libone.so.1.2")
    write(tmp_path, f"{LIB}/libtwo.so.2", program_needing([]))
    return tmp_path


def test_add_program_brings_libraries_and_what_links_lead_to(root: Path) -> None:
    contents = Contents(root)
    assert contents.add_program("tool", "disk") == "usr/sbin/tool"
    files = {
        path for path, entry in contents.entries().items() if entry.mode & 0o170000 != 0o040000
    }
    assert files == {
        "usr/sbin/tool",
        f"{LIB}/libone.so.1",
        f"{LIB}/libone.so.1.2",
        f"{LIB}/libtwo.so.2",
    }


def test_add_program_makes_every_directory_on_the_way(root: Path) -> None:
    contents = Contents(root)
    contents.add_program("tool", "disk")
    entries = contents.entries()
    assert entries["usr"] == cpio.directory()
    assert entries[LIB] == cpio.directory()


def test_add_program_without_its_library_names_it(root: Path) -> None:
    (root / LIB / "libtwo.so.2").unlink()
    with pytest.raises(ImageError, match=r"part 'disk' hold no file /usr/lib/.*libtwo\.so\.2"):
        Contents(root).add_program("tool", "disk")


def test_add_program_that_no_package_has_names_it(root: Path) -> None:
    with pytest.raises(ImageError, match=r"no program 'mkfs\.zfs'"):
        Contents(root).add_program("mkfs.zfs", "disk")


def test_add_file_follows_an_absolute_link(root: Path) -> None:
    (root / "usr/sbin/other").symlink_to("/sbin/tool")
    contents = Contents(root)
    contents.add_file("/sbin/other", "disk")
    assert contents.entries()["usr/sbin/other"] == cpio.symlink("/sbin/tool")
    assert contents.has_program("tool")


def test_put_keeps_the_first_claim_of_a_path(root: Path) -> None:
    contents = Contents(root)
    contents.put("etc/a", cpio.file(b"first"), "one")
    contents.put("/etc/a", cpio.file(b"second"), "two")
    assert contents.entries()["etc/a"].data == b"first"
    assert set(contents.entries("one")) == {"etc", "etc/a"}
    assert contents.entries("two") == {}


def test_merged_puts_old_places_below_usr() -> None:
    assert merged("/sbin/init") == "usr/sbin/init"
    assert merged("bin") == "bin"
    assert merged("/usr/bin/x") == "usr/bin/x"
    assert dict(merged_links())["lib64"] == cpio.symlink("usr/lib64")


def test_own_files_leave_out_bytecode(tmp_path: Path) -> None:
    write(tmp_path, "a.py", b"")
    write(tmp_path, "__pycache__/a.cpython-311.pyc", b"")
    assert own_files(tmp_path) == [tmp_path / "a.py"]
