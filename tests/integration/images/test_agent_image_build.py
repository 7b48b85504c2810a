"""The boot agent's image, built for real: what is in it, that it is the same twice, its limits."""

import contextlib
import shutil
import stat
import subprocess
from pathlib import Path

import msgspec
import pytest

from lpmos.images.agent_image import BuiltAgent, build_agent_image, is_of_this_version
from lpmos.images.agent_parts import NON_FREE_FIRMWARE, PARTS, PAYLOAD_LIMIT_BYTES
from lpmos.images.catalog import Catalog
from lpmos.images.contents import merged
from lpmos.images.debian_packages import fetch_packages
from lpmos.images.progress import silent
from lpmos.images.target_python import program
from lpmos.model.errors import ImageError
from tests.support.agent_images import build_quickly, build_with_inspector
from tests.support.cpio_reader import Member, read_newc
from tests.support.lab_images import CACHE_DIR

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def built() -> BuiltAgent:
    return build_quickly()


@pytest.fixture(scope="module")
def files(built: BuiltAgent) -> dict[str, Member]:
    return unpacked(built)


def unpacked(image: BuiltAgent) -> dict[str, Member]:
    command = ["zstd", "-dc", str(image.image.initramfs)]
    return read_newc(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def packages_root() -> Path:
    """The unpacked packages that the last build used."""
    return max(CACHE_DIR.glob("root-*"), key=lambda path: path.stat().st_mtime)


def test_build_of_the_same_recipe_is_reused_and_gives_the_same_bytes_where_forced(
    built: BuiltAgent, tmp_path: Path
) -> None:
    catalog = Catalog(tmp_path)
    for path in (built.image.kernel, built.image.initramfs):
        shutil.copy(path, tmp_path)
    catalog.put_agent(built.manifest, tmp_path / "vmlinuz", tmp_path / "initramfs")
    assert build_quickly(tmp_path).reused
    again = build_quickly(tmp_path, force=True)
    assert not again.reused
    assert again.manifest.initramfs == built.manifest.initramfs  # their digests
    assert again.manifest.kernel == built.manifest.kernel


def test_image_of_another_recipe_is_not_of_this_version(built: BuiltAgent) -> None:
    assert is_of_this_version(built.manifest)
    assert not is_of_this_version(msgspec.structs.replace(built.manifest, recipe="older"))


def test_build_keeps_the_payload_under_its_limit(built: BuiltAgent) -> None:
    assert built.manifest.payload_bytes < PAYLOAD_LIMIT_BYTES


def test_build_accounts_for_every_byte_of_the_initramfs(built: BuiltAgent) -> None:
    shares = sum(part.compressed_bytes for part in built.manifest.parts)
    assert abs(shares - built.manifest.initramfs.size_bytes) <= len(built.manifest.parts)
    assert all(part.files for part in built.manifest.parts)


def test_build_finds_every_module_of_the_table_in_the_kernel(built: BuiltAgent) -> None:
    assert built.manifest.unknown_modules == ()


def test_initramfs_has_what_the_agent_runs(files: dict[str, Member]) -> None:
    programs = {program for part in PARTS for program in part.programs}
    programs |= {"mkfs.ext4", "mkfs.vfat", "python3"}
    programs |= {"mount", "umount", "chroot", "modprobe", "udhcpc", "ip", "reboot"}
    missing = [p for p in programs if not {f"usr/bin/{p}", f"usr/sbin/{p}"} & set(files)]
    assert missing == []
    assert "usr/lib/lpmos/lpmos/agent/__main__.pyc" in files
    assert "init" in files
    assert files["init"].mode & 0o111


def test_initramfs_belongs_to_root_and_holds_no_sources(files: dict[str, Member]) -> None:
    assert {(member.owner, member.group) for member in files.values()} == {(0, 0)}
    sources = [path for path in files if path.endswith(".py")]
    assert sources == ["usr/lib/python3.11/os.py"]


def test_initramfs_names_no_path_of_the_machine_that_built(files: dict[str, Member]) -> None:
    tree = Path.cwd().iterdir()  # not the tree's own path: it may be /lpmos, as in the image
    places = [str(place).encode() for place in (CACHE_DIR, *tree)]
    assert [p for p, m in files.items() if any(place in m.data for place in places)] == []


def test_modules_dep_agrees_with_depmod(files: dict[str, Member], tmp_path: Path) -> None:
    """kmod's own depmod, run over the modules of the image, finds the same dependencies."""
    index = next(path for path in files if path.endswith("/modules.dep"))
    base = index.removesuffix("/modules.dep")
    version = base.rpartition("/")[2]
    for path, member in files.items():
        if path.startswith(base) and path.endswith((".ko", "modules.builtin")):
            target = tmp_path / "lib/modules" / version / path.removeprefix(f"{base}/")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(member.data)
    root = packages_root()
    depmod = tmp_path / "depmod"  # kmod looks at the name that it is called by
    shutil.copy(root / "usr/bin/kmod", depmod)
    command = [str(part) for part in program(root, "", "-b", str(tmp_path), version)]
    command[3] = str(depmod)
    subprocess.run(command, check=True, capture_output=True)
    theirs = (tmp_path / "lib/modules" / version / "modules.dep").read_text()
    assert dependencies(files[index].data.decode()) == dependencies(theirs)


def dependencies(text: str) -> dict[str, set[str]]:
    lines = (line.partition(":") for line in text.splitlines())
    return {path: set(rest.split()) for path, _, rest in lines}


def test_firmware_is_what_the_drivers_name_and_the_same_twice(tmp_path: Path) -> None:
    first = build_with_inspector(tmp_path / "first", firmware=True)
    missing = set(first.missing_firmware)  # of a mirror that has free software alone
    assert bool(first.manifest.modules_wanting_firmware) == bool(missing)
    held = {package.name for package in first.manifest.firmware}
    assert held >= set(NON_FREE_FIRMWARE) - missing and not held & missing
    again = build_with_inspector(tmp_path / "again", firmware=True)
    assert again.manifest.initramfs == first.manifest.initramfs
    files = unpacked(first)
    described = {
        path
        for package in first.manifest.firmware
        for path in (package.licence, *(f"/lib/firmware/{name}" for name in package.files))
    }
    places = ("usr/lib/firmware/", "usr/share/doc/")
    held = {p for p, m in files.items() if p.startswith(places) and stat.S_ISREG(m.mode)}
    assert held == {merged(path) for path in described}


def test_build_without_firmware_has_none_and_names_the_drivers(
    built: BuiltAgent, files: dict[str, Member]
) -> None:
    assert not [path for path in files if "lib/firmware" in path]
    assert built.manifest.firmware == ()
    assert {"bnx2x", "ice", "qla2xxx"} <= set(built.manifest.modules_wanting_firmware)


def test_image_without_firmware_is_of_this_version_and_not_taken_for_one_with_it(
    built: BuiltAgent,
) -> None:
    assert is_of_this_version(built.manifest)
    other = msgspec.structs.replace(built.manifest, with_firmware=True)
    assert not is_of_this_version(other)


def test_build_with_an_agent_that_imports_what_is_left_out_is_refused(tmp_path: Path) -> None:
    agent = tmp_path / "lpmos" / "agent"
    agent.mkdir(parents=True)
    (agent.parent / "__init__.py").write_text("")
    (agent / "__init__.py").write_text("")
    (agent / "__main__.py").write_text("def later():\n    import tkinter\n")
    with pytest.raises(ImageError, match="No module named 'tkinter'"):
        build_agent_image(
            tmp_path / "images",
            CACHE_DIR,
            compression_level=1,
            firmware=False,
            lpmos_package=agent.parent,
        )
    assert Catalog(tmp_path / "images").agent_manifest() is None


def test_packages_are_kept_in_a_cache_directory_named_from_here(tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path), pytest.raises(ImageError, match="no-such-package"):
        fetch_packages(["no-such-package"], [], Path("build/cache"), silent)
    assert (tmp_path / "build/cache/apt-state/lists").is_dir()


def test_build_from_a_mirror_that_does_not_answer_shows_what_apt_said(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="apt-get update") as raised:
        build_agent_image(
            tmp_path / "images", tmp_path / "cache", mirror="http://127.0.0.1:9/debian"
        )
    assert "127.0.0.1" in str(raised.value)
    assert Catalog(tmp_path / "images").agent_manifest() is None
