"""Which IPv6 address is a machine's own: the one that it makes of its MAC (RFC 4862 section 5.5.3).

The rule: an agent has this address and calls from it, whatever address its firmware and iPXE had of
DHCPv6, where a machine is known by other names (DUIDs). So the address alone says whose it is.

The interface identifier: RFC 4291, appendix A (modified EUI-64).
"""

from ipaddress import IPv6Address

_IDENTIFIER_BITS = 64
_IDENTIFIER = (1 << _IDENTIFIER_BITS) - 1
_UNIVERSAL = 0x02
"""The bit of a MAC's first byte that is turned over."""
_MIDDLE = b"\xff\xfe"
_CARD_BITS = 24
"""What comes behind the middle: the second half of the MAC."""


def own_address(mac: str, address: str) -> str:
    """The address that the machine with this MAC makes in the /64 of an IPv6 address of it.

    An IPv4 address is answered as it is: by DHCP a machine has the same one all along.
    """
    if ":" not in address:
        return address
    prefix = int(IPv6Address(address.partition("%")[0])) & ~_IDENTIFIER
    octets = bytes.fromhex(mac.replace(":", ""))
    identifier = bytes([octets[0] ^ _UNIVERSAL]) + octets[1:3] + _MIDDLE + octets[3:]
    return str(IPv6Address(prefix | int.from_bytes(identifier, "big")))


def may_be_of_macs(first: IPv6Address, last: IPv6Address) -> bool:
    """Whether any address from `first` to `last` looks as one that was made of a MAC."""
    middle = int.from_bytes(_MIDDLE, "big") << _CARD_BITS
    block_bits = _CARD_BITS + 8 * len(_MIDDLE)
    for block in (int(first) >> block_bits, (int(first) >> block_bits) + 1):
        begin = (block << block_bits) | middle
        if begin <= int(last) and int(first) < begin + (1 << _CARD_BITS):
            return True
    return False


def mac_of(address: str) -> str | None:
    """The MAC that an IPv6 address was made of; None where it was not made of one."""
    identifier = IPv6Address(address.partition("%")[0]).packed[_IDENTIFIER_BITS // 8 :]
    if identifier[3:5] != _MIDDLE:
        return None
    octets = bytes([identifier[0] ^ _UNIVERSAL]) + identifier[1:3] + identifier[5:]
    return octets.hex(":")
