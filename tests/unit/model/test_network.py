"""A network configuration: what is refused, and the one form that all others become."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.model.errors import InvalidInput
from lpmos.model.network import (
    Bond,
    Bridge,
    Ethernet,
    Layout,
    Network,
    Route,
    Vlan,
    layout,
    network_problems,
)
from lpmos.model.newtask import NewTask
from lpmos.model.newtaskcheck import check_new_task

BOOT = "52:54:00:00:00:01"
FIXED = ("192.0.2.10/24",)


def wrong(*links: object, **fields: object) -> dict[str, str]:
    network = Network(links=links, **fields)  # type: ignore[arg-type]
    return {problem.field: problem.message for problem in network_problems(network, "n")}


def test_dhcp_is_one_link_of_the_card_that_booted() -> None:
    assert layout("dhcp", BOOT) == Layout(links=(Ethernet(name="lpmos", mac=BOOT, dhcp=True),))


def test_fixed_address_is_one_link_with_its_gateway() -> None:
    network = Network(address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.2",))
    only = Ethernet(name="lpmos", mac=BOOT, addresses=FIXED, gateways=("192.0.2.1",))
    assert layout(network, BOOT) == Layout(links=(only,), dns=("192.0.2.2",))


def test_links_come_with_what_is_below_them_first_and_normal_macs() -> None:
    network = Network(
        links=(
            Vlan(name="v10", over="bond0", id=10, addresses=FIXED),
            Bond(name="bond0", members=("lan0", "lan1")),
            Ethernet(name="lan1", mac="52-54-00-00-00-0A"),
            Ethernet(name="lan0"),
        )
    )
    assert network_problems(network) == []
    found = layout(network, BOOT)
    assert [link.name for link in found.links] == ["lan1", "lan0", "bond0", "v10"]
    assert found.macs(found.links[3]) == (BOOT, "52:54:00:00:00:0a")


@pytest.mark.parametrize(
    ("links", "field"),
    [
        ((Ethernet(name="lan0"),), "n.links"),
        ((Ethernet(name="lo", dhcp=True),), "n.links.0.name"),
        ((Ethernet(name="a b", dhcp=True),), "n.links.0.name"),
        ((Ethernet(name="a", dhcp=True), Ethernet(name="a", mac=BOOT)), "n.links.1.name"),
        ((Ethernet(name="a", dhcp=True), Ethernet(name="b")), "n.links.1.mac"),
        ((Ethernet(name="a", dhcp=True, mac="x"),), "n.links.0.mac"),
        ((Ethernet(name="a", dhcp=True), Vlan(name="v", over="c", id=1)), "n.links.1.over"),
        ((Vlan(name="v", over="v", id=1, dhcp=True),), "n.links.0.over"),
        ((Ethernet(name="a", dhcp=True), Bond(name="b", members=("a",))), "n.links.0.addresses"),
        ((Ethernet(name="a"), Bond(name="b", members=("a", "a"), dhcp=True)), "n.links.1.members"),
        (
            (
                Ethernet(name="a"),
                Bond(name="b", members=("a",), dhcp=True),
                Bridge(name="c", members=("a",)),
            ),
            "n.links.0.name",
        ),
        (
            (Bridge(name="a", members=("v",), dhcp=True), Vlan(name="v", over="a", id=1)),
            "n.links.0",
        ),
        ((Ethernet(name="a", addresses=("192.0.2.1",)),), "n.links.0.addresses.0"),
        ((Ethernet(name="a", addresses=FIXED, gateways=("10.0.0.1",)),), "n.links.0.gateways.0"),
        (
            (Ethernet(name="a", addresses=FIXED, gateways=("192.0.2.1", "192.0.2.2")),),
            "n.links.0.gateways.1",
        ),
        (
            (Ethernet(name="a", addresses=FIXED, routes=(Route(to="10.0.0.1/8", via="x"),)),),
            "n.links.0.routes.0.to",
        ),
        (
            (Ethernet(name="a", addresses=FIXED, routes=(Route(to="10.0.0.0/8", via="::1"),)),),
            "n.links.0.routes.0.via",
        ),
        (
            (
                Ethernet(name="a", addresses=FIXED, gateways=("192.0.2.1",)),
                Ethernet(name="b", mac=BOOT, addresses=FIXED, gateways=("192.0.2.1",)),
            ),
            "n.links",
        ),
    ],
)
def test_links_that_cannot_be_are_refused_by_field(links: tuple[object, ...], field: str) -> None:
    assert field in wrong(*links)


def test_links_beside_an_address_are_refused() -> None:
    assert "n.links" in wrong(Ethernet(name="a", dhcp=True), address="192.0.2.10/24")


def test_nothing_at_all_is_refused() -> None:
    assert list(wrong()) == ["n.address"]


def test_wrong_search_domain_is_refused() -> None:
    assert "n.search.0" in wrong(Ethernet(name="a", dhcp=True), search=("a b\n",))


_TEXT = st.text(max_size=20) | st.sampled_from(["lan0", "bond0", "192.0.2.1/24", "::1", BOOT])
_LINKS = st.lists(
    st.one_of(
        st.builds(Ethernet, name=_TEXT, mac=st.none() | _TEXT, dhcp=st.booleans()),
        st.builds(Vlan, name=_TEXT, over=_TEXT, id=st.integers(1, 4094), dhcp=st.booleans()),
        st.builds(Bond, name=_TEXT, members=st.lists(_TEXT, max_size=3).map(tuple)),
        st.builds(
            Bridge,
            name=_TEXT,
            members=st.lists(_TEXT, max_size=3).map(tuple),
            addresses=st.lists(_TEXT, max_size=2).map(tuple),
        ),
    ),
    max_size=5,
).map(tuple)


@given(links=_LINKS)
def test_any_links_are_refused_or_become_a_whole_layout(links: tuple[object, ...]) -> None:
    network = Network(links=links)  # type: ignore[arg-type]
    if not network_problems(network):
        found = layout(network, BOOT)
        assert {link.name for link in found.links} == {link.name for link in network.links}
        for number, link in enumerate(found.links):
            assert set(link.below) <= {each.name for each in found.links[:number]}


def test_task_with_links_is_read_from_json_and_kept() -> None:
    body = {
        "idc": "dc1", "mac": BOOT, "os_type": "debian", "os_version": "12",
        "network_config": {"links": [{"kind": "ethernet", "name": "lan0", "dhcp": True}]},
    }  # fmt: skip
    spec = check_new_task(msgspec.convert(body, NewTask))
    assert spec.network_config == Network(links=(Ethernet(name="lan0", dhcp=True),))


def test_task_with_wrong_links_is_refused_by_field() -> None:
    network = Network(links=(Ethernet(name="lan0"),))
    new = NewTask(idc="dc1", mac=BOOT, os_type="debian", os_version="12", network_config=network)
    with pytest.raises(InvalidInput) as caught:
        check_new_task(new)
    assert [problem.field for problem in caught.value.problems] == ["network_config.links"]
