"""DHCP leases: dnsmasq's file read and written, and what a takeover begins with."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.region.leases import DhcpLease, Leases, merged, parse_leases, render_leases
from lpmos.store import keys
from lpmos.store.sqlite import SqliteStore
from tests.support.faulty_store import FaultyStore

NOW = 1_800_000_000
FILE = f"""{NOW + 60} 52:54:00:00:00:01 10.0.0.1 sn-1 01:52:54:00:00:00:01
{NOW + 60} 06-00:11 10.0.0.2 * *
duid 00:01:00:01:2c
{NOW + 60} 7 fd00::1 * 00:01
0 52:54:00:00:00:03 10.0.0.3 * *
half a line
"""


def lease(ip: str, expires: int, mac: str = "52:54:00:00:00:01") -> DhcpLease:
    return DhcpLease(ip, mac, expires)


def test_parse_takes_ipv4_leases_and_leaves_the_rest() -> None:
    found = parse_leases(FILE)
    assert list(found) == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    assert found["10.0.0.1"].name == "sn-1"
    assert found["10.0.0.3"].expires == 0
    assert parse_leases(render_leases(found.values())) == found


@given(st.text())
def test_parse_of_any_text_gives_leases_that_are_written_as_they_were(text: str) -> None:
    found = parse_leases(text)
    assert parse_leases(render_leases(found.values())) == found


def test_merged_takes_what_ends_last_and_nothing_that_has_ended() -> None:
    stored = {each.ip: each for each in (lease("10.0.0.1", NOW + 9), lease("10.0.0.2", NOW - 1))}
    other = "52:54:00:00:00:02"
    here = {
        each.ip: each
        for each in (
            lease("10.0.0.1", NOW + 5, other),
            lease("10.0.0.3", NOW + 5),
            lease("10.0.0.4", 0),
        )
    }
    found = merged(stored, here, NOW)
    assert {ip: each.expires for ip, each in found.items()} == {
        "10.0.0.1": NOW + 9, "10.0.0.3": NOW + 5, "10.0.0.4": 0,
    }  # fmt: skip
    assert found["10.0.0.1"].mac != other


async def test_prepare_makes_the_file_from_the_store_and_from_what_is_here(tmp_path: Path) -> None:
    store = FaultyStore(await SqliteStore.open(tmp_path / "store.db"))
    try:
        file = tmp_path / "dhcp.leases"
        leases = Leases(store, file, idc="dc1")
        await store.put(
            keys.dhcp_lease("dc1", "10.0.0.9"),
            b'{"ip":"10.0.0.9","mac":"52:54:00:00:00:09","expires":0}',
        )
        await store.put(keys.dhcp_lease("dc1", "10.0.0.8"), b"damaged")
        await leases.prepare()
        assert file.read_text() == "0 52:54:00:00:00:09 10.0.0.9 * *\n"
        store.away = True
        file.write_text("0 52:54:00:00:00:07 10.0.0.7 * *\n")
        await leases.prepare()
        assert file.read_text() == "0 52:54:00:00:00:07 10.0.0.7 * *\n"
    finally:
        await store.close()


@pytest.mark.parametrize("text", ["", "garbage\n"])
def test_parse_of_nothing_is_nothing(text: str) -> None:
    assert parse_leases(text) == {}
