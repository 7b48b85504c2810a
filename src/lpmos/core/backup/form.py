"""The file of a backup: a manifest, then every record, compressed.

    zstd skippable frame (RFC 8878, section 3.1.2) of `HEAD_BYTES`: the manifest as JSON, its digest
    zstd frame: for each record its length in 4 bytes (big-endian) and MessagePack `[key, value]`

`zstd -dc` passes over the manifest and gives the records. The rule: a file under its own name is
whole. It is written under another, comes to the disk, is checked, and is renamed at the very end.
"""

import hashlib
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import IO, NamedTuple

import msgspec
from backports import zstd

from lpmos.core.backup.kinds import kind_of
from lpmos.model.errors import DamagedBackup

FORMAT = 1
HEAD_BYTES = 4096
SUFFIX = ".backup.zst"
LEVEL = 6
BATCH = 500
RECORD_LIMIT_BYTES = 4 << 20
_CHUNK_BYTES = 1 << 18
_SKIPPABLE = 0x184D2A50
_FRAME = struct.Struct("<II")
_LENGTH = struct.Struct(">I")
_CLUSTER_CHARACTERS = 200


class Record(NamedTuple):
    """One key of the store and its value."""

    key: str
    value: bytes


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup is: when and of which cluster it was made, and what it holds.

    All records are as the store had them at `revision`. `counts` are the records by kind; `sha256`
    is over the records as they are before they are compressed, `content_bytes` of them.
    """

    format: int = FORMAT
    made_at: datetime
    cluster: str
    version: str
    revision: int
    records: int
    counts: dict[str, int]
    content_bytes: int
    sha256: str


class _Head(msgspec.Struct, frozen=True):
    manifest: Manifest
    sha256: str


class Tally:
    """Counts and digests records as they pass."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.content_bytes = 0
        self._digest = hashlib.sha256()

    def add(self, key: str, framed: bytes) -> None:
        """Take in one record as it stands in the file."""
        self.counts[kind_of(key)] += 1
        self.content_bytes += len(framed)
        self._digest.update(framed)

    def manifest(self, *, made_at: datetime, cluster: str, version: str, revision: int) -> Manifest:
        """The manifest of what has passed."""
        return Manifest(
            made_at=made_at,
            cluster=cluster[:_CLUSTER_CHARACTERS],
            version=version,
            revision=revision,
            records=self.counts.total(),
            counts=dict(sorted(self.counts.items())),
            content_bytes=self.content_bytes,
            sha256=self._digest.hexdigest(),
        )

    def holds(self, manifest: Manifest) -> bool:
        """Whether what has passed is what the manifest says."""
        return (
            self._digest.hexdigest() == manifest.sha256
            and self.content_bytes == manifest.content_bytes
            and dict(self.counts) == manifest.counts
            and self.counts.total() == manifest.records
        )


def framed(record: Record) -> bytes:
    """One record as it stands in the file."""
    packed = msgspec.msgpack.encode(tuple(record))
    return _LENGTH.pack(len(packed)) + packed


class BackupWriter:
    """Writes a file that only its owner may read; it is whole after `seal`, and not before.

    Every method blocks on the disk, and raises OSError where that is full or broken.
    """

    def __init__(self, path: Path) -> None:
        """`path` must not exist."""
        self.tally = Tally()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file: IO[bytes] = os.fdopen(descriptor, "wb")
        self._compressor = zstd.ZstdCompressor(
            options={
                zstd.CompressionParameter.compression_level: LEVEL,
                zstd.CompressionParameter.checksum_flag: 1,
            }
        )
        self._file.write(bytes(HEAD_BYTES))

    def add(self, records: Iterable[Record]) -> None:
        """Write these next."""
        for record in records:
            frame = framed(record)
            self.tally.add(record.key, frame)
            self._file.write(self._compressor.compress(frame))

    def seal(self, manifest: Manifest) -> None:
        """Write the manifest, and have all of it on the disk."""
        self._file.write(self._compressor.flush())
        self._file.seek(0)
        self._file.write(_head(manifest))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def close(self) -> None:
        """Let go of the file, whole or not."""
        try:
            self._file.close()
        except OSError:  # what was not written will not be; its name goes away
            return


