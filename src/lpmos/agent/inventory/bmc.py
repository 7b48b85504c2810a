"""The address of the machine's BMC, asked through the kernel's IPMI device.

Structures and numbers are of `include/uapi/linux/ipmi.h`; the question is "Get LAN Configuration
Parameters" (IPMI 2.0, 23.2). Whatever goes wrong, the answer is None, and never later than
`ANSWER_TIMEOUT_S` for each channel.
"""

import array
import os
import select
import struct
from collections.abc import Callable

from lpmos.agent.inventory.tree import Tree

ANSWER_TIMEOUT_S = 1.0
CHANNELS = (1, 2, 3, 8)
_DEVICES = ("dev/ipmi0", "dev/ipmi/0", "dev/ipmidev/0")
_TRANSPORT, _GET_LAN_PARAMETERS, _IP_ADDRESS = 0x0C, 0x02, 3

_ADDRESS = struct.Struct("@ihB0i")  # struct ipmi_system_interface_addr; shorter is refused
_REQUEST = struct.Struct("@PIlBBHP")  # struct ipmi_req with its struct ipmi_msg
_RECEIVED = struct.Struct("@iPIlBBHP")  # struct ipmi_recv with its struct ipmi_msg
_SYSTEM_INTERFACE, _BMC_CHANNEL = 0x0C, 0x0F
_READ, _WRITE = 2, 1

Exchange = Callable[[int, int, bytes], bytes]
"""Network function, command and data to the answer's data. Raises: OSError."""


def read_bmc_address(tree: Tree) -> str | None:
    """The IPv4 address of the first LAN channel that has one."""
    device = next((name for name in _DEVICES if tree.exists(name)), None)
    if device is None:
        return None
    try:
        fd = os.open(tree.path(device), os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return ask_address(lambda netfn, command, data: _exchange(fd, netfn, command, data))
    finally:
        os.close(fd)


def ask_address(exchange: Exchange) -> str | None:
    """Ask each LAN channel that servers use."""
    for channel in CHANNELS:
        try:
            answer = exchange(_TRANSPORT, _GET_LAN_PARAMETERS, bytes((channel, _IP_ADDRESS, 0, 0)))
        except OSError:
            return None  # no BMC behind the device: the other channels would only cost time
        # Completion code 0, the parameter's revision, then the four bytes.
        if len(answer) >= 6 and answer[0] == 0 and any(answer[2:6]):
            return ".".join(str(octet) for octet in answer[2:6])
    return None


def _exchange(fd: int, netfn: int, command: int, data: bytes) -> bytes:
    import fcntl  # only a machine with an IPMI device pays for it

    # The kernel follows pointers: arrays give memory that stays where it is during the calls.
    address = array.array("B", _ADDRESS.pack(_SYSTEM_INTERFACE, _BMC_CHANNEL, 0))
    body = array.array("B", data)
    message = (netfn, command, len(body), body.buffer_info()[0])
    request = _REQUEST.pack(address.buffer_info()[0], len(address), 1, *message)
    fcntl.ioctl(fd, _ioc(_READ, 13, _REQUEST.size), request)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    if not poll.poll(ANSWER_TIMEOUT_S * 1000):
        raise TimeoutError("the BMC does not answer")
    sender, answer = array.array("B", bytes(64)), array.array("B", bytes(256))
    room = (0, 0, len(answer), answer.buffer_info()[0])
    received = bytearray(_RECEIVED.pack(0, sender.buffer_info()[0], len(sender), 0, *room))
    fcntl.ioctl(fd, _ioc(_READ | _WRITE, 11, _RECEIVED.size), received)
    length = _RECEIVED.unpack(received)[6]
    return answer.tobytes()[:length]


def _ioc(direction: int, number: int, size: int) -> int:
    """`_IOC` of `include/uapi/asm-generic/ioctl.h` for the magic `i`."""
    return direction << 30 | size << 16 | ord("i") << 8 | number
