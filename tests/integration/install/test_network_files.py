"""What is written for other systems' networks, read by the programs of these systems."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from lpmos.install.network import RENDERERS
from lpmos.model.network import (
    Bond,
    Bridge,
    Ethernet,
    Network,
    NetworkConfig,
    Route,
    Vlan,
    layout,
    network_problems,
)
from tests.support.debian_programs import unpacked

BOOT = "52:54:00:00:00:01"
PACKAGES = (
    *("netplan.io", "libnetplan0", "libyaml-0-2", "libglib2.0-0", "libpcre2-8-0", "ifupdown"),
    *("network-manager", "libnm0", "libreadline8"),
)
DATA_CENTER = Network(
    dns=("192.0.2.53", "2001:db8::53"),
    search=("example.org",),
    links=(
        Vlan(
            name="vlan10",
            over="bond0",
            id=10,
            addresses=("192.0.2.10/24", "2001:db8::10/64"),
            gateways=("192.0.2.1", "2001:db8::1"),
            routes=(Route(to="198.51.100.0/24", via="192.0.2.2"),),
        ),
        Ethernet(name="lan0", mtu=9000),
        Ethernet(name="lan1", mac="52:54:00:00:00:02", mtu=9000),
        Bond(
            name="bond0",
            members=("lan0", "lan1"),
            mode="802.3ad",
            hash_policy="layer3+4",
            lacp_fast=True,
            mtu=9000,
        ),
        Vlan(name="vlan20", over="bond0", id=20),
        Bridge(name="br0", members=("vlan20",), dhcp=True),
    ),
)
FIXED = Network(address="192.0.2.10/24", gateway="192.0.2.1", dns=("192.0.2.53",))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The readers of Debian's packages."""
    return unpacked(PACKAGES, tmp_path_factory.mktemp("readers"))


