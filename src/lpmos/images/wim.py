"""The header and the description of a WIM file: what images are in it.

The rule: nothing is unpacked here. The header says where the description is and how long, and all
that it says is checked against the file before it is read.

Source: Microsoft, "Windows Imaging File Format (WIM)" (the header, its resource headers, XML data).
"""

import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple
from xml.etree import ElementTree

from lpmos.model.errors import ImageError

MAGIC = b"MSWIM\0\0\0"
HEADER = struct.Struct("<8sIIII16sHHI24s24s24sI24s60x")
"""Magic, size, version, flags, chunk size, GUID, part, parts, images, resource headers of the
lookup table, the XML data and the boot metadata, the boot index, and the integrity table."""
RESOURCE = struct.Struct("<QQQ")
"""Size with the flags in its highest byte, offset, and size unpacked."""
AMD64 = "9"
"""The architecture's number in the XML data (PROCESSOR_ARCHITECTURE_AMD64)."""
XML_LIMIT_BYTES = 4 * 1024 * 1024
_COMPRESSED = 0x04


class WimImage(NamedTuple):
    """One image of a file; counted from 1."""

    number: int
    name: str
    architecture: str
    language: str
    total_bytes: int


class Wim(NamedTuple):
    """A whole WIM file; `boot_index` 0: none of its images is for starting."""

    images: tuple[WimImage, ...]
    boot_index: int
    integrity: bool

    def image(self, number: int) -> WimImage | None:
        """The image of a number; None where there is none."""
        return next((each for each in self.images if each.number == number), None)


def read_wim(path: Path) -> Wim:
    """What is in a WIM file.

    Raises:
        ImageError: it is none, is one part of several, or is damaged.
    """
    try:
        with path.open("rb") as file:
            return _read(file, path)
    except (OSError, struct.error, UnicodeError, ValueError, ElementTree.ParseError) as error:
        raise _no_wim(path, str(error)) from error


def _read(file: BinaryIO, path: Path) -> Wim:
    head = file.read(HEADER.size)
    if len(head) < HEADER.size or not head.startswith(MAGIC):
        raise _no_wim(path, "it does not begin as one")
    _, size, _, _, _, _, part, parts, count, _, xml, _, boot, integrity = HEADER.unpack(head)
    if size < HEADER.size or (part, parts) != (1, 1):
        raise _no_wim(path, f"it is part {part} of {parts}")
    flags_and_size, offset, unpacked = RESOURCE.unpack(xml)
    flags, size_bytes = flags_and_size >> 56, flags_and_size & (1 << 56) - 1
    end = file.seek(0, 2)
    if flags & _COMPRESSED or size_bytes != unpacked or size_bytes > XML_LIMIT_BYTES:
        raise _no_wim(path, "its description is packed, or too long")
    if offset + size_bytes > end:
        raise _no_wim(path, f"its description ends at {offset + size_bytes}, the file at {end}")
    file.seek(offset)
    images = _images(file.read(size_bytes).decode("utf-16"))
    if len(images) != count or not images:
        raise _no_wim(path, f"{count} images are in it, {len(images)} are described")
    return Wim(images, boot, bool(RESOURCE.unpack(integrity)[0] & (1 << 56) - 1))


def _images(text: str) -> tuple[WimImage, ...]:
    if "<!" in text:
        raise ValueError("its description declares something, which none does")
    root = ElementTree.fromstring(text)  # noqa: S314 - without declarations, and bounded
    return tuple(
        WimImage(
            number=int(each.get("INDEX", "")),
            name=_word(each, "NAME"),
            architecture=_word(each, "WINDOWS/ARCH"),
            language=_word(each, "WINDOWS/LANGUAGES/DEFAULT"),
            total_bytes=int(_word(each, "TOTALBYTES") or 0),
        )
        for each in root.iter("IMAGE")
    )


def _word(element: ElementTree.Element, name: str) -> str:
    return (element.findtext(name) or "").strip()[:200]


def _no_wim(path: Path, what: str) -> ImageError:
    return ImageError(f"{path} is no whole WIM file: {what}")
