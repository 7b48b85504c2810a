"""Inventories of recorded machines, sound and odd."""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.commands import Output
from lpmos.agent.inventory import bmc, collect
from lpmos.agent.inventory.bmc import ask_address
from lpmos.agent.inventory.disks import blkid_probe, read_disks
from lpmos.agent.inventory.nics import boot_mac, read_nics
from lpmos.agent.inventory.pci_names import pci_names
from lpmos.agent.inventory.processor import read_cpu
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.summary import summary_lines
from lpmos.model.diskplan import RootDiskHints, plan_disk
from lpmos.model.errors import NoSuitableDisk
from lpmos.model.inventory import Inventory
from tests.support.agent_commands import RecordingCommands
from tests.support.agent_machines import NAMES, lay_out, recorded_machine


def _inventory(name: str, root: Path) -> Any:
    return recorded_machine(name, root).inventory()


def test_inventory_of_a_virtual_machine_names_its_parts(tmp_path: Path) -> None:
    found = _inventory("qemu-virtio-bios", tmp_path)
    assert found["collected_at"] == "2023-11-14T22:13:20Z"
    assert found["boot_mode"] == "bios"
    assert found["product"]["serial"] == "sn-078"
    assert found["product"]["uuid"] == "33221100-5544-7766-8899-aabbccddeeff"
    assert found["cpu"] == {
        "model": "QEMU TCG CPU version 2.5+",
        "vendor": "AuthenticAMD",
        "sockets": 1,
        "cores": 2,
        "threads": 2,
        "flags": ["fpu", "de", "pse"],
        "numa_nodes": [],
    }
    assert found["memory"]["total_bytes"] == 2018984 * 1024
    assert [dimm["slot"] for dimm in found["memory"]["dimms"]] == ["DIMM 0"]
    assert found["pci"][0]["driver"] == "virtio-pci"


def test_disks_leave_out_what_is_no_disk(tmp_path: Path) -> None:
    for name, expected in {
        "qemu-virtio-bios": ["/dev/vda"],
        "two-socket-uefi": ["/dev/nvme0n1", "/dev/nvme1n1", "/dev/sda", "/dev/sdb", "/dev/sdc"],
        "arm-without-dmi": ["/dev/mmcblk0"],
        "white-box-odd": ["/dev/sdb"],
    }.items():
        found = _inventory(name, tmp_path / name)
        assert [disk["device"] for disk in found["disks"]] == expected


def test_disks_of_a_server_have_identity_kind_and_contents(tmp_path: Path) -> None:
    disks = {d["device"]: d for d in _inventory("two-socket-uefi", tmp_path)["disks"]}
    rows = {
        device: (d["kind"], d["bus"], d["removable"], d["serial"], d["wwn"], d["contents"])
        for device, d in disks.items()
    }
    assert rows == {
        "/dev/nvme0n1": (
            "nvme", "nvme", False, "S64GNE0R700001", "eui.36344730527000010025384700000001", [],
        ),
        "/dev/nvme1n1": (
            "nvme", "nvme", False, "S64GNE0R700002", "eui.36344730527000020025384700000002", [],
        ),
        "/dev/sda": (
            "ssd", "sata", False, "PHYG000000AA480BGN", "0x55cd2e4150000001",
            ["gpt", "vfat", "LVM2_member"],
        ),
        "/dev/sdb": ("ssd", "usb", True, None, None, []),
        "/dev/sdc": ("hdd", "sas", False, "WX100001", "0x5000c500d0000001", ["unreadable"]),
    }  # fmt: skip
    assert disks["/dev/sda"]["physical_block_bytes"] == 4096


def test_memory_of_a_server_lists_modules_and_empty_slots(tmp_path: Path) -> None:
    dimms = _inventory("two-socket-uefi", tmp_path)["memory"]["dimms"]
    assert [(d["slot"], d["size_bytes"] >> 30, d["speed_mts"]) for d in dimms] == [
        *((f"A{n}", 32, 2666) for n in range(1, 5)),
        *((f"A{n}", 0, None) for n in range(5, 9)),
    ]


def test_nics_of_a_server_have_lower_case_macs_and_no_bond(tmp_path: Path) -> None:
    found = _inventory("two-socket-uefi", tmp_path)
    assert found["nics"] == [
        {
            "interface": "eno12399",
            "mac": "b4:96:91:aa:00:01",
            "speed_mbps": 25000,
            "driver": "ice",
            "carrier": True,
            "booted": True,
            "pci_address": "0000:31:00.0",
            "numa_node": None,
            "neighbour": None,
        },
        {
            "interface": "eno12409",
            "mac": "b4:96:91:aa:00:02",
            "speed_mbps": None,
            "driver": "ice",
            "carrier": None,
            "booted": False,
            "pci_address": "0000:31:00.1",
            "numa_node": None,
            "neighbour": None,
        },
    ]
    assert (found["boot_mode"], found["secure_boot"], found["tpm_version"]) == ("uefi", True, "2.0")


