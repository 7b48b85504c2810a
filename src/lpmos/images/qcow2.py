"""What a qcow2 header asks for, read before any program opens the file.

The rule: an image is only its own bytes. A header that names another file (a backing file, an
external data file) would make a converter read that file from the control plane's disk; it is
refused here, before `qemu-img` sees it, and so is what it could not read without a key.

Source: QEMU's `docs/interop/qcow2.txt`, "Header".
"""

import struct
from typing import NamedTuple

MAGIC = b"QFI\xfb"
HEADER_BYTES = 104
_FIELDS = struct.Struct(">4sIQIIQI")
_INCOMPATIBLE = struct.Struct(">Q")
_INCOMPATIBLE_AT = 72
_DIRTY, _CORRUPT, _DATA_FILE, _COMPRESSION, _EXTENDED_L2 = (1 << bit for bit in range(5))
_KNOWN = _DIRTY | _CORRUPT | _DATA_FILE | _COMPRESSION | _EXTENDED_L2
_SMALLEST_CLUSTER_BITS, _LARGEST_CLUSTER_BITS = 9, 21


class Header(NamedTuple):
    """What is of use of a header; `disk_bytes` is the size that a machine would see."""

    version: int
    disk_bytes: int


def read_header(head: bytes) -> Header:
    """Read the beginning of a file, at least `HEADER_BYTES` of it where it is as long.

    Raises:
        ValueError: it is no qcow2 image, or one that is not whole in itself; the text says what to
            do.
    """
    if not head.startswith(MAGIC):
        raise ValueError("is no qcow2 image")
    if len(head) < _FIELDS.size:
        raise ValueError("is cut off within its header")
    _, version, backing_at, _, cluster_bits, disk_bytes, crypt = _FIELDS.unpack_from(head)
    if version not in (2, 3):
        raise ValueError(f"is of version {version}; 2 and 3 are known")
    if backing_at:
        raise ValueError(
            "has a backing file, which is not part of it: join them with"
            " `qemu-img convert -O qcow2 OLD NEW`"
        )
    if crypt:
        raise ValueError("is encrypted: decrypt it with `qemu-img convert`, then upload the copy")
    if not _SMALLEST_CLUSTER_BITS <= cluster_bits <= _LARGEST_CLUSTER_BITS:
        raise ValueError(f"has clusters of 2^{cluster_bits} bytes, which no image has")
    if version == 3:
        _check_features(head)
    return Header(version, disk_bytes)


def _check_features(head: bytes) -> None:
    if len(head) < HEADER_BYTES:
        raise ValueError("is cut off within its header")
    (features,) = _INCOMPATIBLE.unpack_from(head, _INCOMPATIBLE_AT)
    if features & _DATA_FILE:
        raise ValueError(
            "keeps its data in another file: join them with `qemu-img convert -O qcow2 OLD NEW`"
        )
    if features & _CORRUPT:
        raise ValueError("is marked as corrupt: repair it with `qemu-img check -r all`")
    if features & ~_KNOWN:
        raise ValueError(f"has features that are not known ({features & ~_KNOWN:#x})")
