"""The machine's inventory: one JSON document in the shape of `lpmos.model.inventory`.

Everything is read below one root directory, so that recorded machines are read by the same code.
What cannot be read is `None`; nothing here raises on odd hardware.
"""

import time

from lpmos import __version__
from lpmos.agent.inventory.bmc import read_bmc_address
from lpmos.agent.inventory.disks import Probe, read_disks
from lpmos.agent.inventory.identity import read_identity
from lpmos.agent.inventory.nics import read_nics
from lpmos.agent.inventory.platform import (
    read_boot_mode,
    read_pci,
    read_secure_boot,
    read_tpm_version,
)
from lpmos.agent.inventory.processor import read_cpu, read_memory_bytes
from lpmos.agent.inventory.tree import Tree

Inventory = dict[str, object]


def collect(tree: Tree, probe: Probe, booted_mac: str | None, now_s: float) -> Inventory:
    """All that this machine shows of itself; `now_s` is the Unix time to stamp it with."""
    identity = read_identity(tree)
    return {
        "collected_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now_s)),
        "boot_mode": read_boot_mode(tree),
        "product": identity.product,
        "board": identity.board,
        "chassis": identity.chassis,
        "bios": identity.bios,
        "cpu": read_cpu(tree),
        "memory": {"total_bytes": read_memory_bytes(tree), "dimms": identity.dimms},
        "disks": read_disks(tree, probe),
        "nics": read_nics(tree, booted_mac),
        "bmc_address": read_bmc_address(tree),
        "tpm_version": read_tpm_version(tree),
        "secure_boot": read_secure_boot(tree),
        "pci": read_pci(tree),
        "agent_version": __version__,
    }
