from pathlib import Path

from lpmos.region.dnsmasq import LOADERS, Place, render
from lpmos.region.settings import DhcpSettings

PLACE = Place("http://192.0.2.1:8081", Path("/srv/tftp"), Path("/srv/leases"))
DHCP = DhcpSettings(interface="eno1", first="192.0.2.100", last="192.0.2.199")

GOLDEN = """\
port=0
log-facility=-
log-dhcp
user=root
group=root
interface=eno1
bind-interfaces
dhcp-range=192.0.2.100,192.0.2.199,3600
dhcp-lease-max=100
dhcp-leasefile=/srv/leases
dhcp-authoritative
no-ping
dhcp-option=option:router
dhcp-match=set:ipxe,175
enable-tftp
tftp-root=/srv/tftp
tftp-max=500
dhcp-match=set:arch0,option:client-arch,0
dhcp-boot=tag:!ipxe,tag:arch0,undionly.kpxe
dhcp-match=set:arch7,option:client-arch,7
dhcp-boot=tag:!ipxe,tag:arch7,snponly.efi
dhcp-match=set:arch9,option:client-arch,9
dhcp-boot=tag:!ipxe,tag:arch9,snponly.efi
dhcp-match=set:arch16,option:client-arch,16
dhcp-option-force=tag:!ipxe,tag:arch16,60,HTTPClient
dhcp-boot=tag:!ipxe,tag:arch16,http://192.0.2.1:8081/boot/loader/snponly.efi
dhcp-boot=tag:ipxe,http://192.0.2.1:8081/boot/boot.ipxe
dhcp-option=tag:ipxe,encap:175,176,1b
"""


def settings_of(text: str) -> str:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return "\n".join(lines) + "\n"


def test_render_minimal_settings_is_the_golden_text() -> None:
    assert settings_of(render(DHCP, PLACE)) == GOLDEN


def test_render_router_and_dns_are_given_to_machines() -> None:
    dhcp = DhcpSettings(
        interface="eno1",
        first="192.0.2.100",
        last="192.0.2.199",
        router="192.0.2.254",
        dns=("192.0.2.53", "192.0.2.54"),
    )
    text = render(dhcp, PLACE)
    assert "dhcp-option=option:router,192.0.2.254\n" in text
    assert "dhcp-option=option:dns-server,192.0.2.53,192.0.2.54\n" in text


def test_render_local_ipv6_network_is_announced_without_a_default_route() -> None:
    added = settings_of(render(DHCP, PLACE, ("fd78::",))).removeprefix(GOLDEN)
    assert added == "enable-ra\ndhcp-range=fd78::,ra-only,64,3600\nra-param=eno1,60,0\n"


def test_render_every_loader_stands_with_its_reason() -> None:
    text = render(DHCP, PLACE)
    for loader in LOADERS:
        assert loader.reason in text
        assert f"set:arch{loader.architecture}," in text
    assert len({loader.architecture for loader in LOADERS}) == len(LOADERS)
