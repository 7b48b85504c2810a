"""An inventory stays within its share of a document."""

from lpmos.model.inventory import DOCUMENT_LIMIT_BYTES, Cpu, PciDevice
from tests.support.builders import make_inventory

DEVICE = PciDevice(address="0000:00:1f.2", vendor_id="8086", device_id="2922", class_id="010601")


def test_bounded_ordinary_inventory_is_unchanged() -> None:
    inventory = make_inventory(pci=(DEVICE,) * 50)
    assert inventory.bounded() is inventory


def test_bounded_huge_inventory_loses_pci_then_flags_never_disks() -> None:
    huge = make_inventory(pci=(DEVICE,) * 1000, cpu=Cpu(flags=("f" * 50,) * 1000))
    bounded = huge.bounded()
    assert bounded.document_bytes() <= DOCUMENT_LIMIT_BYTES
    assert (bounded.pci, bounded.cpu.flags, bounded.disks) == ((), (), huge.disks)
