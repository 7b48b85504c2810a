"""What a region says of itself: which addresses are followed, since when a service is how it is."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.region import (
    DhcpNetworkState,
    ServiceState,
    is_api_url,
    outside,
    states_after,
)
from tests.support.builders import NOW

SAID = st.sampled_from(["ok", "off", "failed: no answer", "failed: refused"])


@pytest.mark.parametrize(
    "url", ["http://192.168.77.1:8081", "http://127.0.0.1:8081", "http://[fd00::1]:8081"]
)
def test_api_url_with_an_address_and_a_port_is_followed(url: str) -> None:
    assert is_api_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://192.168.77.1",
        "https://192.168.77.1:8081",
        "file:///etc/passwd",
        "http://region.example:8081",
        "http://user@192.168.77.1:8081",
        "http://192.168.77.1:8081/",
        "http://192.168.77.1:8081/path",
        "http://192.168.77.1:8081?x=1",
        "http://192.168.77.1:8081#x",
        "http://192.168.77.1:99999",
        "http://192.168.77.1:0",
        "http://169.254.169.254:80",
        "http://[fe80::1]:80",
        "http://[::ffff:169.254.169.254]:80",
        "http://0.0.0.0:80",
        "http://224.0.0.1:80",
        "http://2852039166:80",
        " http://192.168.77.1:8081",
        "http://192.168.77.1:8081\n",
    ],
)
def test_api_url_of_any_other_form_is_not_followed(url: str) -> None:
    assert not is_api_url(url)


@given(st.text())
def test_api_url_of_any_text_raises_nothing(text: str) -> None:
    assert not is_api_url(f"http://{text}/")
    is_api_url(f"http://{text}")


@given(st.dictionaries(st.sampled_from("abc"), SAID), st.dictionaries(st.sampled_from("abc"), SAID))
def test_states_keep_their_time_as_long_as_they_stay(
    first: dict[str, str], second: dict[str, str]
) -> None:
    later = NOW + timedelta(seconds=5)
    known = states_after({}, first, NOW)
    now = states_after(known, second, later)
    assert now.keys() == second.keys()
    for name, said in second.items():
        kind = said.partition(":")[0]
        stayed = name in first and first[name].partition(":")[0] == kind
        detail = said.partition(": ")[2]
        since = NOW if stayed else later
        assert now[name] == ServiceState(state=kind, detail=detail, since=since)  # type: ignore[arg-type]


FULL = DhcpNetworkState(interface="e0", mode="full", subnet="10.0.0.0/24")
RELAYED = DhcpNetworkState(interface="e0", mode="relayed", subnet="10.0.1.0/24")
PROXY = DhcpNetworkState(interface="e0", mode="proxy", subnet="10.0.2.0/24")
BY_RANGE = DhcpNetworkState(interface="e1", mode="full", range="10.0.3.10-10.0.3.90")
BY_RANGE6 = DhcpNetworkState(interface="e1", mode="full", range="fd78::1000-fd78::1fff")


@pytest.mark.parametrize(
    ("networks", "address", "problem"),
    [
        ((FULL, RELAYED), "10.0.1.9", None),
        ((FULL, RELAYED), "10.0.2.9", "none of the region's networks (10.0.0.0/24, 10.0.1.0/24)"),
        ((FULL, PROXY), "10.0.2.9", "none of the region's networks (10.0.0.0/24)"),
        ((FULL,), "10.0.0.0", "is not the address of a machine in 10.0.0.0/24"),
        ((FULL,), "10.0.0.255", "is not the address of a machine in 10.0.0.0/24"),
        ((FULL, BY_RANGE), "10.0.3.20", None),
        ((FULL, BY_RANGE6), "10.0.2.9", "none of the region's networks (10.0.0.0/24)"),
        ((BY_RANGE6,), "10.0.3.20", None),
        ((), "10.0.3.20", None),
    ],
)
def test_address_is_outside_only_of_networks_that_a_region_tells_of(
    networks: tuple[DhcpNetworkState, ...], address: str, problem: str | None
) -> None:
    said = outside(networks, address)
    assert (said is None) if problem is None else (problem in str(said))
