"""Old arrays and volume groups on real devices, read by Debian's mdadm and LVM.

Nothing is assembled: a kernel without md has no array, and what stands on the members says it all.
A member of an array is written here after the format (md-p-v1.2 in Linux, include/uapi/linux/raid/
md_p.h), because mdadm makes none where the kernel has no md.
"""

import struct
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from lpmos.agent.commands import COMMAND_TIMEOUT_S, Commands, Output
from lpmos.agent.errors import InstallError
from lpmos.agent.members import Standing, refuse_shared
from lpmos.agent.stop import Stop
from tests.support.debian_programs import unpacked

PACKAGES = (
    *("mdadm", "lvm2", "libaio1", "libedit2"),
    *("libdevmapper1.02.1", "libdevmapper-event1.02.1"),
)
DISK_BYTES = 64 << 20
SECTOR = 512


class Unpacked(Commands):
    """The agent's commands, of programs that are unpacked below a root."""

    def __init__(self, root: Path) -> None:
        super().__init__(Stop(), lambda _: None)
        libraries = ":".join(f"{root}{lib}/x86_64-linux-gnu" for lib in ("/lib", "/usr/lib"))
        self._root = root
        self._before = ("env", f"LD_LIBRARY_PATH={libraries}", f"LVM_SYSTEM_DIR={root}/none")

    def ask(self, argv: Sequence[str], *, timeout_s: float = COMMAND_TIMEOUT_S) -> Output:
        program = f"{self._root}/sbin/{argv[0]}"
        return super().ask([*self._before, program, *argv[1:]], timeout_s=timeout_s)


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Unpacked:
    return Unpacked(unpacked(PACKAGES, tmp_path_factory.mktemp("programs")))


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """Three blank disks."""
    with ExitStack() as stack:
        yield tuple(stack.enter_context(_loop_device(tmp_path / f"{n}.img")) for n in range(3))


@contextmanager
def _loop_device(backing: Path) -> Iterator[str]:
    with backing.open("wb") as file:
        file.truncate(DISK_BYTES)
    listed = subprocess.check_output(["losetup", "--find", "--show", backing], text=True)
    try:
        yield listed.strip()
    finally:
        subprocess.run(["losetup", "--detach", listed.strip()], check=True)


def _put_member(device: str, number: int, array: uuid.UUID) -> None:
    """Make the device member `number` of a mirror of two, in version 1.2 of the superblock."""
    roles = struct.pack("<HH", 0, 1)
    sectors = DISK_BYTES // SECTOR - 2048

    def block(checksum: int) -> bytes:
        constant = struct.pack(
            "<IIII16s32sQIIQIII",
            *(0xA92B4EFC, 1, 0, 0, array.bytes, b"any:root", 1_700_000_000, 1, 0, sectors, 0, 2, 0),
        )
        place = struct.pack("<QQQQII16sBBHI", 2048, sectors, 8, 0, number, 0, bytes(16), 0, 0, 0, 0)
        state = struct.pack("<QQQII32x", 1_700_000_000, 1, 2**64 - 1, checksum, 2)
        return constant.ljust(128, b"\0") + place + state + roles

    words = struct.unpack("<65I", block(0))
    total = sum(words)
    with Path(device).open("r+b") as file:
        file.seek(8 * SECTOR)
        file.write(block((total & 0xFFFFFFFF) + (total >> 32)))


def _raid(devices: Sequence[str]) -> list[Standing]:
    return [Standing((device,), ("linux_raid_member",)) for device in devices]


def _lvm(devices: Sequence[str]) -> list[Standing]:
    return [Standing((device,), ("LVM2_member",)) for device in devices]


def test_array_that_reaches_a_disk_outside_the_plan_is_refused(
    programs: Unpacked, disks: tuple[str, ...]
) -> None:
    array = uuid.uuid4()
    for number, device in enumerate(disks[:2]):
        _put_member(device, number, array)
    refuse_shared(programs, _raid(disks[:2]))
    refuse_shared(programs, [Standing(disks[2:], ())])
    for ours, other in ((disks[0], disks[1]), (disks[1], disks[0])):
        with pytest.raises(InstallError) as failure:
            refuse_shared(programs, [*_raid([ours]), Standing(disks[2:], ())])
        assert str(failure.value).startswith(f"{ours} stands in array ")
        assert f"together with {other}, which the plan does not name" in str(failure.value)


def test_volume_group_that_reaches_a_disk_outside_the_plan_is_refused(
    programs: Unpacked, disks: tuple[str, ...]
) -> None:
    made = programs.ask(["lvm", "vgcreate", "--yes", "old", *disks[:2]])
    assert made.code == 0, made.text
    refuse_shared(programs, _lvm(disks[:2]))
    refuse_shared(programs, [Standing(disks[2:], ())])
    with pytest.raises(InstallError) as failure:
        refuse_shared(programs, [*_lvm(disks[1:2]), Standing(disks[2:], ())])
    words = f"{disks[1]} stands in volume group old together with {disks[0]}, which the plan"
    assert str(failure.value).startswith(words)


def test_volume_of_no_group_is_explained_and_a_blank_disk_is_no_member(
    programs: Unpacked, disks: tuple[str, ...]
) -> None:
    made = programs.ask(["lvm", "pvcreate", "--yes", disks[0]])
    assert made.code == 0, made.text
    refuse_shared(programs, _lvm(disks[:1]))
    for unread in (_lvm(disks[1:2]), _raid(disks[1:2])):
        with pytest.raises(InstallError, match=f"{disks[1]} holds .* could not be read"):
            refuse_shared(programs, unread)
