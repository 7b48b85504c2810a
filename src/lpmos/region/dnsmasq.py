"""The configuration of dnsmasq: static for a region, whatever its tasks do.

The rule: DHCP options decide who gets which loader, and what a machine then does is decided by HTTP
at boot time. So no task ever rewrites this file or restarts the program; which machines are known
stands in files beside it (`dhcp_hosts`). Every line stands here with its reason, and the reason
stands in the file. Each network has a tag of its own, so that what is said to one machine is said
to its network alone.

Options: dnsmasq(8); architecture numbers: RFC 4578 section 2.1 with its erratum 4625 and IANA's
registry "Processor Architecture Types"; option 175: iPXE's `include/ipxe/dhcp.h`.
"""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv6Address, IPv6Network
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import urlsplit

from lpmos.region.dhcp_networks import IPV6_PREFIX, DhcpNetwork, DhcpSettings

PROBE_FILE = "health"
"""A small file beside the loaders, read by the region's own TFTP probe."""
TFTP_TRANSFERS = 500
"""A rack that is powered on at once; dnsmasq's default of 50 would turn most of it away."""
ROUTER_ADVERTISEMENT_S = 60
RA_LEASE_S = 3600
MAX_LEASES6 = 100_000
"""A range of IPv6 has no end that counts: this many machines are enough."""
X86_BIOS = 0
BASE_FILE = "base"
ADDED_DIR = "added"
"""Below the directory of known machines."""


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
    Loader(
        11,
        "arm64 UEFI",
        "snponly-arm64.efi",
        "tftp",
        "as for x86-64; the distribution has none, so it is the operator's own file",
    ),
    Loader(
        19,
        "arm64 UEFI HTTP boot",
        "snponly-arm64.efi",
        "http",
        "as for x86-64; the distribution has none, so it is the operator's own file",
    ),
)
"""A machine of another architecture gets an address and no loader: a wrong one would hang it."""

SECURE_LOADERS: tuple[Loader, ...] = (
    LOADERS[0],
    *(
        Loader(
            number,
            "x86-64 UEFI",
            "shimx64.efi",
            "tftp",
            "signed, so that Secure Boot lets it start; it loads the signed GRUB beside it",
        )
        for number in (7, 9)
    ),
)
"""Those of networks with Secure Boot. Not by HTTP: the signed GRUB could not go on from there."""

LOADER_FILES: tuple[str, ...] = tuple(dict.fromkeys(loader.file for loader in LOADERS))
OWN_FILES = frozenset({"snponly-arm64.efi"})
"""No distribution has them: where the operator does not put them, there is no such loader."""
SECURE_FILES: tuple[str, ...] = ("shimx64.efi", "grubx64.efi")
"""What machines with Secure Boot load, the second by the first."""
PXE_MENU = "LPMOS"
"""The one entry of a proxy's boot menu, taken at once."""


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
    hosts_dir: Path | None = None
    """Where the known machines are; None: there are none."""
    port: int = 8081
    files: frozenset[str] = frozenset(LOADER_FILES) - OWN_FILES
    """The loaders that are there."""


class _Net(NamedTuple):
    """A network with what its lines need."""

    tag: str
    network: DhcpNetwork
    url: str
    tftp_address: str | None

    @property
    def url6(self) -> str:
        """Where machines reach the region over IPv6."""
        return f"http://[{self.network.address6}]:{self.url.rpartition(':')[2]}"


def render(dhcp: DhcpSettings, place: Place, ula_prefixes: Mapping[str, Sequence[str]]) -> str:
    """The text of the configuration file.

    Args:
        dhcp: checked settings.
        place: where the region's HTTP and files are.
        ula_prefixes: unique local IPv6 networks (RFC 4193) by interface, as `fd78::`.
    """
    nets = [_net(number, network, place) for number, network in enumerate(dhcp.networks, 1)]
    lines = [
        *_process(dhcp),
        *_machines(dhcp, place),
        *_leases(dhcp, place),
        *(line for net in nets for line in _addresses(net)),
        *_tftp(place),
        *_firmware(place),
        *_proxy(nets),
        *(line for net in nets for line in _loaders(net, place.files)),
        *(line for net in nets for line in _ipv6(net, place.files)),
        *_router_advertisements(dhcp, ula_prefixes),
    ]
    return "".join(
        (f"\n# {line.reason}\n" if line.reason else "") + f"{line.setting}\n" for line in lines
    )


