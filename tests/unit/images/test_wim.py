"""The header of a WIM file: what is in it, and that nothing else passes for one."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lpmos.images.wim import read_wim
from lpmos.model.errors import ImageError
from tests.support.windows import wim


def read(directory: Path, content: bytes) -> object:
    path = directory / "a.wim"
    path.write_bytes(content)
    return read_wim(path)


def test_wim_says_its_images_and_which_one_starts(tmp_path: Path) -> None:
    path = tmp_path / "a.wim"
    path.write_bytes(wim(("Standard", "Datacenter"), boot=2))
    found = read_wim(path)
    assert [(each.number, each.name) for each in found.images] == [
        (1, "Standard"), (2, "Datacenter"),
    ]  # fmt: skip
    assert (found.boot_index, found.integrity) == (2, False)
    image = found.image(2)
    assert image is not None
    assert (image.architecture, image.language, image.total_bytes) == ("9", "de-DE", 1_000_000)
    assert found.image(3) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "does not begin as one"),
        (b"MSWIM\0\0\0", "does not begin as one"),
        (b"PK" + bytes(400), "does not begin as one"),
        (wim(parts=(1, 2)), "part 1 of 2"),
        (wim()[:-10], "ends at"),
        (wim(described="<WIM></WIM>"), "0 are described"),
        (wim(described="<WIM><IMAGE"), "a.wim"),
        (wim(described='<WIM><IMAGE INDEX="x"/></WIM>'), "a.wim"),
        (wim(described='<!DOCTYPE a [<!ENTITY b "c">]><WIM>&b;</WIM>'), "declares something"),
    ],
)
def test_file_that_is_no_whole_wim_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, why: str
) -> None:
    with pytest.raises(ImageError, match=why):
        read(tmp_path, content)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(0, 400), value=st.integers(0, 255))
def test_changed_byte_is_read_or_refused_and_nothing_else(
    tmp_path: Path, at: int, value: int
) -> None:
    content = bytearray(wim())
    content[at % len(content)] = value
    try:
        read(tmp_path, bytes(content))
    except ImageError as error:
        assert "a.wim" in str(error)
