"""Files as an operator supplies them for Windows, made of what their formats say and no Windows.

The WIM files are real where wimlib makes them (`real_wim`), and written from the format's
description where none of its programs is wanted (`wim`).
"""

import struct
import subprocess
from pathlib import Path

from lpmos.images.wim import HEADER, MAGIC, RESOURCE
from lpmos.images.windows_files import WindowsSources

WIMLIB_TIMEOUT_S = 120


def wim(
    images: tuple[str, ...] = ("Windows PE",),
    *,
    boot: int = 1,
    arch: int = 9,
    parts: tuple[int, int] = (1, 1),
    described: str | None = None,
) -> bytes:
    """A WIM file's header and its description, with nothing unpackable in it."""
    text = described if described is not None else _description(images, arch)
    xml = text.encode("utf-16")
    none = RESOURCE.pack(0, 0, 0)
    at = RESOURCE.pack(len(xml) | 0x02 << 56, HEADER.size, len(xml))
    head = HEADER.pack(
        MAGIC, HEADER.size, 0x10D00, 0, 32768, bytes(16), *parts, len(images), none, at, none, boot,
        none,
    )  # fmt: skip
    return head + xml


def _description(images: tuple[str, ...], arch: int) -> str:
    return "<WIM>" + "".join(
        f'<IMAGE INDEX="{number}"><TOTALBYTES>1000000</TOTALBYTES><NAME>{name}</NAME>'
        f"<WINDOWS><ARCH>{arch}</ARCH><LANGUAGES><LANGUAGE>de-DE</LANGUAGE>"
        "<DEFAULT>de-DE</DEFAULT></LANGUAGES></WINDOWS></IMAGE>"
        for number, name in enumerate(images, 1)
    ) + "</WIM>"  # fmt: skip


def real_wim(path: Path, *names: str, boot: int | None = None, check: bool = False) -> Path:
    """A WIM file by wimlib, with an image of a few files for each name, said to be of 64-bit x86.

    Raises:
        subprocess.CalledProcessError: wimlib did not make it.
    """
    tree = path.with_suffix(".tree")
    (tree / "Windows/System32").mkdir(parents=True, exist_ok=True)
    (tree / "Windows/System32/winpeshl.exe").write_bytes(b"MZ" + bytes(4000))
    about = ["WINDOWS/ARCH=9", "WINDOWS/LANGUAGES/DEFAULT=en-US"]
    said = [f"--image-property={each}" for each in about]
    for number, name in enumerate(names, 1):
        do = "capture" if number == 1 else "append"
        marks = [*(["--boot"] if number == boot else []), *(["--check"] if check else [])]
        _wimlib([do, str(tree), str(path), name, *said, *marks])
    return path


def _wimlib(arguments: list[str]) -> None:
    subprocess.run(
        ["wimlib-imagex", *arguments], check=True, capture_output=True, timeout=WIMLIB_TIMEOUT_S
    )


def wimboot() -> bytes:
    """The beginning of wimboot: a program for UEFI, and a bzImage as well."""
    return b"MZ" + bytes(0x200) + b"HdrS" + bytes(200)


def curl_exe(machine: int = 0x8664) -> bytes:
    """The headers of a program for Windows."""
    head = b"MZ" + bytes(0x3A) + struct.pack("<I", 0x80)
    return head + bytes(0x80 - len(head)) + b"PE\0\0" + struct.pack("<H", machine) + bytes(200)


def supplied(directory: Path, *, image: int = 1) -> tuple[Path, Path, WindowsSources]:
    """wimboot, the WIM of Windows PE, and the rest."""
    contents = {
        "wimboot": wimboot(),
        "boot.wim": wim(),
        "BCD": b"regf" + bytes(4096),
        "boot.sdi": b"$SDI0001" + bytes(8192),
        "curl.exe": curl_exe(),
        "install.wim": wim(("Standard", "Datacenter"), boot=0),
    }
    for name, content in contents.items():
        (directory / name).write_bytes(content)
    sources = WindowsSources(
        bcd=directory / "BCD",
        boot_sdi=directory / "boot.sdi",
        curl=directory / "curl.exe",
        install=directory / "install.wim",
        image=image,
    )
    return directory / "wimboot", directory / "boot.wim", sources
