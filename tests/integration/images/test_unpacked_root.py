"""Packages unpacked over one another: the tree that was just made is the one that stays."""

import os
import subprocess
from pathlib import Path

from lpmos.images.debian_packages import KEPT_ROOTS, unpacked_root

CONTROL = (
    "Package: old\nVersion: 1\nArchitecture: all\nMaintainer: nobody <n@example>\nDescription: x\n"
)
LONG_AGO_S = 86_400


def make_package(directory: Path) -> Path:
    """A package whose directories are of long ago, as those of a distribution are."""
    tree = directory / "tree"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(CONTROL)
    (tree / "etc").mkdir()
    (tree / "etc" / "old.conf").write_text("here\n")
    os.utime(tree, (LONG_AGO_S, LONG_AGO_S))
    package = directory / "old_1_all.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, package], check=True)
    return package


def test_newest_tree_stays_however_old_its_packages_are(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for number in range(KEPT_ROOTS):
        (cache / f"root-before{number}").mkdir(parents=True)
    root = unpacked_root([make_package(tmp_path)], cache, lambda *_: None)
    assert (root / "etc" / "old.conf").read_text() == "here\n"
    assert len(list(cache.glob("root-*"))) == KEPT_ROOTS
