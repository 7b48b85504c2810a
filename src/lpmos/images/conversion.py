"""Uploaded disk images into the one form that agents stream: the raw disk as a Zstandard frame.

The rule: what was uploaded is believed in nothing. Its header is read here first; `qemu-img` runs
with bounds on memory, processor time, file size and time; decompressors have bounds on memory and
on what they give; and every refusal says what to do. Memory is constant in the image's size.
"""

import gzip
import io
import json
import lzma
import os
import shutil
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, NamedTuple

from backports import zstd

from lpmos.images import qcow2
from lpmos.model.errors import FieldProblem, ImageError, InvalidInput

SourceFormat = Literal["tar.zst", "raw", "qcow2", "raw.zst", "raw.gz", "raw.xz"]
"""What is taken: an archive as it is, a disk as it is, of QEMU, or compressed."""

CHUNK_BYTES = 4 << 20
XZ_CHUNK_BYTES = 256 << 10
"""What follows a stream is copied for each stream, and one of nothing has 32 bytes."""
SPARE_BYTES = 5 << 30
"""What a conversion leaves free: for the image itself, and for what else is on the disk."""
SECTOR_BYTES = 512
HEAD_BYTES = 8192
GPT_SECTORS, GPT_MAGIC = (512, 4096), b"EFI PART"
DISK_BYTES = 1 << 40
"""The largest disk that an image may be of."""
LEVEL = 9
CONVERT_TIMEOUT_S = 3600.0
INFO_TIMEOUT_S = 30.0
QEMU_MEMORY_BYTES = 2 << 30
QEMU_OUTPUT_CHARACTERS = 500
DECODER_MEMORY_BYTES = 512 << 20
_WINDOW_LOG = 27
"""128 MiB, what `zstd -d` takes without being asked for more."""

_LEAKS = 3
"""`qemu-img check` found room that nothing uses, which harms nobody."""
_ROOM = "make room in the images directory, then go on with the upload"

ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
"""RFC 8878 section 3.1.1: how a Zstandard frame begins."""
MAGICS: dict[SourceFormat, bytes] = {
    "tar.zst": ZSTD_MAGIC,
    "raw.zst": ZSTD_MAGIC,
    "raw.gz": b"\x1f\x8b",  # RFC 1952 section 2.3.1
    "raw.xz": b"\xfd7zXZ\x00",  # The .xz File Format, section 2.1.1.1
    "qcow2": qcow2.MAGIC,
}


class Converted(NamedTuple):
    """A disk image as it is kept; `sector_bytes` of the disk it was made on, where its GPT says."""

    path: Path
    disk_bytes: int
    sector_bytes: int | None


def convert(
    source: Path,
    form: SourceFormat,
    scratch: Path,
    *,
    timeout_s: float = CONVERT_TIMEOUT_S,
    spare_bytes: int = SPARE_BYTES,
) -> Converted:
    """Make the image that is kept of an uploaded disk; takes seconds per gigabyte.

    Args:
        source: what was uploaded.
        form: what it is said to be; not `tar.zst`.
        scratch: a directory with room for the image, for qcow2 also for its raw disk.
        timeout_s: how long reading and compressing may take.
        spare_bytes: what the raw disk of a qcow2 image must leave free.

    Raises:
        InvalidInput: it is not what it is said to be, or cannot be a disk to start from.
        ImageError: it could not be converted here; the upload may be finished again.
    """
    deadline_s = time.monotonic() + timeout_s
    target = scratch / "disk.raw.zst"
    raw = scratch / "disk.raw"
    try:
        if form == "qcow2":
            _qcow2_to_raw(source, raw, spare_bytes)
        stored, read = (raw, _stored) if form == "qcow2" else (source, _READERS[form])
        with _Source(stored, deadline_s) as file:
            disk_bytes, sector_bytes = _compress(read(file), target, deadline_s)
    except OSError as error:
        raise ImageError(f"the image could not be converted ({error}): {_ROOM}") from error
    finally:
        raw.unlink(missing_ok=True)
    return Converted(target, disk_bytes, sector_bytes)