def written(system: str, network: NetworkConfig, root: Path) -> Path:
    if network != "dhcp":
        assert network_problems(network) == []
    for file in RENDERERS[system](layout(network, BOOT)):
        path = root / file.path.removeprefix("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(file.content)
        path.chmod(file.mode)
    return root


def run(
    argv: list[str | Path], environment: Mapping[str, str] | None = None, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    found = subprocess.run(
        argv, env=environment, input=stdin, check=False, timeout=30, capture_output=True, text=True
    )
    assert (found.returncode, found.stderr) == (0, "")
    return found


@pytest.mark.parametrize("network", ["dhcp", FIXED, DATA_CENTER], ids=["dhcp", "fixed", "links"])
def test_netplan_reads_its_file(programs: Path, tmp_path: Path, network: NetworkConfig) -> None:
    root = written("netplan", network, tmp_path)
    libraries = programs / "usr/lib/x86_64-linux-gnu"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    run([programs / "usr/libexec/netplan/generate", "--root-dir", root], environment)
    assert list((root / "run/systemd/network").glob("10-netplan-*.network"))


def test_netplan_makes_of_the_links_what_was_asked(programs: Path, tmp_path: Path) -> None:
    root = written("netplan", DATA_CENTER, tmp_path)
    libraries = programs / "usr/lib/x86_64-linux-gnu"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    run([programs / "usr/libexec/netplan/generate", "--root-dir", root], environment)
    made = root / "run/systemd/network"
    assert "Id=10" in (made / "10-netplan-vlan10.netdev").read_text()
    vlan = (made / "10-netplan-vlan10.network").read_text()
    assert "Address=192.0.2.10/24" in vlan and "Gateway=2001:db8::1" in vlan
    bond = (made / "10-netplan-bond0.netdev").read_text()
    assert "Mode=802.3ad" in bond and "LACPTransmitRate=fast" in bond
    assert "Bond=bond0" in (made / "10-netplan-lan1.network").read_text()
    assert "MACAddress=52:54:00:00:00:02" in (made / "10-netplan-lan1.network").read_text()


def test_ifupdown_reads_its_stanzas(programs: Path, tmp_path: Path) -> None:
    root = written("ifupdown", DATA_CENTER, tmp_path)
    stanzas = root / "etc/network/interfaces.d/lpmos"
    query = tmp_path / "ifquery"
    query.symlink_to(programs / "sbin/ifup")
    assert run([query, "-i", stanzas, "--list"]).stdout.split() == [
        "lo", "lan0", "lan1", "bond0", "vlan10", "vlan20", "br0",
    ]  # fmt: skip
    vlan = run([query, "-i", stanzas, "vlan10"]).stdout
    assert "address: 192.0.2.10" in vlan and "gateway: 2001:db8::1" in vlan
    bond = run([query, "-i", stanzas, "bond0"]).stdout
    assert "bond-slaves: lan0 lan1" in bond and "bond-mode: 802.3ad" in bond


ODD = Network(
    links=(
        Ethernet(name="lan0"),
        Vlan(
            name="vlan20",
            over="lan0",
            id=10,
            addresses=("192.0.2.10/24", "2001:db8::10/64"),
            routes=(
                Route(to="198.51.100.0/24", via="192.0.2.2"),
                Route(to="2001:db8:1::/48", via="2001:db8::2"),
            ),
        ),
        Vlan(name="storage", over="lan0", id=30),
        Bridge(name="br0", members=("storage",), dhcp=True, mtu=9000),
    )
)


def commands_of(program: Path, directory: Path) -> Callable[[str], list[str]]:
    """What a program runs for a link of `ODD`, in its order."""
    stanzas = written("ifupdown", ODD, directory) / "etc/network/interfaces.d/lpmos"
    state = ("--state-dir", directory, "--force", "--no-act", "--verbose")

    def commands(link: str) -> list[str]:
        found = subprocess.run(
            [program, "-i", stanzas, *state, link],
            check=True, timeout=30, capture_output=True, text=True,
        )  # fmt: skip
        return [line for line in found.stderr.splitlines() if line and "run-parts" not in line]

    return commands


@pytest.fixture
def ifup(programs: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    return commands_of(programs / "sbin/ifup", tmp_path)


@pytest.fixture
def ifdown(programs: Path, tmp_path: Path) -> Callable[[str], list[str]]:
    """It is ifup by another name."""
    program = tmp_path / "ifdown"
    program.symlink_to(programs / "sbin/ifup")
    return commands_of(program, tmp_path)


def test_ifupdown_makes_vlans_of_the_asked_number_whatever_their_name(
    ifup: Callable[[str], list[str]],
) -> None:
    for name, number in (("vlan20", 10), ("storage", 30)):
        made = f"ip link add link lan0 name {name} type vlan id {number}"
        commands = ifup(name)
        above = commands.index(f"[ -e /sys/class/net/{name} ] || {made}")
        assert commands.index("ip link set dev lan0 up") < above
        assert not [line for line in commands if "vconfig" in line]


def test_ifupdown_removes_a_vlan_once_all_its_addresses_are_gone(
    ifdown: Callable[[str], list[str]],
) -> None:
    for name in ("vlan20", "storage"):
        commands = ifdown(name)
        assert commands[-1] == f"ip link del dev {name} || true"
        assert not [line for line in commands[:-1] if "ip link del" in line]


def test_ifupdown_adds_routes_once_all_addresses_are_there(
    ifup: Callable[[str], list[str]],
) -> None:
    lines = ifup("vlan20")
    places = [
        next(number for number, line in enumerate(lines) if text in line)
        for text in ("ip addr add 192.0.2.10", "ip -6 addr add 2001:db8::10", "ip route add 198")
    ]
    assert places == sorted(places)
    assert [line for line in lines if "route add" in line] == lines[-2:]


def test_ifupdown_gives_a_bridge_its_first_cards_mac_and_a_dhcp_link_its_mtu(
    programs: Path, tmp_path: Path, ifup: Callable[[str], list[str]]
) -> None:
    assert "ip link set dev br0 mtu 9000" in ifup("br0")
    text = (tmp_path / "etc/network/interfaces.d/lpmos").read_text()
    assert f"    bridge_hw {BOOT}\n" in text


@pytest.mark.parametrize("system", ["systemd-networkd", "netplan"])
def test_links_without_an_address_hold_no_boot_up(
    programs: Path, tmp_path: Path, system: str
) -> None:
    """The boot waits two minutes for an address of each link that is not said to have none."""
    root = written(system, DATA_CENTER, tmp_path)
    place = root / "etc/systemd/network"
    if system == "netplan":
        environment = {**os.environ, "LD_LIBRARY_PATH": str(programs / "usr/lib/x86_64-linux-gnu")}
        run([programs / "usr/libexec/netplan/generate", "--root-dir", root], environment)
        place = root / "run/systemd/network"
    idle = {
        file.name.removesuffix(".network").rpartition("-")[2]
        for file in place.glob("*.network")
        if "RequiredForOnline=no" in file.read_text()
    }
    assert idle == {"bond0"}


@pytest.mark.parametrize("system", sorted(RENDERERS))
def test_lacp_rate_of_a_bond_that_speaks_no_lacp_is_not_written(
    tmp_path: Path, system: str
) -> None:
    """NetworkManager refuses the whole connection; a task of before may still ask for it."""
    bond = Bond(name="bond0", members=("lan0",), lacp_fast=True, dhcp=True)
    network = Network(links=(Ethernet(name="lan0"), bond))
    (problem,) = network_problems(network)
    assert problem.field == "network_config.links.1.lacp_fast"
    files = RENDERERS[system](layout(network, BOOT))
    assert not any("lacp" in file.content.lower() for file in files)


@pytest.mark.parametrize(
    "network", ["dhcp", FIXED, DATA_CENTER, ODD], ids=["dhcp", "fixed", "links", "odd"]
)
def test_networkmanager_reads_its_keyfiles(
    programs: Path, tmp_path: Path, network: NetworkConfig
) -> None:
    """nmcli without its daemon: it refuses a file as the daemon does, and prints what it read."""
    root = written("networkmanager", network, tmp_path)
    libraries = programs / "usr/lib/x86_64-linux-gnu"
    environment = {**os.environ, "LD_LIBRARY_PATH": str(libraries)}
    change = ["--offline", "connection", "modify", "connection.autoconnect", "yes"]
    files = sorted((root / "etc/NetworkManager/system-connections").iterdir())
    for file in files:
        read = run([programs / "usr/bin/nmcli", *change], environment, file.read_text()).stdout
        assert f"id={file.stem}\n" in read
    assert files


def test_networkmanager_keyfiles_name_each_other_and_are_private(tmp_path: Path) -> None:
    root = written("networkmanager", DATA_CENTER, tmp_path)
    place = root / "etc/NetworkManager/system-connections"
    uuids = {}
    for file in place.iterdir():
        assert file.stat().st_mode & 0o777 == 0o600
        lines = dict(line.split("=", 1) for line in file.read_text().splitlines() if "=" in line)
        uuids[file.stem] = lines
    assert uuids["lan0"]["master"] == uuids["lan1"]["master"] == uuids["bond0"]["uuid"]
    assert uuids["vlan20"]["parent"] == uuids["bond0"]["uuid"]
    assert uuids["vlan20"]["master"] == uuids["br0"]["uuid"]
    assert len({lines["uuid"] for lines in uuids.values()}) == 6
