"""LLDP frames as a switch sends them (IEEE 802.1AB-2016)."""

GROUP = bytes.fromhex("0180c200000e")


def part(kind: int, value: bytes) -> bytes:
    """One TLV."""
    return (kind << 9 | len(value)).to_bytes(2, "big") + value


def lldp_frame(*parts: bytes) -> bytes:
    """A whole Ethernet frame with these TLVs and the one that ends them."""
    return GROUP + bytes.fromhex("001122334455") + b"\x88\xcc" + b"".join(parts) + part(0, b"")
