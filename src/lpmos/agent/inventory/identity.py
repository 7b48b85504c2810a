"""Who the machine is: product, board and firmware, from the SMBIOS table or the kernel's digest."""

from typing import NamedTuple

from lpmos.agent.inventory import smbios
from lpmos.agent.inventory.tree import Tree

_DMI_ID = "sys/class/dmi/id"


class Identity(NamedTuple):
    """The DMI part of an inventory."""

    product: dict[str, object]
    board: dict[str, object]
    chassis: dict[str, object]
    bios: dict[str, object]
    dimms: list[dict[str, object]]


def read_identity(tree: Tree) -> Identity:
    """What the firmware says of the machine; all `None` where there is no DMI at all."""
    product, board, chassis, bios = _from_kernel(tree)
    dimms: list[dict[str, object]] = []
    seen: set[int] = set()
    for structure in smbios.structures(tree.data("sys/firmware/dmi/tables/DMI") or b""):
        first = structure.type not in seen
        seen.add(structure.type)
        if structure.type == smbios.MEMORY_DEVICE:
            dimms.append(smbios.dimm(structure))
        elif structure.type == smbios.SYSTEM and first:
            product = smbios.product(structure)
        elif structure.type == smbios.BOARD and first:
            board = smbios.product(structure)
        elif structure.type == smbios.CHASSIS and first:
            chassis = smbios.chassis(structure)
        elif structure.type == smbios.BIOS and first:
            bios = smbios.bios(structure)
    return Identity(product, board, chassis, bios, dimms)


def _from_kernel(tree: Tree) -> tuple[dict[str, object], ...]:
    """The fields that the kernel gives one by one (`drivers/firmware/dmi-id.c`)."""

    def field(name: str) -> str | None:
        return smbios.filled(tree.text(f"{_DMI_ID}/{name}"))

    product: dict[str, object] = {
        "vendor": field("sys_vendor"),
        "name": field("product_name"),
        "version": field("product_version"),
        "serial": field("product_serial"),
        "uuid": field("product_uuid"),
    }
    board: dict[str, object] = {
        "vendor": field("board_vendor"),
        "name": field("board_name"),
        "version": field("board_version"),
        "serial": field("board_serial"),
        "uuid": None,
    }
    chassis: dict[str, object] = {
        "vendor": field("chassis_vendor"),
        "type": smbios.chassis_type(tree.number(f"{_DMI_ID}/chassis_type")),
        "version": field("chassis_version"),
        "serial": field("chassis_serial"),
        "asset_tag": field("chassis_asset_tag"),
    }
    bios: dict[str, object] = {
        "vendor": field("bios_vendor"),
        "version": field("bios_version"),
        "date": field("bios_date"),
    }
    return product, board, chassis, bios
