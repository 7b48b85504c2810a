"""The memory test: patterns written over all that is free, then read again and compared.

The rule: each pattern is written everywhere before it is read anywhere, so that what is read comes
from the memory and not from a cache. What the agent and the kernel need is left alone.
"""

import mmap
import time
from collections.abc import Callable
from typing import NamedTuple

from lpmos.agent.errors import InstallError
from lpmos.agent.hardwaresigns import MessagesSince, memory_errors
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.joborder import MemoryTest, PlannedStep
from lpmos.agent.jobs import EVIDENCE_LINES, Bench, Outcome
from lpmos.agent.patterns import PATTERNS, Pattern, first_difference, memory_patterns

BLOCK_BYTES = 1 << 20
LEAST_RESERVE_BYTES = 64 << 20
RESERVE_SHARE = 16
"""One part in so many of all memory is left free, and no less than the above."""
MB = 1_000_000
_SEED = 0x5EED

Memory = mmap.mmap | bytearray
Allocate = Callable[[int], Memory]


class _Walk(NamedTuple):
    """How far the test is: blocks of all patterns of all passes."""

    bench: Bench
    total_bytes: int
    begun: float

    def tell(self, done: int, what: str) -> None:
        rate = done / max(time.monotonic() - self.begun, 0.001)
        message = f"{what}, {rate / MB:.0f} MB/s"
        self.bench.tell(done / self.total_bytes, message, done, self.total_bytes, round(rate, 1))


def run(
    planned: PlannedStep, bench: Bench, tree: Tree, allocate: Allocate | None = None
) -> Outcome:
    """Test the memory.

    Raises:
        InstallError: a word was not as it was written, or the memory controllers say so.
        Stopped: the run was told to end.
    """
    asked = MemoryTest(*planned.asked)
    size_bytes = tested_bytes(tree, asked)
    log, before = MessagesSince(tree), memory_errors(tree)
    begun = time.monotonic()
    try:
        memory = (allocate or _anonymous)(size_bytes)
    except (OSError, MemoryError) as error:
        raise InstallError(
            f"{size_bytes / MB:.0f} MB of memory cannot be had: {error}",
            hint="Ask for less: `percent` or `size_bytes` of the step.",
        ) from error
    wrong: InstallError | None = None
    try:
        _test(memory, asked.passes, bench)
    except InstallError as failure:
        wrong = failure
    finally:
        said = log.end()
        if isinstance(memory, mmap.mmap):
            memory.close()
    corrected, uncorrected = memory_errors(tree).since(before)
    if wrong is not None:
        # The controllers know the module by its name.
        raise _faulty(str(wrong), (*uncorrected, *corrected, wrong.output, *said))
    if uncorrected:
        text = "the memory controllers count errors that they could not correct"
        raise _faulty(text, (*uncorrected, *corrected, *said))
    seconds = time.monotonic() - begun
    rate = 2 * PATTERNS * asked.passes * size_bytes / max(seconds, 0.001)
    watched = "" if before.corrected or before.uncorrected else "; no ECC counters on this machine"
    passes = f"{asked.passes} pass{'es' if asked.passes > 1 else ''}"
    return Outcome(
        f"{size_bytes / MB:.0f} MB, {passes} of {PATTERNS} patterns, {rate / MB:.0f} MB/s{watched}",
        (*corrected, *said)[:EVIDENCE_LINES],
    )


def tested_bytes(tree: Tree, asked: MemoryTest) -> int:
    """How much is tested: whole blocks.

    Raises:
        InstallError: more was asked for than is free, or nothing is.
    """
    sizes = {
        name: int(rest.split()[0]) * 1024
        for name, _, rest in (
            line.partition(":") for line in (tree.text("proc/meminfo") or "").splitlines()
        )
        if rest.split()[:1] and rest.split()[0].isdecimal()
    }
    reserve = max(LEAST_RESERVE_BYTES, sizes.get("MemTotal", 0) // RESERVE_SHARE)
    free = max(0, sizes.get("MemAvailable", 0) - reserve)
    wanted = asked.size_bytes or free * asked.percent // 100
    if not BLOCK_BYTES <= wanted <= free:
        raise InstallError(
            f"{wanted / MB:.0f} MB of memory cannot be tested: {free / MB:.0f} MB are free beside"
            f" the {reserve / MB:.0f} MB that the agent keeps",
            hint="Ask for less: `percent` or `size_bytes` of the step.",
        )
    return wanted // BLOCK_BYTES * BLOCK_BYTES


def _test(memory: Memory, passes: int, bench: Bench) -> None:
    blocks = len(memory) // BLOCK_BYTES
    walk = _Walk(bench, 2 * len(memory) * passes * PATTERNS, time.monotonic())
    done = 0
    for number in range(passes):
        for pattern in memory_patterns(BLOCK_BYTES, _SEED + number):
            what = f"pass {number + 1} of {passes}, {pattern.name}"
            for block in range(blocks):
                start = block * BLOCK_BYTES
                memory[start : start + BLOCK_BYTES] = pattern.block(block)
                walk.tell(done + start, what)
            done += len(memory)
            _verify(memory, pattern, walk, done, what)
            done += len(memory)


def _verify(memory: Memory, pattern: Pattern, walk: _Walk, done: int, what: str) -> None:
    wrong: list[str] = []
    count = 0
    for block in range(len(memory) // BLOCK_BYTES):
        start = block * BLOCK_BYTES
        expected, found = pattern.block(block), bytes(memory[start : start + BLOCK_BYTES])
        if expected != found:
            count += 1
            if len(wrong) < EVIDENCE_LINES:
                at = first_difference(expected, found)
                wrong.append(
                    f"at {start + at.offset:#x} of {len(memory):#x} tested: expected"
                    f" {at.expected.hex()}, found {at.found.hex()} ({what})"
                )
        walk.tell(done + start, what)
    if wrong:
        raise _faulty(f"{count} MiB of memory had wrong words ({what})", tuple(wrong))


def _faulty(message: str, evidence: tuple[str, ...]) -> InstallError:
    return InstallError(
        message,
        output="\n".join(evidence),
        hint="Replace the memory modules one by one, and run the test again; the BMC's event log"
        " may name the module.",
    )


def _anonymous(size_bytes: int) -> Memory:
    return mmap.mmap(-1, size_bytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