def read_manifest(path: Path) -> Manifest:
    """The manifest of a backup; whether the rest of the file is whole is not looked at.

    Raises:
        DamagedBackup: the file is no backup, or its manifest was changed.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return manifest_of(file.read(HEAD_BYTES), path)


def manifest_of(head: bytes, path: Path) -> Manifest:
    """The manifest in the first `HEAD_BYTES` of the backup that errors call `path`.

    Raises:
        DamagedBackup: it is no backup, of another format, or its manifest was changed.
    """
    room = HEAD_BYTES - _FRAME.size
    if len(head) < HEAD_BYTES or _FRAME.unpack_from(head) != (_SKIPPABLE, room):
        raise DamagedBackup(f"{path}: this is no backup")
    try:
        found = msgspec.json.decode(head[_FRAME.size :], type=_Head)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedBackup(f"{path}: its manifest cannot be read: {error}") from error
    if found.sha256 != _digest(found.manifest):
        raise DamagedBackup(f"{path}: its manifest was changed")
    if found.manifest.format != FORMAT:
        raise DamagedBackup(
            f"{path}: its format is {found.manifest.format}, this version reads {FORMAT}:"
            f" restore it with version {found.manifest.version}"
        )
    return found.manifest


def read_records(path: Path) -> Iterator[list[Record]]:
    """All records of a backup, up to `BATCH` at a time; it blocks on the disk.

    That the file is whole is known only at the end: who changes something reads it twice.

    Raises:
        DamagedBackup: at the latest after the last record, where the file is not whole.
        OSError: it cannot be read.
    """
    tally = Tally()
    with path.open("rb") as file:
        manifest = manifest_of(file.read(HEAD_BYTES), path)
        batch: list[Record] = []
        for frame in _frames(_content(file, path), path):
            record = _record(frame, path)
            tally.add(record.key, frame)
            batch.append(record)
            if len(batch) >= BATCH:
                yield batch
                batch = []
        if batch:
            yield batch
    if not tally.holds(manifest):
        raise DamagedBackup(f"{path}: its content is not what its manifest says")


def _head(manifest: Manifest) -> bytes:
    head = msgspec.json.encode(_Head(manifest, _digest(manifest)))
    room = HEAD_BYTES - _FRAME.size
    if len(head) > room:
        raise DamagedBackup(f"a manifest of {len(head)} bytes is over {room}")
    return _FRAME.pack(_SKIPPABLE, room) + head.ljust(room)


def _digest(manifest: Manifest) -> str:
    return hashlib.sha256(msgspec.json.encode(manifest, order="sorted")).hexdigest()


def _content(file: IO[bytes], path: Path) -> Iterator[bytes]:
    """The uncompressed content, a bounded piece at a time."""
    decompressor = zstd.ZstdDecompressor()
    try:
        while not decompressor.eof:
            piece = file.read(_CHUNK_BYTES) if decompressor.needs_input else b""
            if decompressor.needs_input and not piece:
                raise DamagedBackup(f"{path}: the file is cut short")
            yield decompressor.decompress(piece, max_length=_CHUNK_BYTES)
    except zstd.ZstdError as error:
        raise DamagedBackup(f"{path}: its content is damaged: {error}") from error
    if decompressor.unused_data or file.read(1):
        raise DamagedBackup(f"{path}: something was added to the file")


def _frames(content: Iterable[bytes], path: Path) -> Iterator[bytes]:
    """Each record with its length before it."""
    held = bytearray()
    for piece in content:
        held += piece
        at = 0
        while len(held) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(held, at)
            if length > RECORD_LIMIT_BYTES:
                raise DamagedBackup(f"{path}: a record of {length} bytes cannot be")
            end = at + _LENGTH.size + length
            if len(held) < end:
                break
            yield bytes(held[at:end])
            at = end
        del held[:at]
    if held:
        raise DamagedBackup(f"{path}: its last record is cut short")


def _record(frame: bytes, path: Path) -> Record:
    try:
        return Record(*msgspec.msgpack.decode(frame[_LENGTH.size :], type=tuple[str, bytes]))
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DamagedBackup(f"{path}: a record cannot be read: {error}") from error
