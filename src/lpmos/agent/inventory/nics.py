"""The physical Ethernet interfaces, from `/sys/class/net`, and which of them booted."""

import re
from collections.abc import Mapping

from lpmos.agent.inventory.tree import Tree

_ETHERNET = 1  # ARPHRD_ETHER, linux/if_arp.h
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
_BOOTIF = re.compile(r"01-([0-9a-f]{2}(-[0-9a-f]{2}){5})")


def boot_mac(arguments: dict[str, str]) -> str | None:
    """The MAC in `BOOTIF=01-52-54-…`: 01 is the hardware type Ethernet, as PXELINUX writes it."""
    found = _BOOTIF.fullmatch(arguments.get("BOOTIF", "").lower())
    return found[1].replace("-", ":") if found else None


def read_nics(tree: Tree, booted_mac: str | None) -> list[dict[str, object]]:
    """Every physical interface; the MAC in lower case with colons.

    Without `booted_mac` the interface of the default route counts as booted, else the first with
    a carrier, else the first.
    """
    nics = [
        _nic(tree, name, mac)
        for name in tree.names("sys/class/net")
        if (mac := _physical_mac(tree, name)) is not None
    ]
    chosen = _booted(tree, nics, booted_mac)
    for nic in nics:
        nic["booted"] = nic is chosen
    return nics


def connected_interfaces(inventory: Mapping[str, object]) -> list[str]:
    """The names of the cards that have a link."""
    return [str(nic["interface"]) for nic in _nics(inventory) if nic["carrier"]]


def with_neighbours(
    inventory: dict[str, object], heard: Mapping[str, Mapping[str, object]]
) -> dict[str, object]:
    """The inventory with what each card's switch has told of itself."""
    nics = [{**nic, "neighbour": heard.get(str(nic["interface"]))} for nic in _nics(inventory)]
    return {**inventory, "nics": nics}


def _nics(inventory: Mapping[str, object]) -> list[dict[str, object]]:
    nics = inventory["nics"]
    return nics if isinstance(nics, list) else []


def _physical_mac(tree: Tree, name: str) -> str | None:
    base = f"sys/class/net/{name}"
    if not tree.exists(f"{base}/device") or tree.number(f"{base}/type") != _ETHERNET:
        return None
    mac = (tree.text(f"{base}/address") or "").lower()
    unicast = _MAC.fullmatch(mac) and not int(mac[:2], 16) & 1 and mac.strip("0:")
    return mac if unicast else None


def _nic(tree: Tree, name: str, mac: str) -> dict[str, object]:
    base = f"sys/class/net/{name}"
    speed = tree.number(f"{base}/speed")
    carrier = tree.number(f"{base}/carrier")
    return {
        "interface": name,
        "mac": mac,
        "speed_mbps": speed if speed is not None and speed > 0 else None,
        "driver": tree.link_name(f"{base}/device/driver"),
        "carrier": None if carrier is None else bool(carrier),
        "booted": False,
        "pci_address": _pci_address(tree.real(f"{base}/device")),
        "numa_node": _numa_node(tree.number(f"{base}/device/numa_node")),
        "neighbour": None,
    }


def _pci_address(path: str) -> str | None:
    """The last PCI function on the way to a device: a virtio card hangs below one."""
    found = re.findall(r"/([0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}[.][0-7])(?=/|$)", path)
    return found[-1] if found else None


def _numa_node(number: int | None) -> int | None:
    """-1 is the kernel's word for none."""
    return None if number is None or number < 0 else number


def _booted(tree: Tree, nics: list[dict[str, object]], mac: str | None) -> dict[str, object] | None:
    if mac is not None:
        return next((nic for nic in nics if nic["mac"] == mac), None)
    routed = _default_route(tree.text("proc/net/route") or "")
    on_route = [nic for nic in nics if nic["interface"] == routed]
    connected = [nic for nic in nics if nic["carrier"]]
    return next(iter(on_route or connected or nics), None)


def _default_route(table: str) -> str | None:
    """The interface whose destination is 0.0.0.0 (`/proc/net/route`, columns 1 and 2)."""
    for line in table.splitlines()[1:]:
        columns = line.split()
        if len(columns) > 1 and columns[1] == "00000000":
            return columns[0]
    return None
