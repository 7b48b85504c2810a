"""docs/reference/firmware.md: which cells of the matrix ran, how they ended, and how long it took.

The rule: a cell is said to pass only where a run of it is in the results.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from tests.matrix.cells import DISKS, KINDS, MEMORY_MIB, PRODUCT, SPREAD, Cell
from tests.matrix.play import Result

PAGE: Final = Path(__file__).resolve().parents[2] / "docs/reference/firmware.md"
_HEAD: Final = f"""# Firmware matrix

Servers of every kind that the lab can make, installed on real firmware in QEMU: from power on over
netboot and the install to the login prompt of the installed system and its word to the region, or
to the refusal that the cell has to end with. Each has {MEMORY_MIB} MB of RAM and one processor.

`make test-matrix` plays the {len(SPREAD)} cells of the table: a spread in which each firmware meets
each disk bus and each kind of disks, and each card meets each bus. `make test-matrix FULL=1` plays
all {len(PRODUCT)} combinations, `make test-matrix CELLS="bios-virtio-nvme-two"` what is named
(firmware, card, bus, disks). Results are kept in `tests/matrix/results.json` as they come, and
the command writes this page from them: what did not run is marked so.

| firmware | card | disk bus | disks | ended | report (s) | written (s) | up (s) | on |
|---|---|---|---|---|---:|---:|---:|---|
"""
_FOOT: Final = """
Times are from power on: to the agent's report, to the written disk (the agent restarts the
machine), and to the word of the installed system. They are of the machine that ran them, with
QEMU's translator where there is no KVM, and say nothing of real servers.

Disks:

"""


def page(results: Mapping[str, Result]) -> str:
    """The page, from what ran."""
    cells = list(SPREAD) + [each.cell for name, each in results.items() if not _in_spread(name)]
    rows = "".join(f"{_row(cell, results.get(cell.name))}\n" for cell in cells)
    ran = [results[cell.name] for cell in cells if cell.name in results]
    passed = sum(each.passed for each in ran)
    count = f"\n{passed} of {len(cells)} passed, {len(ran) - passed} failed,"
    count += f" {len(cells) - len(ran)} did not run.\n"
    return _HEAD + rows + count + _FOOT + "".join(_disk_lines())


def _in_spread(name: str) -> bool:
    return any(cell.name == name for cell in SPREAD)


def _row(cell: Cell, result: Result | None) -> str:
    words = [KINDS[cell.kind], cell.nic, cell.bus, cell.disks, _ended(cell, result)]
    times = (result.report_s, result.written_s, result.up_s) if result else (None,) * 3
    words += ["" if each is None else f"{each:.0f}" for each in times]
    return f"| {' | '.join([*words, result.on if result else ''])} |"


def _ended(cell: Cell, result: Result | None) -> str:
    if result is None:
        return "did not run"
    if not result.passed:
        return "**failed**"
    return "refused, as it has to be" if cell.refused else "installed"


def _disk_lines() -> Iterator[str]:
    yield from (f"- `{name}`: {words}\n" for name, words in DISKS.items())
    yield "\nA BIOS reads sectors of 512 bytes, so it is refused `4k`, with nothing written.\n"
    yield "QEMU has no SATA disk of such sectors. OVMF drives no card but virtio: with e1000e the\n"
    yield "card's own iPXE boots, by PXE, and Secure Boot would refuse it.\n"
    yield "\nWith PXE over IPv6 the firmware's DHCP and TFTP are over IPv6; iPXE then has\n"
    yield "addresses of both kinds, and takes the script that DHCP over IPv4 names.\n"
