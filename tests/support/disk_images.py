"""Images of whole disks that are just enough to be installed: a table, a root, and a boot sector.

Made in a file by `sfdisk` and `mke2fs` or `mkfs.btrfs` alone: no mount, no loop device.
"""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

MIB = 1 << 20
ROOT_TYPE = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
ROOT_START, ROOT_BYTES = 2 * MIB, 44 * MIB
DISK_BYTES = 48 * MIB
ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\x00"
X86_64, ARM_64 = ELF + b"\x3e\x00", ELF + b"\xb7\x00"
BOOT_CODE = b"\xeb\x63\x90" + b"GRUB"
SYSTEM: Mapping[str, bytes] = {
    "etc/os-release": b"ID=tiny\n",
    "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
    "etc/ssh/ssh_host_rsa_key": b"shared",
    "etc/fstab": b"LABEL=root / ext4 defaults 0 1\n",
    "usr/bin/sh": X86_64,
}


def disk_image(
    directory: Path,
    *,
    label: str = "gpt",
    files: Mapping[str, bytes] = SYSTEM,
    boot_code: bytes = BOOT_CODE,
    filesystem: Literal["ext4", "btrfs"] | None = "ext4",
) -> Path:
    """A raw disk of `DISK_BYTES`; on `gpt` with a BIOS boot partition before its root."""
    raw = directory / "disk.raw"
    with raw.open("wb") as file:
        file.truncate(DISK_BYTES)
    kind = ROOT_TYPE if label == "gpt" else "83"
    table = f"label: {label}\n"
    if label == "gpt":
        table += "1 : start=1MiB, size=1MiB, type=21686148-6449-6E6F-744E-656564454649\n"
    number = 2 if label == "gpt" else 1
    table += f"{number} : start=2MiB, size=44MiB, type={kind}\n"
    run("sfdisk", "--quiet", str(raw), stdin=table)
    with raw.open("r+b") as file:
        file.write(boot_code[:440])
    if filesystem is None:
        return raw
    root = directory / "root"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    root.mkdir(exist_ok=True)
    if filesystem == "ext4":
        options = ("-E", f"offset={ROOT_START}", "-d", str(root), "-L", "root")
        run("mke2fs", "-q", "-F", "-t", "ext4", *options, str(raw), f"{ROOT_BYTES // 1024}k")
        return raw
    part = directory / "root.btrfs"
    with part.open("wb") as file:
        file.truncate(ROOT_BYTES)
    # Mixed block groups alone let one be so small (mkfs.btrfs(8)).
    run("mkfs.btrfs", "-q", "--mixed", "--rootdir", str(root), "-L", "root", str(part))
    with raw.open("r+b") as file:
        file.seek(ROOT_START)
        file.write(part.read_bytes())
    return raw


def zstd(raw: Path) -> bytes:
    """A disk as the region serves it."""
    return subprocess.check_output(["zstd", "-q", "-3", "-c", raw])


@contextmanager
def loop_device(backing: Path) -> Iterator[str]:
    """A file as a disk of this machine: the kernel's name of a loop device."""
    device = run("losetup", "--find", "--show", "--partscan", str(backing)).strip()
    try:
        yield device.removeprefix("/dev/")
    finally:
        subprocess.run(["partx", "--delete", device], check=False, capture_output=True)
        subprocess.run(["losetup", "--detach", device], check=True)


def run(*argv: str, stdin: str | None = None) -> str:
    """What a program prints."""
    return subprocess.run(argv, input=stdin, check=True, text=True, capture_output=True).stdout
