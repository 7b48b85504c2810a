"""Reading what partx and os-release say."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.lab.errors import EvidenceMissing
from lpmos.lab.evidence import DiskPartition, parse_os_release, parse_partx

ESP = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"


def row(scheme: str = "gpt") -> str:
    return f'NR="1" START="2048" SECTORS="2048" SCHEME="{scheme}" TYPE="{ESP}"\n'


def test_partition_table_of_a_gpt_names_the_roles() -> None:
    other = 'NR="2" START="4096" SECTORS="8" SCHEME="gpt" TYPE="0000"\n'
    assert parse_partx(row() + other) == (
        DiskPartition(1, "esp", 1048576, 1048576),
        DiskPartition(2, "0000", 2097152, 4096),
    )


def test_partition_table_of_dos_is_refused() -> None:
    with pytest.raises(EvidenceMissing, match="dos, not gpt"):
        parse_partx(row("dos"))


@given(st.text(min_size=1).filter(lambda text: text.splitlines() != []))
def test_partition_table_of_anything_else_is_refused(junk: str) -> None:
    with pytest.raises(EvidenceMissing):
        parse_partx(junk)


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
