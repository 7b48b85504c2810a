from pathlib import Path

import msgspec

from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings
from lpmos.region.dnsmasq import LOADER_FILES, LOADERS, OWN_FILES, SECURE_FILES, Place, render

PLACE = Place("http://192.0.2.1:8081", Path("/srv/tftp"), Path("/srv/leases"))
NETWORK = DhcpNetwork(interface="eno1", range=("192.0.2.100", "192.0.2.199"))
PROXY = DhcpNetwork(interface="eno2", mode="proxy", subnet="198.51.100.0/24")
RELAYED = DhcpNetwork(
    interface="eno1",
    mode="relayed",
    subnet="203.0.113.0/25",
    range=("203.0.113.10", "203.0.113.100"),
    router="203.0.113.1",
)
DHCP = DhcpSettings(networks=(NETWORK,))

GOLDEN = """\
port=0
log-facility=-
log-dhcp
user=root
group=root
interface=eno1
bind-interfaces
dhcp-lease-max=100
dhcp-leasefile=/srv/leases
dhcp-authoritative
no-ping
dhcp-range=set:n1,192.0.2.100,192.0.2.199,3600
dhcp-option=tag:n1,option:router
dhcp-option=tag:n1,tag:ipxe,encap:175,176,1b
enable-tftp
tftp-root=/srv/tftp
tftp-max=500
dhcp-match=set:ipxe,175
dhcp-match=set:arch0,option:client-arch,0
dhcp-match=set:arch7,option:client-arch,7
dhcp-match=set:arch9,option:client-arch,9
dhcp-match=set:arch16,option:client-arch,16
dhcp-boot=tag:n1,tag:ipxe,http://192.0.2.1:8081/boot/boot.ipxe
dhcp-boot=tag:n1,tag:!ipxe,tag:arch0,undionly.kpxe
dhcp-boot=tag:n1,tag:!ipxe,tag:arch7,snponly.efi
dhcp-boot=tag:n1,tag:!ipxe,tag:arch9,snponly.efi
dhcp-option-force=tag:n1,tag:!ipxe,tag:arch16,60,HTTPClient
dhcp-boot=tag:n1,tag:!ipxe,tag:arch16,http://192.0.2.1:8081/boot/loader/snponly.efi
"""


def settings_of(text: str) -> str:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return "\n".join(lines) + "\n"


def rendered(*networks: DhcpNetwork, **prefixes: tuple[str, ...]) -> list[str]:
    """The settings of these networks, line by line."""
    return settings_of(render(DhcpSettings(networks=networks), PLACE, prefixes)).splitlines()


def test_render_minimal_settings_is_the_golden_text() -> None:
    assert settings_of(render(DHCP, PLACE, {})) == GOLDEN


def test_render_router_and_dns_are_given_to_machines() -> None:
    network = msgspec.structs.replace(
        NETWORK, router="192.0.2.254", dns=("192.0.2.53", "192.0.2.54")
    )
    lines = rendered(network)
    assert "dhcp-option=tag:n1,option:router,192.0.2.254" in lines
    assert "dhcp-option=tag:n1,option:dns-server,192.0.2.53,192.0.2.54" in lines


def test_render_local_ipv6_network_is_announced_without_a_default_route() -> None:
    added = settings_of(render(DHCP, PLACE, {"eno1": ("fd78::",)})).removeprefix(GOLDEN)
    assert added == "enable-ra\ndhcp-range=fd78::,ra-only,64,3600\nra-param=eno1,60,0\n"


def test_render_proxy_gives_no_address_and_names_its_server() -> None:
    lines = rendered(PROXY)
    assert "dhcp-range=set:n1,198.51.100.0,proxy,255.255.255.0" in lines
    assert "pxe-service=tag:n1,tag:!ipxe,7,LPMOS,snponly.efi,192.0.2.1" in lines
    assert "dhcp-boot=tag:n1,tag:!ipxe,tag:arch0,undionly.kpxe,,192.0.2.1" in lines
    assert "dhcp-pxe-vendor=PXEClient,HTTPClient" in lines
    assert "dhcp-authoritative" not in lines
    assert not [line for line in lines if "encap:175" in line]