def _net(number: int, network: DhcpNetwork, place: Place) -> _Net:
    own = network.address
    url = f"http://{own}:{place.port}" if own else place.base_url
    return _Net(f"n{number}", network, url, own or place.tftp_address)


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
    reason = "these networks and no others"
    for interface in dhcp.interfaces:
        yield Line(f"interface={interface}", reason)
        reason = ""
    yield Line("bind-interfaces")


def _machines(dhcp: DhcpSettings, place: Place) -> Iterator[Line]:
    if place.hosts_dir is not None:
        yield Line(
            f"dhcp-hostsfile={place.hosts_dir / BASE_FILE}",
            "machines that are known, and their reserved addresses; read anew at SIGHUP",
        )
        yield Line(
            f"dhcp-hostsdir={place.hosts_dir / ADDED_DIR}",
            "those that came since, read as they come",
        )
    if dhcp.known_only:
        yield Line(
            "dhcp-ignore=tag:!known,tag:!known-othernet",
            "a machine that the region does not know gets no answer",
        )


def _leases(dhcp: DhcpSettings, place: Place) -> Iterator[Line]:
    count = sum(network.size for network in dhcp.networks)
    count += sum(_size6(network) for network in dhcp.networks)
    yield Line(
        f"dhcp-lease-max={max(count, 1)}",
        "as many leases as addresses; the default stops at 1000",
    )
    yield Line(f"dhcp-leasefile={place.lease_file}")
    if count:
        yield Line(
            "dhcp-authoritative",
            "the only server there: a lease of another network is refused at once",
        )
        yield Line("no-ping", "an offer at once: the usual ping of a new address costs 3 s a boot")


def _addresses(net: _Net) -> Iterator[Line]:
    network, subnet = net.network, net.network.network
    if network.ipv6_only:
        return
    name = f"network {net.tag[1:]}, {network.mode}: {network.name}"
    if network.mode == "proxy":
        assert subnet is not None  # noqa: S101 - checked with the settings
        address, mask = subnet.network_address, subnet.netmask
        yield Line(f"dhcp-range=set:{net.tag},{address},proxy,{mask}", name)
        return
    first, last = network.range
    mask_part = f",{subnet.netmask}" if subnet else ""
    yield Line(f"dhcp-range=set:{net.tag},{first},{last}{mask_part},{network.lease_s}", name)
    yield Line(
        f"dhcp-option=tag:{net.tag},option:router{',' + network.router if network.router else ''}",
        "the gateway; without one dnsmasq would name itself, and this region forwards nothing",
    )
    if network.dns:
        yield Line(f"dhcp-option=tag:{net.tag},option:dns-server,{','.join(network.dns)}")
    yield Line(
        f"dhcp-option=tag:{net.tag},tag:ipxe,encap:175,176,1b",
        "iPXE's no-pxedhcp: it would wait seconds for a ProxyDHCP offer that does not come",
    )


def _tftp(place: Place) -> Iterator[Line]:
    yield Line("enable-tftp", "boot loaders")
    yield Line(f"tftp-root={place.tftp_root}")
    yield Line(f"tftp-max={TFTP_TRANSFERS}", "a whole rack may be powered on at once")


def _firmware(place: Place) -> Iterator[Line]:
    """The tags by which a machine's firmware is known."""
    yield Line("dhcp-match=set:ipxe,175", "iPXE shows itself by option 175")
    for loader in _there(place.files):
        number = loader.architecture
        yield Line(
            f"dhcp-match=set:arch{number},option:client-arch,{number}",
            f"{loader.firmware} ({number}): {loader.reason}",
        )


def _there(files: frozenset[str], loaders: tuple[Loader, ...] = LOADERS) -> list[Loader]:
    return [loader for loader in loaders if loader.file in files]


def _proxy(nets: Sequence[_Net]) -> Iterator[Line]:
    if any(net.network.mode == "proxy" for net in nets):
        yield Line(
            "dhcp-pxe-vendor=PXEClient,HTTPClient",
            "beside another DHCP server, firmware that boots by HTTP is answered too",
        )


