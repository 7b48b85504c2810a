"""CPU and memory size from `/proc/cpuinfo` and `/proc/meminfo`."""

import re

from lpmos.agent.inventory.tree import Tree

CPUINFO_LIMIT_BYTES = 16 << 20
"""A thread takes up to 2 kB, and servers have a thousand."""


def read_cpu(tree: Tree) -> dict[str, object]:
    """The processors of the whole machine; without topology each thread counts as a core."""
    processors = _processors(tree.text("proc/cpuinfo", CPUINFO_LIMIT_BYTES) or "")
    sockets = {cpu["physical id"] for cpu in processors if "physical id" in cpu}
    cores = {(cpu.get("physical id"), cpu["core id"]) for cpu in processors if "core id" in cpu}
    first = processors[0] if processors else {}
    threads = max(len(processors), 1)
    return {
        "model": first.get("model name") or None,
        "vendor": first.get("vendor_id") or None,
        "sockets": max(len(sockets), 1),
        "cores": len(cores) or threads,
        "threads": threads,
        "flags": (first.get("flags") or first.get("Features") or "").split(),
        "numa_nodes": _numa_nodes(tree),
    }


def read_memory_bytes(tree: Tree) -> int:
    """What the kernel has (`MemTotal`); 0 where it does not say."""
    found = re.search(r"^MemTotal:\s+(\d{1,15}) kB", tree.text("proc/meminfo") or "", re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _numa_nodes(tree: Tree) -> list[dict[str, object]]:
    """The nodes of `/sys/devices/system/node`, where there are several."""
    place = "sys/devices/system/node"
    numbers = sorted(
        int(found[1]) for name in tree.names(place) if (found := re.fullmatch(r"node(\d+)", name))
    )
    if len(numbers) < 2:
        return []
    return [
        {
            "node": number,
            "cpus": tree.text(f"{place}/node{number}/cpulist") or "",
            "memory_bytes": _node_bytes(tree.text(f"{place}/node{number}/meminfo") or ""),
        }
        for number in numbers
    ]


def _node_bytes(meminfo: str) -> int:
    found = re.search(r"MemTotal:\s+(\d{1,15}) kB", meminfo)
    return int(found[1]) * 1024 if found else 0


def _processors(cpuinfo: str) -> list[dict[str, str]]:
    """One mapping for each `processor` block."""
    blocks = []
    for block in re.split(r"\n\s*\n", cpuinfo):
        pairs = (line.partition(":") for line in block.splitlines())
        fields = {key.strip(): value.strip() for key, colon, value in pairs if colon}
        if "processor" in fields:
            blocks.append(fields)
    return blocks
