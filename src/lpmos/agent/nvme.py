"""The erase that an NVMe drive does itself: the admin commands Identify and Format NVM.

Source: NVM Express Base Specification 2.0, 5.14 and 5.17, and linux/nvme_ioctl.h. The rule: a
format that the drive would spread to namespaces which nobody approved is refused, before anything
is written to any disk (`check_format`), and once more when it is due.
"""

import contextlib
import fcntl
import os
import struct
from array import array
from collections.abc import Callable, Iterator

from lpmos.agent.errors import InstallError

FORMAT_TIMEOUT_S = 3600
_ADMIN_COMMAND = 0xC0484E41
"""`_IOWR('N', 0x41, struct nvme_admin_cmd)`."""
_NAMESPACE_ID = 0x4E40
_IDENTIFY, _FORMAT = 0x06, 0x80
_COMMAND = struct.Struct("=BBHIIIQQIIIIIIIIII")
_PAGE_BYTES = 4096
_FNA_OFFSET = 524  # of the controller's data: what a format affects
_FNA_ALL_NAMESPACES = 0b011
_FLBAS_OFFSET, _DPS_OFFSET = 26, 29  # of the namespace's data: its format, its protection
_USER_DATA_ERASE = 1 << 9

Admin = Callable[[bytes], int]
"""Sends one command; the drive's status, 0 where it succeeded."""


def command(
    opcode: int, namespace: int, *, address: int = 0, length: int = 0, cdw10: int = 0
) -> bytes:
    """`struct nvme_admin_cmd` with the timeout of a format."""
    return _COMMAND.pack(
        *(opcode, 0, 0, namespace, 0, 0, 0, address, 0, length, cdw10, 0, 0, 0, 0, 0),
        *(FORMAT_TIMEOUT_S * 1000, 0),
    )


def format_argument(namespace_data: bytes) -> int:
    """Dword 10 of a format that erases user data and leaves blocks as large as they are."""
    flbas, protection = namespace_data[_FLBAS_OFFSET], namespace_data[_DPS_OFFSET]
    # Bits 0-4 of FLBAS stand as they are in dword 10, its bits 5-6 as 12-13; DPS stands as 5-8.
    block_format = flbas & 0b11111 | (flbas >> 5 & 0b11) << 12
    return block_format | (protection & 0b1111) << 5 | _USER_DATA_ERASE


def format_namespace(device: str, others: bool) -> None:
    """Erase a namespace (`/dev/nvme0n1`); `others`: its drive has further ones.

    Raises:
        InstallError: the drive refuses, or would erase the others too.
    """
    with _opened(device) as (admin, number):
        erase(admin, device, number, others)


def check_format(device: str, others: bool) -> None:
    """Refuse now what `format_namespace` would refuse by what the drive says of itself.

    Raises:
        InstallError: the drive does not answer, or would erase the others too.
    """
    with _opened(device) as (admin, _):
        check_reach(admin, device, others)


@contextlib.contextmanager
def _opened(device: str) -> Iterator[tuple[Admin, int]]:
    """How commands are sent to a namespace's drive, and the namespace's number."""
    try:
        descriptor = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            number = fcntl.ioctl(descriptor, _NAMESPACE_ID)
            yield lambda data: fcntl.ioctl(descriptor, _ADMIN_COMMAND, bytearray(data)), number
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _refused(device, error.strerror or str(error)) from error


def check_reach(admin: Admin, device: str, others: bool) -> None:
    """Refuse a format that would go beyond its namespace; `admin` sends the command.

    Raises:
        InstallError: it would erase the others too, or the drive does not say.
    """
    controller = _identify(admin, device, 0, 1)
    if others and controller[_FNA_OFFSET] & _FNA_ALL_NAMESPACES:
        raise _refused(device, "the drive would erase all its namespaces")


def erase(admin: Admin, device: str, namespace: int, others: bool) -> None:
    """The commands of `format_namespace`, sent by `admin`.

    Raises:
        InstallError: the drive refuses, or would erase the others too.
    """
    check_reach(admin, device, others)
    argument = format_argument(_identify(admin, device, namespace, 0))
    if status := admin(command(_FORMAT, namespace, cdw10=argument)):
        raise _refused(device, f"the drive's status is {status:#x}")


def _identify(admin: Admin, device: str, namespace: int, what: int) -> bytes:
    page = array("B", bytes(_PAGE_BYTES))
    address, length = page.buffer_info()
    if status := admin(command(_IDENTIFY, namespace, address=address, length=length, cdw10=what)):
        raise _refused(device, f"Identify ended with status {status:#x}")
    return page.tobytes()


def _refused(device: str, why: str) -> InstallError:
    return InstallError(
        f"{device} cannot be erased by an NVMe format: {why}",
        command=f"NVMe Format of {device}",
        output=why,
        hint="Choose another level of erasing in disk_layout.erase (discard, signatures).",
    )
