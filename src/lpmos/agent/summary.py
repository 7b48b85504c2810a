"""An inventory in a few lines, for a person at the console."""

from typing import Any

from lpmos.agent.inventory import Inventory

_GB = 1_000_000_000
_GIB = 1 << 30


def summary_lines(hardware: Inventory) -> list[str]:
    """Product, processor and memory, each disk, each interface, the BMC where it tells of one."""
    product, cpu, memory = (_part(hardware, name) for name in ("product", "cpu", "memory"))
    total = memory.get("total_bytes")
    lines = [
        f"{product.get('vendor') or 'unknown'} {product.get('name') or 'machine'},"
        f" serial {product.get('serial') or 'unknown'}, boots by {hardware.get('boot_mode')}",
        f"{cpu.get('model') or 'unknown processor'}: {cpu.get('sockets')} sockets,"
        f" {cpu.get('cores')} cores, {cpu.get('threads')} threads;"
        f" {(total if isinstance(total, int) else 0) / _GIB:.1f} GiB of memory",
    ]
    for disk in _list(hardware, "disks"):
        contents = ", ".join(disk["contents"]) or "blank"
        lines.append(
            f"disk {disk['device']}: {disk['size_bytes'] / _GB:.1f} GB {disk['kind']},"
            f" {disk['model'] or 'no model'}, serial {disk['serial'] or 'none'}, {contents}"
        )
    for nic in _list(hardware, "nics"):
        mark = " (booted)" if nic["booted"] else ""
        lines.append(f"interface {nic['interface']}: {nic['mac']}, {nic['driver']}{mark}")
    if address := hardware.get("bmc_address"):
        lines.append(f"BMC {address}")
    return lines


def _part(hardware: Inventory, name: str) -> dict[str, Any]:
    part = hardware.get(name)
    return part if isinstance(part, dict) else {}


def _list(hardware: Inventory, name: str) -> list[dict[str, Any]]:
    part = hardware.get(name)
    return part if isinstance(part, list) else []