def check_beginning(form: SourceFormat, piece: bytes) -> None:
    """Refuse an upload whose first bytes are not of what it is said to be.

    Raises:
        InvalidInput: they are not.
    """
    magic = MAGICS.get(form)
    if magic is not None and not piece.startswith(magic[: len(piece)]):
        named = "Zstandard archive (a .tar.zst is needed)" if form == "tar.zst" else form
        raise InvalidInput(FieldProblem("body", f"is no {named}"))
    if form == "raw":
        for other, begins in MAGICS.items():
            if piece.startswith(begins):
                known = "raw.zst" if other == "tar.zst" else other
                text = f"is no raw disk: say source_format {known!r}"
                raise InvalidInput(FieldProblem("body", text))


def _compress(chunks: Iterator[bytes], target: Path, deadline_s: float) -> tuple[int, int | None]:
    """Write the frame; the bytes of the disk, and of its sectors."""
    options: dict[int, int] = {
        zstd.CompressionParameter.compression_level: LEVEL,
        zstd.CompressionParameter.checksum_flag: 1,
        zstd.CompressionParameter.nb_workers: os.cpu_count() or 1,
    }
    disk_bytes, sector_bytes = 0, None
    with zstd.ZstdFile(target, "w", options=options) as frame:
        for chunk in chunks:
            if disk_bytes == 0:
                sector_bytes = _sector_bytes(chunk[:HEAD_BYTES])
            disk_bytes += len(chunk)
            if disk_bytes > DISK_BYTES:
                raise _refused(f"is of a disk of more than {DISK_BYTES} bytes")
            _check_time(deadline_s)
            frame.write(chunk)
    if disk_bytes == 0 or disk_bytes % SECTOR_BYTES:
        raise _refused(f"is cut off: {disk_bytes} bytes are no whole number of sectors")
    return disk_bytes, sector_bytes


def _check_time(deadline_s: float) -> None:
    if time.monotonic() > deadline_s:
        raise ImageError("the conversion took more than an hour: upload a smaller image")


class _Source(io.FileIO):
    """What is converted; read past the deadline it ends the conversion.

    Compressed members of nothing give no bytes for as long as they last: only who reads them sees
    the time.
    """

    def __init__(self, path: Path, deadline_s: float) -> None:
        super().__init__(path)
        self._deadline_s = deadline_s

    def read(self, size: int | None = -1, /) -> bytes:
        _check_time(self._deadline_s)
        return super().read(size)


def _sector_bytes(head: bytes) -> int | None:
    """Of which sectors a disk is whose first bytes these are; None where its table does not say.

    GPT stands in the second sector (UEFI 2.10, 5.3); a table of a PC in the first, whatever its
    size. A disk to start from has one of them.
    """
    for size in GPT_SECTORS:
        if head[size : size + len(GPT_MAGIC)] == GPT_MAGIC:
            return size
    if head[510:512] == b"\x55\xaa":
        return None
    raise _refused(
        "has no partition table, so no machine starts from it: upload the image of a whole"
        " disk, or the root file system as a .tar.zst"
    )


def _stored(source: _Source) -> Iterator[bytes]:
    while chunk := source.read(CHUNK_BYTES):
        yield chunk


def _zstd(source: _Source) -> Iterator[bytes]:
    options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
    with _decoding("raw.zst"), zstd.ZstdFile(source, options=options) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _gzip(source: _Source) -> Iterator[bytes]:
    with _decoding("raw.gz"), gzip.GzipFile(fileobj=source) as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk


def _xz(source: _Source) -> Iterator[bytes]:
    """One stream or several, each within the memory of a decoder: a dictionary may be of 4 GiB."""

    def stream() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=DECODER_MEMORY_BYTES)

    with _decoding("raw.xz"):
        decoder = stream()
        while True:
            data = b""
            if decoder.eof:
                if not (data := decoder.unused_data or source.read(XZ_CHUNK_BYTES)):
                    return
                decoder = stream()
            elif decoder.needs_input and not (data := source.read(XZ_CHUNK_BYTES)):
                raise EOFError
            if chunk := decoder.decompress(data, CHUNK_BYTES):
                yield chunk


@contextmanager
def _decoding(form: SourceFormat) -> Iterator[None]:
    """What is wrong with a compressed file is wrong with the upload."""
    try:
        yield
    except (zstd.ZstdError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError) as error:
        what = str(error) or "it ends early"
        raise _refused(f"is no whole {form} ({what}): make it again") from error