def test_render_networks_have_tags_and_addresses_of_their_own() -> None:
    own = msgspec.structs.replace(RELAYED, address="203.0.113.2")
    lines = rendered(NETWORK, own)
    assert lines.count("interface=eno1") == 1
    assert "dhcp-lease-max=191" in lines
    assert "dhcp-range=set:n2,203.0.113.10,203.0.113.100,255.255.255.128,3600" in lines
    assert "dhcp-option=tag:n2,option:router,203.0.113.1" in lines
    assert "dhcp-boot=tag:n1,tag:ipxe,http://192.0.2.1:8081/boot/boot.ipxe" in lines
    assert "dhcp-boot=tag:n2,tag:ipxe,http://203.0.113.2:8081/boot/boot.ipxe" in lines
    assert "dhcp-boot=tag:n2,tag:!ipxe,tag:arch7,snponly.efi,,203.0.113.2" in lines


def test_render_known_only_asks_for_hosts_of_any_network() -> None:
    place = PLACE._replace(hosts_dir=Path("/srv/hosts"))
    text = render(msgspec.structs.replace(DHCP, known_only=True), place, {})
    assert "dhcp-ignore=tag:!known,tag:!known-othernet\n" in text
    assert "dhcp-hostsfile=/srv/hosts/base\ndhcp-hostsdir=/srv/hosts/added\n" in settings_of(text)


def test_render_ipv6_names_loaders_by_architecture() -> None:
    network = msgspec.structs.replace(
        NETWORK, range6=("fd78::1000", "fd78::1fff"), address6="fd78::1"
    )
    lines = rendered(network, eno1=("fd78::",))
    assert "dhcp-range=set:n1v6,fd78::1000,fd78::1fff,slaac,64,3600" in lines
    assert not [line for line in lines if "ra-only" in line]
    url = "option6:bootfile-url"
    assert f"dhcp-option=tag:n1v6,tag:ipxe,{url},http://[fd78::1]:8081/boot/boot.ipxe" in lines
    assert "dhcp-match=set:arch7,option6:61,00:07" in lines
    assert f"dhcp-option=tag:n1v6,tag:!ipxe,tag:arch7,{url},tftp://[fd78::1]/snponly.efi" in lines


def test_render_network_with_ipv6_alone_says_nothing_over_ipv4() -> None:
    network = DhcpNetwork(interface="eno1", range6=("fd78::1000", "fd78::1fff"), address6="fd78::1")
    lines = rendered(network)
    assert "dhcp-range=set:n1v6,fd78::1000,fd78::1fff,slaac,64,3600" in lines
    assert "enable-ra" in lines
    assert "dhcp-lease-max=4096" in lines
    assert not [line for line in lines if "tag:n1," in line or line.startswith("dhcp-boot")]


def test_render_every_loader_stands_with_its_reason() -> None:
    text = render(DHCP, PLACE._replace(files=frozenset(LOADER_FILES)), {})
    for loader in LOADERS:
        assert loader.reason in text
        assert f"set:arch{loader.architecture}," in text
    assert len({loader.architecture for loader in LOADERS}) == len(LOADERS)


def test_render_loader_that_is_not_there_is_named_to_nobody() -> None:
    assert not [line for line in rendered(NETWORK) if any(name in line for name in OWN_FILES)]


def test_render_network_with_secure_boot_gives_uefi_the_signed_loader_and_bios_its_own() -> None:
    network = msgspec.structs.replace(
        NETWORK, secure_boot=True, range6=("2001:db8::10", "2001:db8::20"), address6="2001:db8::1"
    )
    place = PLACE._replace(files=PLACE.files | set(SECURE_FILES))
    lines = settings_of(render(DhcpSettings(networks=(network, RELAYED)), place, {})).splitlines()
    assert "dhcp-boot=tag:n1,tag:!ipxe,tag:arch0,undionly.kpxe" in lines
    assert "dhcp-boot=tag:n1,tag:!ipxe,tag:arch7,shimx64.efi" in lines
    assert "dhcp-boot=tag:n2,tag:!ipxe,tag:arch7,snponly.efi" in lines
    assert not [line for line in lines if "tag:n1," in line and "tag:arch16" in line]
    assert not [line for line in lines if "n1v6" in line and "snponly" in line]
