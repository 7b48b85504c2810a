"""The commands of an NVMe format; the drive is a function."""

import ctypes
import struct

import pytest

from lpmos.agent.errors import InstallError
from lpmos.agent.nvme import check_reach, command, erase, format_argument

COMMAND = struct.Struct("=BBHIIIQQIIIIIIIIII")


class Drive:
    """Answers Identify as a controller with these bytes, and remembers what was formatted."""

    def __init__(self, fna: int = 0, flbas: int = 0, dps: int = 0, status: int = 0) -> None:
        self.controller = bytearray(4096)
        self.controller[524] = fna
        self.namespace = bytearray(4096)
        self.namespace[26], self.namespace[29] = flbas, dps
        self.status = status
        self.formatted: list[tuple[int, int]] = []

    def __call__(self, data: bytes) -> int:
        fields = COMMAND.unpack(data)
        opcode, number, address, length, cdw10 = (fields[at] for at in (0, 3, 7, 9, 10))
        if opcode == 0x06:
            page = self.controller if cdw10 == 1 else self.namespace
            ctypes.memmove(address, bytes(page), length)
            return 0
        assert opcode == 0x80
        self.formatted.append((number, cdw10))
        return self.status


def test_command_is_the_kernels_structure() -> None:
    data = command(0x80, 3, cdw10=0x200)
    assert len(data) == 72
    assert COMMAND.unpack(data)[:4] == (0x80, 0, 0, 3)
    assert COMMAND.unpack(data)[16] == 3_600_000


@pytest.mark.parametrize(
    ("flbas", "dps", "argument"),
    [(0, 0, 0x200), (1, 0, 0x201), (0b0011_0010, 0, 0x1212), (0, 0b1001, 0x320)],
)
def test_format_keeps_blocks_and_protection_and_erases_user_data(
    flbas: int, dps: int, argument: int
) -> None:
    page = bytearray(4096)
    page[26], page[29] = flbas, dps
    assert format_argument(bytes(page)) == argument


def test_only_namespace_of_a_drive_is_formatted_whatever_it_spreads_to() -> None:
    drive = Drive(fna=0b111, flbas=1)
    erase(drive, "/dev/nvme0n1", 1, others=False)
    assert drive.formatted == [(1, 0x201)]


@pytest.mark.parametrize("fna", [0b01, 0b10])
def test_format_that_would_reach_other_namespaces_is_refused(fna: int) -> None:
    drive = Drive(fna=fna)
    with pytest.raises(InstallError, match="all its namespaces") as failure:
        erase(drive, "/dev/nvme0n1", 1, others=True)
    assert drive.formatted == []
    assert "disk_layout.erase" in failure.value.hint


def test_reach_is_checked_without_a_format() -> None:
    for fna in (0b01, 0b10):
        drive = Drive(fna=fna)
        check_reach(drive, "/dev/nvme0n1", others=False)
        with pytest.raises(InstallError, match="all its namespaces"):
            check_reach(drive, "/dev/nvme0n1", others=True)
        assert drive.formatted == []


def test_one_of_several_namespaces_is_formatted_where_the_drive_keeps_them_apart() -> None:
    drive = Drive()
    erase(drive, "/dev/nvme0n2", 2, others=True)
    assert drive.formatted == [(2, 0x200)]


def test_drive_that_refuses_is_named_with_its_status() -> None:
    with pytest.raises(InstallError, match="status is 0x10a"):
        erase(Drive(status=0x10A), "/dev/nvme0n1", 1, others=False)