def test_inventory_without_dmi_has_the_default_routes_nic_as_booted(tmp_path: Path) -> None:
    found = _inventory("arm-without-dmi", tmp_path)
    assert found["product"]["serial"] is None
    assert [nic["booted"] for nic in found["nics"]] == [True]
    assert found["disks"][0]["contents"] == ["dos", "ext4"]


def test_inventory_of_an_unfilled_machine_guesses_nothing(tmp_path: Path) -> None:
    found = _inventory("white-box-odd", tmp_path)
    assert set(found["product"].values()) == {None}
    assert found["secure_boot"] is None
    assert found["memory"]["total_bytes"] == 0
    assert found["disks"][0]["contents"] == ["partitions"]
    assert [nic["booted"] for nic in found["nics"]] == [True]


@pytest.mark.parametrize("name", NAMES)
def test_summary_of_every_machine_is_readable(name: str, tmp_path: Path) -> None:
    lines = summary_lines(_inventory(name, tmp_path))
    assert len(lines) >= 4
    assert not [line for line in lines if "{" in line]


def test_inventory_of_an_empty_tree_is_still_an_inventory(tmp_path: Path) -> None:
    found = collect(Tree(tmp_path), lambda _: {}, None, 0)
    assert json.loads(json.dumps(found))["disks"] == []


def test_cpu_of_a_thousand_threads_counts_all(tmp_path: Path) -> None:
    flags = " ".join(f"flag{number}" for number in range(180))
    blocks = (
        f"processor\t: {number}\nphysical id\t: {number // 512}\ncore id\t: {number // 2 % 256}\n"
        f"flags\t: {flags}\n\n"
        for number in range(1024)
    )
    lay_out(tmp_path, {"proc/cpuinfo": "".join(blocks)}, {})
    found = read_cpu(Tree(tmp_path))
    assert (found["sockets"], found["cores"], found["threads"]) == (2, 512, 1024)


@pytest.mark.parametrize(
    "wwid",
    ["naa.0000000000000000", "eui.0000000000000000", "uuid.00000000-0000-0000-0000-000000000000"],
)
def test_wwn_of_zeros_is_none(tmp_path: Path, wwid: str) -> None:
    lay_out(tmp_path, {"sys/block/sda/size": "8\n", "sys/block/sda/wwid": f"{wwid}\n"}, {})
    (disk,) = read_disks(Tree(tmp_path), lambda _: {})
    assert disk["wwn"] is None


@given(st.binary(max_size=300))
def test_cpu_of_any_bytes_counts_at_least_one(data: bytes) -> None:
    class Garbage(Tree):
        def data(self, name: str, limit_bytes: int = 0) -> bytes | None:
            return data

    found = read_cpu(Garbage())
    assert found["threads"] and found["cores"] and found["sockets"]


@pytest.mark.parametrize(
    ("code", "text", "expected"),
    [
        (0, "DEVNAME=/dev/vda\nPTTYPE=gpt\n", ["gpt"]),
        (0, "TYPE=linux_raid_member\nUSAGE=raid\n", ["linux_raid_member"]),
        (2, "", []),
        (8, "", ["ambiguous"]),
        (4, "blkid: error", ["unreadable"]),
        (127, "blkid: the program is not in the agent image", ["unreadable"]),
    ],
)
def test_disk_contents_are_blank_only_where_blkid_found_nothing(
    code: int, text: str, expected: list[str], tmp_path: Path
) -> None:
    commands = RecordingCommands()
    commands.on("blkid", Output(code, text))
    lay_out(tmp_path, {"sys/block/vda/size": "100", "dev/vda": "0" * 51_200}, {})
    tree = Tree(tmp_path)
    (disk,) = read_disks(tree, blkid_probe(commands, tree))
    assert disk["contents"] == expected
    assert commands.ran == ["blkid -p -o export /dev/vda"]


def test_disk_that_cannot_be_read_is_never_blank(tmp_path: Path) -> None:
    commands = RecordingCommands()
    commands.on("blkid", Output(2, ""))
    lay_out(tmp_path, {"sys/block/vda/size": "100"}, {})
    tree = Tree(tmp_path)
    (disk,) = read_disks(tree, blkid_probe(commands, tree))
    assert disk["contents"] == ["unreadable"]


@pytest.mark.parametrize(
    ("size_bytes", "readable"), [(0, False), (1, True), (4096, True), (9000, True)]
)
def test_ends_of_a_file_are_readable_unless_it_is_empty(
    size_bytes: int, readable: bool, tmp_path: Path
) -> None:
    lay_out(tmp_path, {"dev/vda": "x" * size_bytes}, {})
    assert Tree(tmp_path).ends_readable("dev/vda", 4096) is readable


@pytest.mark.parametrize("name", ["dev/missing", "dev"])
def test_ends_of_what_cannot_be_opened_are_not_readable(name: str, tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    assert not Tree(tmp_path).ends_readable(name, 4096)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("01-52-54-00-AB-CD-EF", "52:54:00:ab:cd:ef"),
        ("52-54-00-ab-cd-ef", None),
        ("06-52-54-00-ab-cd-ef", None),
        ("", None),
    ],
)
def test_boot_mac_reads_bootif(value: str, expected: str | None) -> None:
    assert boot_mac({"BOOTIF": value}) == expected


