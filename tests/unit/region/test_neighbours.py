"""The kernel's ARP table as it is read."""

from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.neighbours import neighbours

TABLE = """\
IP address       HW type     Flags       HW address            Mask     Device
10.92.0.23       0x1         0x2         52:54:00:AB:00:01     *        br0
10.92.0.24       0x1         0x0         00:00:00:00:00:00     *        br0
10.92.0.25       0x1         0x6         52:54:00:ab:00:02     *        br0
"""


def test_table_has_the_mac_of_each_neighbour_that_is_known() -> None:
    assert neighbours(TABLE) == {
        "10.92.0.23": "52:54:00:ab:00:01",
        "10.92.0.25": "52:54:00:ab:00:02",
    }


def test_table_without_neighbours_is_empty() -> None:
    assert neighbours("") == neighbours(TABLE.splitlines()[0]) == {}


@given(st.text())
def test_lines_of_another_shape_are_left_out(text: str) -> None:
    found = neighbours(TABLE + text)
    assert found.items() >= {"10.92.0.23": "52:54:00:ab:00:01"}.items() or "10.92.0.23" in text
