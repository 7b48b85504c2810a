"""The loader of an image: what firmware would find, and the evidence where it finds nothing."""

from pathlib import Path

import pytest

from lpmos.agent.errors import InstallError
from lpmos.agent.imagestart import check_bios, find_loader
from lpmos.agent.inventory.tree import Tree


def esp(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"MZ")
    return root


@pytest.mark.parametrize(
    ("names", "loader"),
    [
        (["EFI/BOOT/BOOTX64.EFI", "EFI/debian/shimx64.efi"], "\\EFI\\BOOT\\BOOTX64.EFI"),
        (["efi/boot/bootx64.efi"], "\\efi\\boot\\bootx64.efi"),
        (["EFI/rocky/grubx64.efi", "EFI/rocky/shimx64.efi"], "\\EFI\\rocky\\shimx64.efi"),
        (["EFI/a/x", "EFI/systemd/systemd-bootx64.efi"], "\\EFI\\systemd\\systemd-bootx64.efi"),
    ],
)
def test_loader_is_the_removable_path_or_a_known_one(
    tmp_path: Path, names: list[str], loader: str
) -> None:
    assert find_loader(esp(tmp_path, *names), "image") == loader


@pytest.mark.parametrize(
    ("names", "evidence"),
    [([], "the partition is empty"), (["EFI/BOOT/BOOTAA64.EFI"], "EFI/BOOT/BOOTAA64.EFI")],
)
def test_partition_without_a_loader_fails_with_what_it_holds(
    tmp_path: Path, names: list[str], evidence: str
) -> None:
    with pytest.raises(InstallError, match="no UEFI loader") as failed:
        find_loader(esp(tmp_path, *names), "image")
    assert failed.value.output == evidence
    assert failed.value.hint


@pytest.mark.parametrize(
    ("sector", "starts"),
    [
        (b"\xeb\x63".ljust(510, b"\0") + b"\x55\xaa", True),
        (bytes(510) + b"\x55\xaa", False),
        (bytes(446) + b"\x01".ljust(64, b"\0") + b"\x55\xaa", False),
        (b"\xeb\x63".ljust(512, b"\0"), False),
        (b"", False),
    ],
)
def test_bios_starts_only_what_has_code_and_the_signature(
    tmp_path: Path, sector: bytes, starts: bool
) -> None:
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/vda").write_bytes(sector)
    if starts:
        check_bios(Tree(tmp_path), "/dev/vda", "image")
    else:
        with pytest.raises(InstallError, match="no boot loader for BIOS"):
            check_bios(Tree(tmp_path), "/dev/vda", "image")
