"""The configuration of dnsmasq: static for a region, whatever its tasks do.

The rule: DHCP options decide who gets which loader, and what a machine then does is decided by HTTP
at boot time. So no task ever rewrites this file or restarts the program. Every line stands here
with its reason, and the reason stands in the file.

Options: dnsmasq(8); architecture numbers: RFC 4578 section 2.1 with its erratum 4625 and IANA's
registry "Processor Architecture Types"; option 175: iPXE's `include/ipxe/dhcp.h`.
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address
from pathlib import Path
from typing import Literal, NamedTuple

from lpmos.region.settings import DhcpSettings

PROBE_FILE = "health"
"""A small file beside the loaders, read by the region's own TFTP probe."""
TFTP_TRANSFERS = 500
"""A rack that is powered on at once; dnsmasq's default of 50 would turn most of it away."""
ROUTER_ADVERTISEMENT_S = 60


class Loader(NamedTuple):
    """The first program of one kind of firmware, by its number in DHCP option 93."""

    architecture: int
    firmware: str
    file: str
    transport: Literal["tftp", "http"]
    reason: str


LOADERS: tuple[Loader, ...] = (
    Loader(
        0,
        "x86 BIOS",
        "undionly.kpxe",
        "tftp",
        "iPXE on the card's own UNDI driver: whatever card could netboot so far works on",
    ),
    Loader(
        7,
        "x86-64 UEFI",
        "snponly.efi",
        "tftp",
        "iPXE on the firmware's own network driver, and only on the card that booted",
    ),
    Loader(
        9,
        "x86-64 UEFI",
        "snponly.efi",
        "tftp",
        "RFC 4578 as printed gives 9 to x86-64, its erratum 7: firmware of both readings exists",
    ),
    Loader(
        16,
        "x86-64 UEFI HTTP boot",
        "snponly.efi",
        "http",
        "this firmware wants a URL, and refuses an offer that does not say HTTPClient",
    ),
)
"""A machine of another architecture gets an address and no loader: a wrong one would hang it."""

LOADER_FILES: tuple[str, ...] = tuple(dict.fromkeys(loader.file for loader in LOADERS))


class Line(NamedTuple):
    """One setting of dnsmasq, and why it is there (empty: the line above says it)."""

    setting: str
    reason: str = ""


class Place(NamedTuple):
    """Where the region is: its base URL for machines, and its files."""

    base_url: str
    tftp_root: Path
    lease_file: Path
    tftp_address: str | None = None
    """Where machines load by TFTP from; None: the address of this host on their network."""


def render(dhcp: DhcpSettings, place: Place, ula_prefixes: Sequence[str] = ()) -> str:
    """The text of the configuration file.

    Args:
        dhcp: checked settings.
        place: where the region's HTTP and files are.
        ula_prefixes: unique local IPv6 networks of the interface (RFC 4193), as `fd78::`.
    """
    lines = [
        *_process(dhcp),
        *_addresses(dhcp, place),
        *_loaders(place),
        *_ipxe(place),
        *_router_advertisements(dhcp, ula_prefixes),
    ]
    return "".join(
        (f"\n# {line.reason}\n" if line.reason else "") + f"{line.setting}\n" for line in lines
    )


def _process(dhcp: DhcpSettings) -> Iterator[Line]:
    yield Line("port=0", "no DNS")
    yield Line("log-facility=-", "to standard error, where the region reads it")
    yield Line("log-dhcp", "what each machine asked and was told is evidence")
    yield Line(
        "user=root",
        "the kernel forgets who shall die with the region when a process changes its user"
        " (commit_creds in kernel/cred.c); the region takes the rights of root away instead",
    )
    yield Line("group=root")
    yield Line(f"interface={dhcp.interface}", "this network and no other")
    yield Line("bind-interfaces")


def _addresses(dhcp: DhcpSettings, place: Place) -> Iterator[Line]:
    count = int(IPv4Address(dhcp.last)) - int(IPv4Address(dhcp.first)) + 1
    yield Line(f"dhcp-range={dhcp.first},{dhcp.last},{dhcp.lease_s}", "addresses for machines")
    yield Line(f"dhcp-lease-max={count}", "as many leases as addresses; the default stops at 1000")
    yield Line(f"dhcp-leasefile={place.lease_file}")
    yield Line(
        "dhcp-authoritative", "the only server here: a lease of another network is refused at once"
    )
    yield Line("no-ping", "an offer at once: the usual ping of a new address costs 3 s a boot")
    yield Line(
        f"dhcp-option=option:router{',' + dhcp.router if dhcp.router else ''}",
        "the gateway; without one dnsmasq would name itself, and this region forwards nothing",
    )
    if dhcp.dns:
        yield Line(f"dhcp-option=option:dns-server,{','.join(dhcp.dns)}", "name servers")


def _loaders(place: Place) -> Iterator[Line]:
    yield Line("dhcp-match=set:ipxe,175", "iPXE shows itself by option 175")
    yield Line("enable-tftp", "boot loaders")
    yield Line(f"tftp-root={place.tftp_root}")
    yield Line(f"tftp-max={TFTP_TRANSFERS}", "a whole rack may be powered on at once")
    for loader in LOADERS:
        number = loader.architecture
        yield Line(
            f"dhcp-match=set:arch{number},option:client-arch,{number}",
            f"{loader.firmware} ({number}): {loader.reason}",
        )
        if loader.transport == "http":
            yield Line(f"dhcp-option-force=tag:!ipxe,tag:arch{number},60,HTTPClient")
            file = f"{place.base_url}/boot/loader/{loader.file}"
        else:
            file = loader.file + (f",,{place.tftp_address}" if place.tftp_address else "")
        yield Line(f"dhcp-boot=tag:!ipxe,tag:arch{number},{file}")


def _ipxe(place: Place) -> Iterator[Line]:
    yield Line(
        f"dhcp-boot=tag:ipxe,{place.base_url}/boot/boot.ipxe",
        "iPXE: one script for all, which asks what its machine shall do",
    )
    yield Line(
        "dhcp-option=tag:ipxe,encap:175,176,1b",
        "iPXE's no-pxedhcp: it would wait seconds for a ProxyDHCP offer that does not come",
    )


def _router_advertisements(dhcp: DhcpSettings, ula_prefixes: Sequence[str]) -> Iterator[Line]:
    if not ula_prefixes:
        return
    yield Line("enable-ra", "iPXE waits 13 s for an IPv6 router before it goes on with IPv4")
    for prefix in ula_prefixes:
        yield Line(f"dhcp-range={prefix},ra-only,64,{dhcp.lease_s}")
    yield Line(
        f"ra-param={dhcp.interface},{ROUTER_ADVERTISEMENT_S},0",
        "lifetime 0: no machine takes this region for its IPv6 router",
    )