def _loaders(net: _Net, files: frozenset[str]) -> Iterator[Line]:
    """Which loader, and for iPXE which script, the machines of a network get over IPv4."""
    if net.network.ipv6_only:
        return
    proxy = net.network.mode == "proxy"
    # a proxy's answer names no server by itself
    server = net.tftp_address or (urlsplit(net.url).hostname if proxy else None)
    reason = f"network {net.tag[1:]}: loaders by firmware; iPXE gets the script for all machines"
    script = f"{net.url}/boot/boot.ipxe" + (f",,{server}" if proxy else "")
    yield Line(f"dhcp-boot=tag:{net.tag},tag:ipxe,{script}", reason)
    for loader in _there(files, SECURE_LOADERS if net.network.secure_boot else LOADERS):
        number = loader.architecture
        tags = f"tag:{net.tag},tag:!ipxe,tag:arch{number}"
        if loader.transport == "http":
            if not proxy:
                yield Line(f"dhcp-option-force={tags},60,HTTPClient")
            yield Line(f"dhcp-boot={tags},{net.url}/boot/loader/{loader.file}")
        elif proxy and number != X86_BIOS:
            at = f",{server}" if server else ""
            yield Line(f"pxe-service=tag:{net.tag},tag:!ipxe,{number},{PXE_MENU},{loader.file}{at}")
        else:
            yield Line(f"dhcp-boot={tags},{loader.file}" + (f",,{server}" if server else ""))


def _size6(network: DhcpNetwork) -> int:
    if not network.range6:
        return 0
    first, last = map(IPv6Address, network.range6)
    return min(int(last) - int(first) + 1, MAX_LEASES6)


def _ipv6(net: _Net, files: frozenset[str]) -> Iterator[Line]:
    """DHCPv6 of a network: the boot file's URL by architecture (RFC 5970)."""
    network = net.network
    if not network.range6:
        return
    first, last = network.range6
    tag = f"{net.tag}v6"
    yield Line(
        f"dhcp-range=set:{tag},{first},{last},slaac,{IPV6_PREFIX},{network.lease_s}",
        f"network {net.tag[1:]} by IPv6; agents call from the address that they make of their MAC",
    )
    yield Line("dhcp-userclass=set:ipxe,iPXE", "how iPXE shows itself over IPv6")
    script = f"{net.url6}/boot/boot.ipxe"
    yield Line(f"dhcp-option=tag:{tag},tag:ipxe,option6:bootfile-url,{script}")
    for loader in () if network.secure_boot else _there(files):  # GRUB is told all by IPv4
        if loader.architecture == X86_BIOS or loader.transport == "http":
            continue  # one knows no IPv6; of the other, dnsmasq cannot write the vendor class
        arch = f"arch{loader.architecture}"
        yield Line(f"dhcp-match=set:{arch},option6:61,00:{loader.architecture:02x}")
        tags = f"tag:{tag},tag:!ipxe,tag:{arch}"
        url = f"tftp://[{network.address6}]/{loader.file}"
        yield Line(f"dhcp-option={tags},option6:bootfile-url,{url}")


def _router_advertisements(
    dhcp: DhcpSettings, ula_prefixes: Mapping[str, Sequence[str]]
) -> Iterator[Line]:
    given = {
        IPv6Network((network.range6[0], IPV6_PREFIX), strict=False)
        for network in dhcp.networks
        if network.range6
    }
    announced = [
        (interface, prefix)
        for interface in dhcp.interfaces
        for prefix in ula_prefixes.get(interface, ())
        if IPv6Network((prefix, IPV6_PREFIX)) not in given
    ]
    if not announced and not given:
        return
    yield Line("enable-ra", "iPXE waits 13 s for an IPv6 router before it goes on with IPv4")
    for _, prefix in announced:
        yield Line(f"dhcp-range={prefix},ra-only,64,{RA_LEASE_S}")
    for interface in dhcp.interfaces:
        yield Line(
            f"ra-param={interface},{ROUTER_ADVERTISEMENT_S},0",
            "lifetime 0: no machine takes this region for its IPv6 router",
        )
