"""Every cell of the firmware matrix, one after the other, on real firmware in QEMU.

    python -m tests.matrix [--full] [--write] [NAME…]

What passed and what did not is kept in tests/matrix/results.json, cell by cell; `--write` writes
the page docs/reference/firmware.md from it. Ends with status 1 where a cell did not end as it has
to.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console

from lpmos.lab.acceleration import Acceleration, choose_acceleration
from lpmos.lab.stage import build_missing_images
from tests.matrix import page
from tests.matrix.cells import LAID, PRODUCT, SPREAD, Cell
from tests.matrix.play import Result, play

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
RESULTS = Path(__file__).with_name("results.json")


def main() -> int:
    """Play what is asked for; 1 where a cell failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="cells; without: all of the page")
    parser.add_argument("--full", action="store_true", help="everything with everything, for a day")
    parser.add_argument("--write", action="store_true", help="write the page of the documents anew")
    parser.add_argument("--results", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    known = {cell.name: cell for cell in (*SPREAD, *PRODUCT, *LAID)}
    if unknown := set(chosen.names) - known.keys():
        parser.error(f"there is no cell {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    every = (*(PRODUCT if chosen.full else SPREAD), *LAID)
    cells = [known[name] for name in chosen.names] or every
    images_dir = _built_images()
    accel = asyncio.run(choose_acceleration())
    failed = 0
    for number, cell in enumerate(cells, start=1):
        print(f"== {number} of {len(cells)}: {cell.name}", flush=True)
        result = _play(cell, images_dir, accel)
        failed += not result.passed
        print(f"== {'passed' if result.passed else 'FAILED: ' + result.words}", flush=True)
        results = {**kept_results(chosen.results), cell.name: result}
        chosen.results.parent.mkdir(parents=True, exist_ok=True)
        kept = msgspec.json.format(msgspec.json.encode(list(results.values())), indent=1)
        chosen.results.write_bytes(kept + b"\n")
        if chosen.write:
            page.PAGE.write_text(page.page(results))
    return 1 if failed else 0


def kept_results(path: Path = RESULTS) -> dict[str, Result]:
    """What ran before, by cell."""
    if not path.exists():
        return {}
    results = msgspec.json.decode(path.read_bytes(), type=list[Result])
    return {each.cell.name: each for each in results}


def _built_images() -> Path:
    images_dir = Path(os.environ.get("LPMOS_IMAGES_DIR", BUILD / "images"))
    cache_dir = Path(os.environ.get("LPMOS_CACHE_DIR", BUILD / "cache"))
    build_missing_images(
        images_dir, cache_dir, Console(stderr=True), os.environ.get("LPMOS_MIRROR") or None
    )
    return images_dir


def _play(cell: Cell, images_dir: Path, accel: Acceleration) -> Result:
    kept = Path(tempfile.mkdtemp(prefix=f"lpmos-matrix-{cell.name}-"))
    began = time.monotonic()
    result = asyncio.run(play(cell, directory=kept, images_dir=images_dir, accel=accel))
    print(f"   {time.monotonic() - began:.0f} s", flush=True)
    if result.passed:
        shutil.rmtree(kept)
    else:
        print(f"   its logs and disks: {kept}", flush=True)
    return msgspec.structs.replace(result, on=datetime.now(UTC).date().isoformat())


if __name__ == "__main__":
    sys.exit(main())
