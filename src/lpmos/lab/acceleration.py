"""How guests are run: by KVM where a guest proves that it works, else by QEMU's own translator.

That `/dev/kvm` exists and opens proves nothing: on some nested hosts guests hang, on others each of
their instructions is emulated. So a probe runs one, with the very arguments that machines get: a
boot sector that counts, and then writes to QEMU's debug-exit port, which makes QEMU end with a
status that nothing else gives. It has to do that as fast as the translator does.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROBE_TIMEOUT_S: Final = 5.0
SLACK_S: Final = 0.5
"""How much longer than translation KVM may take to start on a busy host."""
_TURNS: Final = 100_000_000
"""A processor and the translator count so far in a tenth of a second, an emulator in twenty."""
_EXIT_PORT: Final = 0xF4
_EXIT_VALUE: Final = 0x2A
_PROVED: Final = (_EXIT_VALUE << 1) | 1
"""QEMU's status after a write of `_EXIT_VALUE` (hw/misc/debugexit.c)."""


@dataclass(frozen=True)
class Acceleration:
    """What QEMU is told about running guest code, and why; and what the guests' kernels are."""

    name: str
    arguments: tuple[str, ...]
    reason: str
    kernel_arguments: str = ""


TRANSLATED_CPU: Final = "max,avx2=off,bmi2=off,erms=off,smap=off,la57=off,svm=off"
"""All that the translator knows but what it is slow at and no guest is for: vectors of 256 bits
(with them OpenSSL's SHA-256 takes twice the time), bytes filled one by one (with `erms`, Linux
clears pages so), another view of memory for each access to a program's, a fifth level of page
tables, and guests in guests. Without AVX2 goes BMI2: libgcrypt 1.11 takes it for a sign of AVX2
(sha1-avx-bmi2-amd64.S), and the gpgv of Debian 13's installer ended at an invalid opcode.
"""
TRANSLATOR: Final = "tcg,thread=multi,tb-size=64"
"""64 MiB of translations are kept, not QEMU's 1 GiB: each program that ran leaves its own for every
page of its code, a restart of the guest keeps them, and each write to such a page looks through all
of the page's. With them, a kernel that unpacked its initrd over what ran before took minutes.
"""
TRANSLATED_KERNEL_ARGUMENTS: Final = "no_timer_check"
"""A translated guest's timer may come too late on a busy machine for the kernel, which looks for it
once, early, and panics (kernel-parameters.txt); of a guest of KVM it takes it for granted.
"""
_TRANSLATOR_ARGUMENTS: Final = ("-accel", TRANSLATOR, "-cpu", TRANSLATED_CPU)
_KVM: Final = Acceleration("kvm", ("-accel", "kvm", "-cpu", "host"), "a guest ran with it")


def translator(reason: str) -> Acceleration:
    """QEMU's translator (TCG), which works everywhere."""
    return Acceleration("tcg", _TRANSLATOR_ARGUMENTS, reason, TRANSLATED_KERNEL_ARGUMENTS)


def probe_boot_sector() -> bytes:
    """512 bytes that a BIOS loads and runs: count, write to the exit port, then halt for ever."""
    count = bytes((0x66, 0xB9, *_TURNS.to_bytes(4, "little"), 0x67, 0xE2, 0xFD))
    leave = bytes((0xBA, *_EXIT_PORT.to_bytes(2, "little"), 0xB0, _EXIT_VALUE, 0xEE, 0xF4, 0xEB))
    return (count + leave + b"\xfd").ljust(510, b"\0") + b"\x55\xaa"


async def choose_acceleration() -> Acceleration:
    """KVM if a guest just ran with it as fast as translated; else translation."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return translator("/dev/kvm is not there or may not be opened")
    translated_s = await guest_run_s(_TRANSLATOR_ARGUMENTS)
    kvm_s = await guest_run_s(_KVM.arguments)
    if kvm_s is None:
        return translator("/dev/kvm opens, but a guest does not run with it")
    if translated_s is not None and kvm_s > 2 * translated_s + SLACK_S:
        return translator(f"KVM took {kvm_s:.1f} s where translation took {translated_s:.1f} s")
    return _KVM


async def guest_run_s(arguments: Sequence[str], timeout_s: float = PROBE_TIMEOUT_S) -> float | None:
    """How long a guest of a few instructions takes with these QEMU arguments; None: it fails."""
    with tempfile.TemporaryDirectory(prefix="lpmos-probe-") as directory:
        disk = Path(directory) / "boot.img"
        disk.write_bytes(probe_boot_sector())
        started = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            *("setpriv", "--pdeathsig", "KILL", "--", "qemu-system-x86_64", *arguments),
            *("-m", "16", "-display", "none", "-nodefaults", "-no-reboot"),
            *("-drive", f"file={disk},format=raw,if=ide"),
            *("-device", f"isa-debug-exit,iobase={_EXIT_PORT:#x},iosize=0x4"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd=directory,
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(timeout_s):
                proved = await process.wait() == _PROVED
        except TimeoutError:
            proved = False
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return time.monotonic() - started if proved else None
