"""Flags and files of a new task, as they are sent."""

import argparse
from pathlib import Path

import pytest

from lpmos.cli.failures import Usage
from lpmos.cli.main import parser
from lpmos.cli.task_create import body_of, place_of


def chosen(*words: str) -> argparse.Namespace:
    return parser("task").parse_args(["task", "create", *words])


def test_body_holds_only_what_is_given() -> None:
    given = chosen("--mac", "x", "--os", "debian", "12")
    assert body_of(given) == {"os_type": "debian", "os_version": "12"}
    assert place_of(given) == {"mac": "x"}


def test_body_has_the_kernel_arguments_as_one_text() -> None:
    body = body_of(chosen("--kernel-arguments", "console=ttyS1,115200n8 nomodeset"))
    assert body == {"kernel_arguments": "console=ttyS1,115200n8 nomodeset"}


def test_body_of_a_file_yields_to_flags(tmp_path: Path) -> None:
    file = tmp_path / "task.json"
    file.write_text('{"os_type": "debian", "hostname": "a", "extra": 1}')
    body = body_of(chosen("--from", str(file), "--hostname", "b"))
    assert body == {"os_type": "debian", "hostname": "b", "extra": 1}


def test_body_types_the_hints_of_the_root_disk() -> None:
    hints = ("serial=1", "min_size_bytes=8", "rotational=no", "overwrite=yes")
    body = body_of(chosen(*(word for hint in hints for word in ("--root-disk", hint))))
    assert body["root_disk"] == {
        "serial": "1", "min_size_bytes": 8, "rotational": False, "overwrite": True,
    }  # fmt: skip


def test_body_has_the_disk_layout_by_name_as_json_or_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "layout.json"
    file.write_text('{"raid": "raid1"}')
    (passphrase := tmp_path / "passphrase").write_text("correct horse\n")
    assert body_of(chosen("--disk-layout", "raid5")) == {"disk_layout": "raid5"}
    for layout in (f"@{file}", ' {"raid": "raid1"}'):
        body = body_of(chosen("--disk-layout", layout, "--disk-passphrase-file", str(passphrase)))
        assert body == {"disk_layout": {"raid": "raid1"}, "disk_passphrase": "correct horse"}


@pytest.mark.parametrize(
    "words",
    [("--root-disk", "overwrite=maybe"), ("--disk-layout", "{"), ("--disk-layout", "@/nonexistent"),
     ("--disk-passphrase-file", "/nonexistent"), ("--root-disk", "nvme=1"),
     ("--root-disk", "min_size_bytes=8GB"),
     ("--gateway", "192.0.2.1"), ("--from", "/nonexistent"), ("--ssh-key-file", "/nonexistent")],
)  # fmt: skip
def test_body_that_cannot_be_sent_is_refused(words: tuple[str, ...]) -> None:
    with pytest.raises(Usage):
        body_of(chosen(*words))


@pytest.mark.parametrize("content", [b"[1]", b"{", b"\xff", b"[" * 100_000])
def test_body_of_a_file_that_is_no_object_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "task.json"
    file.write_bytes(content)
    with pytest.raises(Usage):
        body_of(chosen("--from", str(file)))
