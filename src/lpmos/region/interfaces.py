"""The IPv4 networks of this host's interfaces: what a served network is where no one says so."""

import asyncio
import json
from ipaddress import IPv4Interface, IPv4Network

import msgspec

from lpmos.model.errors import SettingsError
from lpmos.region.dhcp_networks import DhcpNetwork, DhcpSettings, dhcp_problems
from lpmos.region.tftp import program

COMMAND_TIMEOUT_S = 5.0


def parse_networks(text: str) -> tuple[IPv4Network, ...]:
    """The networks in what `ip -json -4 address show` prints (ip-address(8))."""
    found = [
        IPv4Interface(f"{address['local']}/{address['prefixlen']}").network
        for interface in json.loads(text or "[]")
        for address in interface.get("addr_info", ())
    ]
    return tuple(dict.fromkeys(found))


async def with_subnets(dhcp: DhcpSettings) -> DhcpSettings:
    """The same networks, those with IPv4 each with its subnet: the interface's where none is named.

    Raises:
        SettingsError: a range is not in any network of its interface, or networks overlap.
    """
    networks = tuple([await _with_subnet(network) for network in dhcp.networks])
    found = msgspec.structs.replace(dhcp, networks=networks)
    if problems := dhcp_problems(found):
        raise SettingsError("; ".join(problems))
    return found


async def _with_subnet(network: DhcpNetwork) -> DhcpNetwork:
    if network.subnet is not None or network.ipv6_only:
        return network
    here = await _networks_of(network.interface)
    subnet = next((each for each in here if network.within(each)), None)
    if subnet is None:
        there = ", ".join(map(str, here)) or "no IPv4 network"
        raise SettingsError(
            f"dhcp_range: {'-'.join(network.range)} is not in a network of {network.interface},"
            f" which has {there}; choose another range or give the interface an address"
        )
    return msgspec.structs.replace(network, subnet=str(subnet))


async def _networks_of(interface: str) -> tuple[IPv4Network, ...]:
    process = await asyncio.create_subprocess_exec(
        *(program("ip", "iproute2"), "-json", "-4", "address", "show", "dev", interface),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        output, _ = await process.communicate()
    return parse_networks(output.decode())
