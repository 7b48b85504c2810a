"""Files of a plan stay inside the new root, whatever links an image brings."""

import string
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpmos.agent.errors import InstallError
from lpmos.agent.plan import File
from lpmos.agent.rootfiles import RootFiles

parts = st.sampled_from(["a", "b", "link", "up", "abs", "loop", "..", ".", ""])


def _root(where: Path) -> Path:
    root = where / "root"
    (root / "a").mkdir(parents=True)
    (root / "link").symlink_to("a/b")
    (root / "up").symlink_to("../../../..")
    (root / "abs").symlink_to("/a")
    (root / "loop").symlink_to("loop")
    return root


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(parts, min_size=1, max_size=6))
def test_inside_never_leaves_the_root(tmp_path: Path, names: list[str]) -> None:
    root = tmp_path / "root"
    if not root.exists():
        _root(tmp_path)
    files = RootFiles(root, {})
    try:
        found = files.inside("/" + "/".join(names))
    except InstallError:
        return
    assert found.parent.resolve().is_relative_to(root.resolve())
    assert found != root


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(string.printable, max_size=12))
def test_inside_of_any_text_is_a_path_or_refused(tmp_path: Path, path: str) -> None:
    try:
        RootFiles(tmp_path, {}).inside(path)
    except InstallError as error:
        assert error.hint


def test_write_fills_placeholders_and_sets_the_mode(tmp_path: Path) -> None:
    files = RootFiles(_root(tmp_path), {"ROOT_UUID": "r-1", "ESP_UUID": "E-2"})
    files.write(File("/etc/{{ESP_UUID}}/fstab", "UUID={{ROOT_UUID}} / ext4\n", 0o600))
    written = tmp_path / "root/etc/E-2/fstab"
    assert written.read_text() == "UUID=r-1 / ext4\n"
    assert written.stat().st_mode & 0o7777 == 0o600


@pytest.mark.parametrize("word", ["{{UUID:p9}}", "{{ARRAY_UUID:md-other}}"])
def test_write_of_a_block_that_there_is_not_is_refused(word: str, tmp_path: Path) -> None:
    files = RootFiles(_root(tmp_path), {"UUID:p3": "u-3"})
    files.write(File("/etc/fstab", "UUID={{UUID:p3}} {{OTHER}}\n", 0o644))
    assert (tmp_path / "root/etc/fstab").read_text() == "UUID=u-3 {{OTHER}}\n"
    with pytest.raises(InstallError, match="no such block"):
        files.write(File("/etc/fstab", f"UUID={word}\n", 0o644))


def test_write_replaces_a_link_and_leaves_its_target(tmp_path: Path) -> None:
    root = _root(tmp_path)
    outside = tmp_path / "resolv.conf"
    outside.write_text("mine")
    (root / "resolv.conf").symlink_to(outside)
    RootFiles(root, {}).write(File("/resolv.conf", "new", 0o644))
    assert outside.read_text() == "mine"
    assert (root / "resolv.conf").read_text() == "new"


def test_write_over_a_read_only_file_replaces_its_text(tmp_path: Path) -> None:
    files = RootFiles(_root(tmp_path), {})
    files.write(File("/machine", "a longer text", 0o444))
    files.write(File("/machine", "short", 0o444))
    assert (tmp_path / "root/machine").read_text() == "short"


@pytest.mark.parametrize("path", ["etc/x", "/etc/", "/", "/..", "", "/loop/x", "/a/\0"])
def test_write_to_no_file_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(InstallError):
        RootFiles(_root(tmp_path), {}).write(File(path, "", 0o644))


def test_write_where_a_directory_stands_says_which_path(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="/a"):
        RootFiles(_root(tmp_path), {}).write(File("/a", "", 0o644))


def test_reset_machine_id_empties_it_and_removes_the_copy(tmp_path: Path) -> None:
    root = _root(tmp_path)
    copy = root / "var/lib/dbus/machine-id"
    copy.parent.mkdir(parents=True)
    copy.write_text("0123")
    RootFiles(root, {}).reset_machine_id()
    assert (root / "etc/machine-id").read_bytes() == b""
    assert not copy.exists()
