"""A machine's hardware as a person reads it, in a task and in a machine."""

from lpmos.cli.client import Document
from lpmos.cli.display import Column, Display, get
from lpmos.cli.words import listed, size

DISKS = (
    Column("DISK", lambda disk: disk["device"]),
    Column("SIZE", lambda disk: size(disk["size_bytes"]), right=True),
    Column("KIND", lambda disk: disk["kind"]),
    Column("MODEL", lambda disk: disk.get("model") or "", drop=2),
    Column("SERIAL", lambda disk: disk.get("serial") or "", drop=1),
    Column("HOLDS", lambda disk: listed(disk.get("contents")) or "blank"),
)
NICS = (
    Column("NIC", lambda nic: nic["interface"]),
    Column("MAC", lambda nic: nic["mac"]),
    Column("SPEED", lambda nic: f"{nic['speed_mbps']} Mb/s" if nic.get("speed_mbps") else "",
           right=True),
    Column("DRIVER", lambda nic: nic.get("driver") or "", drop=1),
    Column("LINK", lambda nic: {True: "up", False: "down"}.get(nic["carrier"], "")
           if nic.get("carrier") is not None else ""),
    Column("", lambda nic: "booted" if nic.get("booted") else ""),
)  # fmt: skip


def show_inventory(display: Display, hardware: Document) -> None:
    """The parts that decide what the machine is good for."""
    cpu = hardware.get("cpu") or {}
    display.fields(
        [
            ("product", named(hardware.get("product"))),
            ("board", named(hardware.get("board"))),
            ("BIOS", named(hardware.get("bios"))),
            ("boot mode", hardware["boot_mode"]),
            ("CPU", cpu.get("model")),
            ("", _counts(cpu)),
            ("memory", size(get(hardware, "memory", "total_bytes"))),
            ("BMC", hardware.get("bmc_address")),
            ("TPM", hardware.get("tpm_version")),
        ]
    )  # fmt: skip
    if hardware.get("disks"):
        display.table(hardware["disks"], DISKS)
    if hardware.get("nics"):
        display.table(hardware["nics"], NICS)


def _counts(cpu: Document) -> str:
    """How many of each: `2 sockets, 32 cores, 64 threads`."""
    counts = [(cpu[name], name) for name in ("sockets", "cores", "threads") if name in cpu]
    return ", ".join(f"{count} {name[:-1] if count == 1 else name}" for count, name in counts)


def named(product: Document | None) -> str:
    """Vendor, name, version and serial number in one line."""
    known = product or {}
    words = [str(known[each]) for each in ("vendor", "name", "version") if known.get(each)]
    return " ".join([*words, *([f"({known['serial']})"] if known.get("serial") else [])])