_READERS: dict[SourceFormat, Callable[[_Source], Iterator[bytes]]] = {
    "raw": _stored,
    "raw.zst": _zstd,
    "raw.gz": _gzip,
    "raw.xz": _xz,
}


def _qcow2_to_raw(source: Path, raw: Path, spare_bytes: int) -> None:
    """Write the raw disk.

    Room for every byte of it is asked for beforehand, so an image with holes that would have fitted
    is refused too: how much of it is holes is known only when it is written.
    """
    with source.open("rb") as file:
        head = file.read(qcow2.HEADER_BYTES)
    try:
        header = qcow2.read_header(head)
    except ValueError as error:
        raise _refused(str(error)) from error
    if header.disk_bytes > DISK_BYTES:
        raise _refused(f"is of a disk of {header.disk_bytes} bytes; {DISK_BYTES} is the most")
    free_bytes = shutil.disk_usage(raw.parent).free
    if header.disk_bytes > free_bytes - spare_bytes:
        raise ImageError(
            f"the raw disk of this image has {header.disk_bytes} bytes, and {spare_bytes} more must"
            f" stay free; {free_bytes} bytes are free: {_ROOM}"
        )
    described = _qemu_img("info", "--output=json", "-f", "qcow2", str(source))
    _check_described(described)
    # What was cut off reads as zeros to `convert`: only a check tells.
    _qemu_img("check", "-f", "qcow2", str(source), fine=(0, _LEAKS))
    _qemu_img("convert", "-f", "qcow2", "-O", "raw", str(source), str(raw), may_write=True)


def _check_described(text: str) -> None:
    """Compare what `qemu-img` itself reads with what is allowed."""
    try:
        described = json.loads(text)
        data = described.get("format-specific", {}).get("data", {})
        others = [
            name
            for name, value in (
                ("a backing file", described.get("backing-filename")),
                ("an external data file", data.get("data-file")),
                ("encryption", described.get("encrypted") or data.get("encrypt")),
            )
            if value
        ]
    except (ValueError, AttributeError) as error:
        raise ImageError(f"qemu-img said nothing that can be read ({error})") from error
    if described.get("format") != "qcow2" or others:
        what = ", ".join(others) or f"the format {described.get('format')}"
        raise _refused(f"has {what}: make a plain copy with `qemu-img convert -O qcow2 OLD NEW`")


def _qemu_img(*arguments: str, may_write: bool = False, fine: tuple[int, ...] = (0,)) -> str:
    """Run `qemu-img` within its bounds; its standard output.

    Raises:
        InvalidInput: it cannot read the image within them.
        ImageError: it, or `prlimit`, is not installed.
    """
    program, limiter = shutil.which("qemu-img"), shutil.which("prlimit")
    if program is None or limiter is None:
        raise ImageError(
            "a qcow2 image is converted by qemu-img, which is not installed: run"
            " `requirements/install region`, then go on with the upload"
        )
    timeout_s = INFO_TIMEOUT_S if arguments[0] == "info" else CONVERT_TIMEOUT_S
    limits = {
        "as": QEMU_MEMORY_BYTES,
        "cpu": int(timeout_s),
        "fsize": DISK_BYTES if may_write else 0,
        "core": 0,
    }
    bounded = [limiter, *(f"--{name}={value}" for name, value in limits.items()), program]
    try:
        ended = subprocess.run(
            [*bounded, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
            check=False,
            env={"PATH": os.defpath, "LC_ALL": "C"},
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired as error:
        raise _refused(f"could not be read by qemu-img in {timeout_s:.0f} s") from error
    if ended.returncode not in fine:
        said = (ended.stderr or ended.stdout).strip()[-QEMU_OUTPUT_CHARACTERS:]
        if "No space left" in said:
            raise ImageError(f"there is no room to convert the image ({said}): {_ROOM}")
        raise _refused(
            f"cannot be read by qemu-img (exit code {ended.returncode}): {said or 'it was stopped'}"
        )
    return ended.stdout


def _refused(what: str) -> InvalidInput:
    return InvalidInput(FieldProblem("body", what))
