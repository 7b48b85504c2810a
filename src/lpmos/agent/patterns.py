"""Test patterns for memory and disks: whole blocks, each made in the time of a copy.

Every block of a pattern is known from its number alone, so nothing that was written is kept.
"""

import random
import struct
from array import array
from collections.abc import Callable
from typing import NamedTuple

WORD_BYTES = 8
PATTERNS = 5
"""How many `memory_patterns` are."""
_TURN_BYTES = 4104
"""How far a random block is turned against the one before: a step that has no common divisor with
the window's words, so that the blocks repeat late."""


class Pattern(NamedTuple):
    """A name, and what stands in the block of a number."""

    name: str
    block: Callable[[int], bytes]


class Difference(NamedTuple):
    """The first word that is not as it was written; the offset counts from the block's start."""

    offset: int
    expected: bytes
    found: bytes


def memory_patterns(block_bytes: int, seed: int) -> tuple[Pattern, ...]:
    """Walking ones and zeros, two that tell addresses apart, and random words."""
    words = block_bytes // WORD_BYTES
    ones = struct.pack("<64Q", *(1 << bit for bit in range(64))) * (block_bytes // 512)
    zeros = bytes(each ^ 0xFF for each in ones[:512]) * (block_bytes // 512)
    offsets = array("Q", range(0, block_bytes, WORD_BYTES)).tobytes()
    return (
        Pattern("walking ones", lambda _: ones),
        Pattern("walking zeros", lambda _: zeros),
        Pattern("address in block", lambda _: offsets),
        Pattern("number of block", lambda number: struct.pack("<Q", number) * words),
        random_pattern(block_bytes, seed),
    )


def random_pattern(block_bytes: int, seed: int) -> Pattern:
    """Words of a generator with this seed; each block begins with its number."""
    source = random.Random(seed).randbytes(block_bytes) * 2  # noqa: S311 - no secret

    def block(number: int) -> bytes:
        start = number * _TURN_BYTES % block_bytes
        return struct.pack("<Q", number) + source[start + WORD_BYTES : start + block_bytes]

    return Pattern(f"random words, seed {seed}", block)


def first_difference(expected: bytes, found: bytes) -> Difference:
    """Where two blocks differ, by halving: the caller knows that they do."""
    low, high = 0, len(expected)
    while high - low > WORD_BYTES:
        middle = low + max(WORD_BYTES, (high - low) // 2 // WORD_BYTES * WORD_BYTES)
        if expected[low:middle] != found[low:middle]:
            high = middle
        else:
            low = middle
    return Difference(low, expected[low:high], found[low:high])
