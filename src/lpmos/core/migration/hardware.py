"""A hardware report of older agents as an inventory of today.

Their gigabytes are GiB, cut to whole ones; how the machine booted they did not say.
"""

import re
from collections.abc import Mapping
from typing import Any, Literal, cast

from lpmos.core.migration.fields import Fields
from lpmos.model.diskplan import GIB
from lpmos.model.inventory import Bios, Cpu, Dimm, Disk, Inventory, Memory, Nic, Product
from lpmos.model.machine import parse_mac

_SPEED = re.compile(r"(\d{1,6})\s*(G|M)b(it)?(ps|/s)", re.IGNORECASE)
_KINDS = ("ssd", "hdd", "nvme")
_MODES = ("bios", "uefi")


class WrongHardware(ValueError):
    """Not a hardware report; the text names every wrong field."""


def parse_hardware(document: Mapping[str, Any]) -> Inventory:
    """The inventory, bounded as those that agents report.

    Raises:
        WrongHardware: a field that is there is not what it should be, or one is missing.
    """
    fields = Fields(document)
    collected_at = fields.time("collected_at", required=True)
    memory = _memory(fields.inside("memory"))
    product, bios = _firmware(fields)
    disks = tuple(filter(None, map(_disk, fields.each("disks"))))
    nics = tuple(filter(None, map(_nic, fields.each("network"))))
    cpu = _cpu(fields.inside("cpu"))
    mode = fields.text("boot_mode")
    if mode not in (None, *_MODES):
        fields.wrong("boot_mode", f"{mode!r} is unknown")
    if fields.problems or collected_at is None or memory is None:
        raise WrongHardware("; ".join(fields.problems))
    return Inventory(
        collected_at=collected_at,
        boot_mode=cast(Literal["bios", "uefi", "unknown"], mode or "unknown"),
        product=product,
        bios=bios,
        cpu=cpu,
        memory=memory,
        disks=disks,
        nics=nics,
        bmc_address=fields.text("bmc_address"),
    ).bounded()


def _cpu(fields: Fields) -> Cpu:
    cores, threads = fields.whole("cores") or 1, fields.whole("threads")
    sockets = fields.whole("sockets") or 1
    model = fields.text("model")
    return Cpu(model=model, sockets=sockets, cores=cores, threads=threads or cores)


def _memory(fields: Fields) -> Memory | None:
    total = fields.whole("total_gb")
    if total is None:
        fields.wrong("total_gb", "is missing")
    dimms = tuple(
        Dimm(
            slot=each.text("slot"),
            size_bytes=(each.whole("size_gb") or 0) * GIB,
            type=each.text("type"),
            speed_mts=each.whole("speed_mhz"),
        )
        for each in fields.each("dimms")
    )
    return None if total is None else Memory(total_bytes=total * GIB, dimms=dimms)


def _disk(fields: Fields) -> Disk | None:
    device, size = fields.text("device", required=True), fields.whole("size_gb")
    kind = (fields.text("type", required=True) or "").lower()
    if kind and kind not in _KINDS:
        fields.wrong("type", f"{kind[:20]!r} is unknown")
    if size is None:
        fields.wrong("size_gb", "is missing")
    if device is None or size is None or kind not in _KINDS:
        return None
    return Disk(
        device=device,
        size_bytes=size * GIB,
        kind=cast(Literal["ssd", "hdd", "nvme"], kind),
        rotational=kind == "hdd",
        model=fields.text("model"),
        serial=fields.text("serial"),
    )


def _nic(fields: Fields) -> Nic | None:
    """A network interface; those without an address (tunnels) are no NICs."""
    interface, mac = fields.text("interface", required=True), fields.parsed(parse_mac, "mac")
    if interface is None or mac is None:
        return None
    return Nic(interface=interface, mac=mac, speed_mbps=_speed(fields.text("speed")))


def _speed(text: str | None) -> int | None:
    """`10Gbps` or ethtool's `10000Mb/s`; None for what is none, as `Unknown!`."""
    match = _SPEED.fullmatch(text.strip()) if text else None
    if match is None:
        return None
    return int(match[1]) * (1000 if match[2].upper() == "G" else 1)


def _firmware(fields: Fields) -> tuple[Product, Bios]:
    """The old report had the product's serial number with the firmware."""
    bios = fields.inside("bios")
    found = Bios(vendor=bios.text("vendor"), version=bios.text("version"))
    return Product(serial=bios.text("serial")), found
