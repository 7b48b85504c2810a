"""Reading what sfdisk and os-release say."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.lab.errors import EvidenceMissing
from lpmos.lab.evidence import DiskPartition, parse_os_release, parse_sfdisk

ESP = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"


def listing(**table: object) -> bytes:
    base = {"label": "gpt", "id": "A", "device": "d", "unit": "sectors", "sectorsize": 512}
    return json.dumps({"partitiontable": base | table}).encode()


def test_partition_table_of_a_gpt_names_the_roles() -> None:
    rows = [
        {"node": "d1", "start": 2048, "size": 2048, "type": ESP, "uuid": "U", "name": "esp"},
        {"node": "d2", "start": 4096, "size": 8, "type": "0000"},
    ]
    assert parse_sfdisk(listing(partitions=rows)) == (
        DiskPartition(1, "esp", 1048576, 1048576),
        DiskPartition(2, "0000", 2097152, 4096),
    )


def test_partition_table_of_dos_is_refused() -> None:
    with pytest.raises(EvidenceMissing, match="dos, not gpt"):
        parse_sfdisk(listing(label="dos"))


@given(st.binary() | st.recursive(st.none() | st.text(), st.lists).map(json.dumps).map(str.encode))
def test_partition_table_of_anything_else_is_refused(junk: bytes) -> None:
    with pytest.raises(EvidenceMissing):
        parse_sfdisk(junk)


def test_os_release_of_debian_is_unquoted() -> None:
    text = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\n# no\nID=debian\n\nVERSION_ID="12"\n'
    assert parse_os_release(text) == {
        "PRETTY_NAME": "Debian GNU/Linux 12 (bookworm)",
        "ID": "debian",
        "VERSION_ID": "12",
    }


@given(st.text())
def test_os_release_of_any_text_is_a_table(text: str) -> None:
    assert all(name and "\n" not in value for name, value in parse_os_release(text).items())
