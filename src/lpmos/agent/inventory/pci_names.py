"""What PCI functions are called: the PCI ID list (pci.ids(5), package `pci.ids`), read once.

The list is sorted and long, and a machine has some dozens of functions: one walk through it finds
their names and keeps nothing else.
"""

from collections.abc import Iterable

from lpmos.agent.inventory.tree import Tree

LIST = "usr/share/misc/pci.ids"
LIST_LIMIT_BYTES = 8 << 20

Names = dict[tuple[str, str], tuple[str | None, str | None]]
"""From the ids of vendor and device to their names."""


def pci_names(tree: Tree, ids: Iterable[tuple[str, str]]) -> Names:
    """The names of these functions; what the list does not have is `None`."""
    wanted: dict[str, dict[str, str | None]] = {}
    for vendor, device in ids:
        wanted.setdefault(vendor, {})[device] = None
    vendors: dict[str, str] = {}
    present = ""
    for line in (tree.data(LIST, LIST_LIMIT_BYTES) or b"").decode(errors="replace").splitlines():
        if line.startswith("C "):  # the classes begin, and the devices are over
            break
        number, _, name = line.strip().partition("  ")
        if not line.startswith("\t"):
            present = number if number in wanted else ""
            if present:
                vendors[present] = name
        elif present and not line.startswith("\t\t") and number in wanted[present]:
            wanted[present][number] = name
    return {
        (vendor, device): (vendors.get(vendor), name)
        for vendor, devices in wanted.items()
        for device, name in devices.items()
    }
