from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.ula import parse_ula_prefixes

IF_INET6 = """\
00000000000000000000000000000001 01 80 10 80       lo
fd780000000000000000000000000001 02 40 00 80      br0
fe800000000000004c3d5bfffe8a9f0c 02 40 20 80      br0
20010db8000000000000000000000001 02 40 00 80      br0
fd990000000000000000000000000001 03 40 00 80     eno1
fd780000000000000000000000000002 02 40 00 80      br0
fdaa0000000000000000000000000002 02 80 00 80      br0
"""


def test_parse_ula_prefixes_only_local_networks_of_the_interface_are_taken() -> None:
    assert parse_ula_prefixes(IF_INET6, "br0") == ("fd78::",)
    assert parse_ula_prefixes(IF_INET6, "eno1") == ("fd99::",)
    assert parse_ula_prefixes(IF_INET6, "lo") == ()


@given(st.text(alphabet="0123456789abcdef \n\teno1"))
def test_parse_ula_prefixes_odd_text_is_survived(text: str) -> None:
    parse_ula_prefixes(text, "eno1")
