"""How the machine boots and what hangs on its PCI bus: boot mode, Secure Boot, TPM, functions."""

from lpmos.agent.inventory.pci_names import pci_names
from lpmos.agent.inventory.tree import Tree

_SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_PCI = "sys/bus/pci/devices"


def read_boot_mode(tree: Tree) -> str:
    """`uefi` where the kernel has the firmware's run-time services, else `bios`."""
    return "uefi" if tree.exists("sys/firmware/efi") else "bios"


def read_secure_boot(tree: Tree) -> bool | None:
    """The SecureBoot variable: four bytes of attributes, then 0 or 1 (UEFI 2.10, 3.3)."""
    data = tree.data(_SECURE_BOOT)
    return data[4] == 1 if data is not None and len(data) >= 5 else None


def read_tpm_version(tree: Tree) -> str | None:
    """`2.0` or `1.2`; None where the kernel found no TPM or does not say which."""
    major = tree.number("sys/class/tpm/tpm0/tpm_version_major")
    return {1: "1.2", 2: "2.0"}.get(major or 0)


def read_pci(tree: Tree) -> list[dict[str, object]]:
    """Every PCI function with its ids in lower-case hex, without `0x`."""
    functions: list[dict[str, str | None]] = []
    for address in tree.names(_PCI):
        ids = [tree.text(f"{_PCI}/{address}/{name}") for name in ("vendor", "device", "class")]
        vendor_id, device_id, class_id = ((text or "").removeprefix("0x").lower() for text in ids)
        if vendor_id and device_id:
            functions.append(
                {
                    "address": address,
                    "vendor_id": vendor_id,
                    "device_id": device_id,
                    "class_id": class_id,
                    "driver": tree.link_name(f"{_PCI}/{address}/driver"),
                }
            )
    return _named(tree, functions)


def _named(tree: Tree, functions: list[dict[str, str | None]]) -> list[dict[str, object]]:
    ids = [(str(each["vendor_id"]), str(each["device_id"])) for each in functions]
    names = pci_names(tree, ids)
    return [
        {**each, "vendor": names[pair][0], "device": names[pair][1]}
        for each, pair in zip(functions, ids, strict=True)
    ]
