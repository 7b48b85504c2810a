"""docs/reference/firmware.md: which cells of the matrix ran, how they ended, and how long it took.

The rule: a cell is said to pass only where a run of it is in the results.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.matrix.cells import CI, DISKS, KINDS, LAID, MEMORY_MIB, PRODUCT, SPREAD, Cell
from tests.matrix.layouts import LAYOUTS
from tests.matrix.play import Result

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/reference/firmware.md"
_HEAD: Final = f"""# Firmware matrix

Servers of every kind that the lab can make, installed on real firmware in QEMU: from power on over
netboot and the install to the login prompt of the installed system and its word to the region, or
to the refusal that the cell has to end with. Each has {MEMORY_MIB} MB of RAM and one processor.

`make test-matrix` plays the {len(SPREAD)} cells of the first table: a spread in which each firmware
meets each disk bus and each kind of disks (`named` and `lvm-kept`, which the task decides, once
each), and each card meets each bus, and the {len(LAID)} of the second:
[layouts](../how-to/disks.md) of disks. `make test-matrix FULL=1` plays all {len(PRODUCT)}
combinations and the layouts, `make test-matrix CELLS="bios-virtio-nvme-two"` what is named
(firmware, card, bus, disks). Results are kept in `tests/matrix/results.json` as they come, and
the command writes this page from them: what did not run is marked so.

The {len(CI)} cells with `yes` below CI are in every `make test`. So are servers that are no cells:
one with SeaBIOS and two SCSI disks, the root on LVM on RAID 1, that starts again without the first;
one with OVMF, PXE and e1000e that loses its power in the install; one whose disk is too small; and
one with OVMF, PXE and too little memory for the agent.

| firmware | card | disk bus | disks | CI | ended | report (s) | written (s) | up (s) | on |
|---|---|---|---|---|---|---:|---:|---:|---|
"""
_LAID_HEAD: Final = """
## Layouts of disks

From power on to the login prompt of a system that stands on the layout. Of an array, the server is
shut down when its kernel has filled it, the first disk is taken out, and it starts once more.

| firmware | disk bus | layout | ended | report (s) | written (s) | up (s) | less a disk (s) | on |
|---|---|---|---|---:|---:|---:|---:|---|
"""
_FOOT: Final = """
Times are from power on: to the agent's report, to the written disk (the agent restarts the
machine), and to the word of the installed system. They are of the machine that ran them, with
QEMU's translator where there is no KVM, and say nothing of real servers.
"""
_DISKS_FOOT: Final = """
A BIOS reads sectors of 512 bytes, so it is refused `4k`, with nothing written.
QEMU has no SATA disk of such sectors. OVMF drives no card but virtio: with e1000e the
card's own iPXE boots, by PXE, and Secure Boot would refuse it.

With PXE over IPv6 the firmware's DHCP and TFTP are over IPv6; iPXE then has
addresses of both kinds, and takes the script that DHCP over IPv4 names.
Without IPv4 the network gives none: what loads and installs the server, and
its word when it is up, go over IPv6.
"""


def page(results: Mapping[str, Result]) -> str:
    """The page, from what ran."""
    further = (each.cell for name, each in results.items() if not _on_page(name))
    cells = [*SPREAD, *further]
    rows = "".join(f"{_row(cell, results.get(cell.name))}\n" for cell in cells)
    laid = "".join(f"{_laid_row(cell, results.get(cell.name))}\n" for cell in LAID)
    first = _HEAD + rows + _count(cells, results) + _disk_words()
    return first + _LAID_HEAD + laid + _count(LAID, results) + _layout_words() + _FOOT


def _count(cells: Sequence[Cell], results: Mapping[str, Result]) -> str:
    ran = [results[cell.name] for cell in cells if cell.name in results]
    passed = sum(each.passed for each in ran)
    count = f"\n{passed} of {len(cells)} passed, {len(ran) - passed} failed,"
    return f"{count} {len(cells) - len(ran)} did not run.\n"


def _on_page(name: str) -> bool:
    return any(cell.name == name for cell in (*SPREAD, *LAID))


def _row(cell: Cell, result: Result | None) -> str:
    in_ci = "yes" if cell in CI else ""
    words = [KINDS[cell.kind], cell.nic, cell.bus, cell.disks, in_ci, _ended(cell, result)]
    return _line(words, result, _times(result))


def _laid_row(cell: Cell, result: Result | None) -> str:
    words = [KINDS[cell.kind], cell.bus, cell.disks, _ended(cell, result)]
    return _line(words, result, (*_times(result), result.degraded_s if result else None))


def _times(result: Result | None) -> tuple[float | None, ...]:
    return (result.report_s, result.written_s, result.up_s) if result else (None,) * 3


def _line(words: list[str], result: Result | None, times: tuple[float | None, ...]) -> str:
    numbers = ["" if each is None else f"{each:.0f}" for each in times]
    return f"| {' | '.join([*words, *numbers, result.on if result else ''])} |"


def _ended(cell: Cell, result: Result | None) -> str:
    if result is None:
        return "did not run"
    if not result.passed:
        return "**failed**"
    return "refused, as it has to be" if cell.refused else "installed"


def _disk_words() -> str:
    return "\nDisks:\n\n" + _list(DISKS) + _DISKS_FOOT


def _layout_words() -> str:
    return "\nDisks:\n\n" + _list({name: each.words for name, each in LAYOUTS.items()})


def _list(words: Mapping[Any, str]) -> str:
    return "".join(f"- `{name}`: {each}\n" for name, each in words.items())
