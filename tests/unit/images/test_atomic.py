"""Files that appear whole or not at all."""

import os
import time
from pathlib import Path

import pytest

from lpmos.images.atomic import (
    ABANDONED_S,
    UNFINISHED,
    point_link,
    remove_directory,
    scratch_directory,
    sha256_of,
    write_file,
)


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_write_file_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"one")
    write_file(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert names(tmp_path) == ["a"]


def test_write_file_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_file(tmp_path / "a", b"two")
    assert names(tmp_path) == ["a"]


def test_point_link_replaces_a_link(tmp_path: Path) -> None:
    point_link(tmp_path / "link", "one")
    point_link(tmp_path / "link", "two")
    assert (tmp_path / "link").readlink() == Path("two")
    assert names(tmp_path) == ["link"]


def test_scratch_directory_is_gone_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), scratch_directory(tmp_path / "new") as scratch:
        (scratch / "file").touch()
        raise RuntimeError
    assert names(tmp_path / "new") == []


def test_scratch_directory_that_was_renamed_stays(tmp_path: Path) -> None:
    with scratch_directory(tmp_path) as scratch:
        scratch.rename(tmp_path / "kept")
    assert names(tmp_path) == ["kept"]


def test_directory_is_removed_and_of_a_link_the_link_alone(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a")
    remove_directory(tmp_path / "link")
    assert names(tmp_path) == ["a"]
    remove_directory(tmp_path / "a")
    assert names(tmp_path) == []
    with pytest.raises(FileNotFoundError):
        remove_directory(tmp_path / "a")


def test_scratch_directory_removes_only_what_was_abandoned(tmp_path: Path) -> None:
    old, young = tmp_path / f"{UNFINISHED}old", tmp_path / f"{UNFINISHED}young"
    for path in (old, young):
        path.mkdir()
    long_ago = time.time() - ABANDONED_S - 1
    os.utime(old, (long_ago, long_ago))
    with scratch_directory(tmp_path):
        pass
    assert names(tmp_path) == [young.name]


def test_sha256_of_is_that_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    assert sha256_of(tmp_path / "empty") == (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