def test_nics_without_the_named_one_have_none_booted(tmp_path: Path) -> None:
    machine = recorded_machine("qemu-virtio-bios", tmp_path)
    assert [n["booted"] for n in read_nics(machine.tree, "52:54:00:00:00:99")] == [False]


def test_bmc_address_is_that_of_the_first_channel_that_has_one() -> None:
    asked = []

    def exchange(netfn: int, command: int, data: bytes) -> bytes:
        asked.append((netfn, command, data))
        return {1: b"\xc1", 2: b"\0\x11\0\0\0\0"}.get(data[0], b"\0\x11\x0a\x00\x07\xfe")

    assert ask_address(exchange) == "10.0.7.254"
    assert asked == [(12, 2, bytes((channel, 3, 0, 0))) for channel in (1, 2, 3)]


def test_structures_for_the_bmc_have_the_sizes_that_linux_checks() -> None:
    assert [each.size for each in (bmc._ADDRESS, bmc._REQUEST, bmc._RECEIVED)] == [8, 40, 48]


def test_bmc_address_of_a_silent_bmc_is_none() -> None:
    def exchange(netfn: int, command: int, data: bytes) -> bytes:
        raise TimeoutError

    assert ask_address(exchange) is None


@given(st.binary(max_size=20))
def test_bmc_address_of_any_answer_is_an_address_or_none(answer: bytes) -> None:
    found = ask_address(lambda *_: answer)
    assert found is None or len(found.split(".")) == 4


def test_inventory_of_64_disks_has_each_with_its_sectors_and_firmware(tmp_path: Path) -> None:
    found = _inventory("storage-64-disks", tmp_path)
    disks = found["disks"]
    assert len(disks) == len({disk["serial"] for disk in disks}) == 64
    spinning = [disk for disk in disks if disk["kind"] == "hdd"]
    assert {(d["logical_block_bytes"], d["firmware"], d["bus"]) for d in spinning} == {
        (4096, "PAL7", "sas")
    }
    assert [disk["path"] for disk in disks[:2]] == [
        "pci-0000:66:00.0-nvme-1",
        "pci-0000:67:00.0-nvme-1",
    ]
    whole = msgspec.convert(found, Inventory)
    assert len(whole.bounded().disks) == 64


def test_inventory_of_two_nodes_has_memory_and_card_of_each(tmp_path: Path) -> None:
    found = _inventory("blade-virtual-media", tmp_path)
    assert [node["cpus"] for node in found["cpu"]["numa_nodes"]] == ["0-35", "36-71"]
    assert sum(node["memory_bytes"] for node in found["cpu"]["numa_nodes"]) > 2**38
    assert [(nic["pci_address"], nic["numa_node"]) for nic in found["nics"]] == [
        ("0000:17:00.0", 0),
        ("0000:98:00.0", 1),
    ]
    assert found["chassis"] == {
        "vendor": "Dell Inc.",
        "type": "Blade",
        "version": "PowerEdge MX7000",
        "serial": "CHAS001",
        "asset_tag": "rack-12",
    }


def test_inventory_with_virtual_media_has_one_disk_that_can_be_written(tmp_path: Path) -> None:
    found = msgspec.convert(_inventory("blade-virtual-media", tmp_path), Inventory)
    assert [disk.device for disk in found.disks if disk.removable] == ["/dev/sda", "/dev/sdb"]
    assert plan_disk(found, "auto", RootDiskHints(), 1).device == "/dev/nvme0n1"


def test_inventory_with_paths_to_one_disk_is_installed_on_its_own_disk(tmp_path: Path) -> None:
    found = msgspec.convert(_inventory("multipath-san", tmp_path), Inventory)
    assert plan_disk(found, "auto", RootDiskHints(overwrite=True), 1).device == "/dev/sde"
    with pytest.raises(NoSuitableDisk, match="one of 4 paths to one disk"):
        plan_disk(found, "auto", RootDiskHints(serial="6A1B2C3D4E5F00010001"), 1)


def test_pci_functions_have_the_names_of_the_list(tmp_path: Path) -> None:
    found = _inventory("storage-64-disks", tmp_path)["pci"][0]
    assert (found["vendor"], found["device"]) == (
        "Intel Corporation",
        "Ethernet Controller E810-XXV for SFP",
    )
    without = _inventory("two-socket-uefi", tmp_path / "other")["pci"][0]
    assert (without["vendor"], without["device"]) == (None, None)


@given(data=st.binary(max_size=300))
def test_pci_names_of_any_list_are_names_or_none(data: bytes) -> None:
    class Listed(Tree):
        def data(self, name: str, limit_bytes: int = 0) -> bytes | None:
            return data

    assert pci_names(Listed(), [("8086", "1593")]).keys() == {("8086", "1593")}
