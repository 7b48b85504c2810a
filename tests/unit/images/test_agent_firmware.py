"""Choosing firmware files: those that the drivers name, the newest of several releases."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.images.agent_firmware import choose_firmware, is_served, wanted_files
from lpmos.images.agent_manifest import AgentFile, AgentManifest, FirmwarePackage
from lpmos.images.contents import Contents
from lpmos.images.kernel_modules import KernelModule
from lpmos.model.errors import ImageError

BNX2X = ("bnx2x/bnx2x-e2-7.13.15.0.fw", "bnx2x/bnx2x-e1-7.13.15.0.fw")
BNX2X_NEWER = ("bnx2x/bnx2x-e2-7.13.21.0.fw", "bnx2x/bnx2x-e1-7.13.21.0.fw")
REALTEK = ("rtl_nic/rtl8168d-1.fw", "rtl_nic/rtl8168d-2.fw")


def module(name: str, *firmware: str) -> KernelModule:
    return KernelModule(name=name, path=f"kernel/{name}.ko", firmware=firmware)


def tree(
    directory: Path, package: str, files: Mapping[str, str], place: str = "lib/firmware"
) -> Path:
    """An unpacked package; its files by name below `/lib/firmware`."""
    root = directory / package
    terms = root / "usr/share/doc" / package.partition("_")[0] / "copyright"
    for path, text in ((terms, "terms"), *((root / place / n, t) for n, t in files.items())):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_wanted_files_of_several_releases_are_the_newest() -> None:
    assert wanted_files(BNX2X + BNX2X_NEWER, BNX2X + BNX2X_NEWER) == set(BNX2X_NEWER)
    assert wanted_files(["a-9.0.0.bin", "a-10.0.0.bin"], ["a-9.0.0.bin", "a-10.0.0.bin"]) == {
        "a-10.0.0.bin"
    }


def test_wanted_files_of_an_older_release_alone_are_that_one() -> None:
    assert wanted_files(BNX2X + BNX2X_NEWER, BNX2X) == set(BNX2X)
    assert is_served(BNX2X + BNX2X_NEWER, BNX2X)


def test_wanted_files_keep_what_is_of_different_chips() -> None:
    assert wanted_files(REALTEK, REALTEK) == set(REALTEK)


def test_wanted_files_follow_patterns_and_nothing_else() -> None:
    held = ["nic/a.bin", "nic/b.bin", "nic/b.txt", "other/a.bin"]
    assert wanted_files(["nic/*.bin"], held) == {"nic/a.bin", "nic/b.bin"}


@pytest.mark.parametrize("held", [[], BNX2X[:1], [*BNX2X[:1], *BNX2X_NEWER[:1]]])
def test_driver_without_one_of_its_files_is_not_served(held: list[str]) -> None:
    assert not is_served(BNX2X + BNX2X_NEWER, held)


def test_driver_that_names_no_file_is_served() -> None:
    assert is_served((), ())


RELEASES = st.tuples(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20))
NAMES = st.builds(
    lambda stem, release: f"{stem}-{'.'.join(map(str, release))}.fw",
    st.sampled_from(["a", "b", "b-1", "dir/a"]),
    RELEASES,
)


@given(st.lists(NAMES, max_size=8), st.sets(NAMES, max_size=8))
def test_each_file_that_is_held_comes_in_its_newest_release_once(
    patterns: list[str], held: set[str]
) -> None:
    expected: dict[str, tuple[int, ...]] = {}
    for name in held & set(patterns):
        stem, _, release = name.removesuffix(".fw").rpartition("-")
        number = tuple(map(int, release.split(".")))
        expected[stem] = max(expected.get(stem, number), number)
    wanted = {f"{stem}-{'.'.join(map(str, n))}.fw" for stem, n in expected.items()}
    assert wanted_files(patterns, held) == wanted
    stems = {name.rpartition("-")[0] for name in patterns}
    assert is_served(patterns, held) == (stems == set(expected))


@given(st.lists(st.text(max_size=12), max_size=5), st.sets(st.text(max_size=12), max_size=5))
def test_any_names_choose_only_from_what_is_held(patterns: list[str], held: set[str]) -> None:
    assert wanted_files(patterns, held) <= held
    assert is_served(patterns, held) in {True, False}


def test_choice_says_what_comes_from_which_package_and_who_lacks_theirs(tmp_path: Path) -> None:
    trees = [
        tree(tmp_path, "firmware-nic_1%3a2.0-5_all", {"nic/a.bin": "a", "nic/unasked.bin": "u"}),
        tree(tmp_path, "firmware-disk_3_all", {"disk.bin": "d", "nic/a.bin": "other"}),
        tree(tmp_path, "firmware-none_1_all", {"none.bin": "n"}),
    ]
    modules = [module("nic", "nic/a.bin"), module("hba", "disk.bin", "gone.bin"), module("ext4")]
    chosen = choose_firmware(modules, trees)
    assert chosen.packages == (
        FirmwarePackage(
            name="firmware-nic",
            version="1:2.0-5",
            licence="/usr/share/doc/firmware-nic/copyright",
            files=("nic/a.bin",),
        ),
        FirmwarePackage(
            name="firmware-disk",
            version="3",
            licence="/usr/share/doc/firmware-disk/copyright",
            files=("disk.bin",),
        ),
    )
    assert chosen.modules_wanting == ("hba",)
    contents = Contents(tmp_path)
    chosen.add_to(contents)
    files = {path: e.data for path, e in contents.entries("firmware").items() if e.data}
    assert files == {
        "usr/lib/firmware/nic/a.bin": b"a",
        "usr/lib/firmware/disk.bin": b"d",
        "usr/share/doc/firmware-nic/copyright": b"terms",
        "usr/share/doc/firmware-disk/copyright": b"terms",
    }


def test_choice_follows_links_inside_a_package_and_none_out_of_it(tmp_path: Path) -> None:
    here = tree(tmp_path, "firmware-x_1_all", {"x-1.0.0.bin": "x"}, place="usr/lib/firmware")
    (here / "usr/lib/firmware/x.bin").symlink_to("x-1.0.0.bin")
    (tmp_path / "host.bin").write_text("of the machine that builds")
    (here / "usr/lib/firmware/out.bin").symlink_to(tmp_path / "host.bin")
    chosen = choose_firmware([module("x", "x.bin"), module("y", "out.bin")], [here])
    assert chosen.packages[0].files == ("x.bin",)
    assert chosen.files["/lib/firmware/x.bin"].read_text() == "x"
    assert chosen.modules_wanting == ("y",)


def test_choice_from_a_package_without_licence_is_refused(tmp_path: Path) -> None:
    bare = tree(tmp_path, "firmware-x_1_all", {"x.bin": "x"})
    (bare / "usr/share/doc/firmware-x/copyright").unlink()
    with pytest.raises(ImageError, match="firmware-x brings no licence"):
        choose_firmware([module("x", "x.bin")], [bare])


def test_manifest_without_firmware_is_written_as_before() -> None:
    file = AgentFile(sha256="0" * 64, size_bytes=1)
    manifest = AgentManifest(
        version="1", recipe="r", architecture="x86_64", kernel_version="6", compression="zstd -3",
        built_at=datetime(2026, 1, 1, tzinfo=UTC), kernel=file, initramfs=file, payload_bytes=1,
        parts=(), modules=0, unknown_modules=(), modules_wanting_firmware=("bnx2",), packages=(),
    )  # fmt: skip
    written = msgspec.json.decode(msgspec.json.encode(manifest))
    assert not {"firmware", "with_firmware"} & set(written)
    assert msgspec.convert(written, AgentManifest) == manifest
