"""A process that fills the disk of an outbox, makes space, and reports what it saw.

    python -m tests.support.outbox_full_disk <directory>

The directory is a small file system of its own. One JSON object is printed.
"""

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lpmos.region.outbox import Outbox
from lpmos.store.api import NoSpace

BALLAST_BYTES = 1_000_000
BODY_BYTES = 20_000
MOST_WORDS = 10_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def _fill(box: Outbox) -> list[int]:
    """Keep words until there is no space; the numbers of those that were acknowledged."""
    acknowledged: list[int] = []
    for number in range(MOST_WORDS):
        try:
            body = number.to_bytes(4, "big") * (BODY_BYTES // 4)
            acknowledged.append(await box.append(f"machine-{number % 7}", NOW, body))
        except NoSpace:
            return acknowledged
    raise AssertionError("the disk was never full")


async def _report(directory: Path) -> dict[str, Any]:
    ballast = directory / "ballast"
    ballast.write_bytes(bytes(BALLAST_BYTES))
    box = await Outbox.open(directory / "outbox.db")
    acknowledged = await _fill(box)
    full = [word.seq for word in box.words()]
    await box.close()
    box = await Outbox.open(directory / "outbox.db")
    kept = [word.seq for word in box.words()]
    whole = [len(await box.read(word)) for word in box.words()]
    ballast.unlink()
    after = await box.append("machine-0", NOW, b"x" * BODY_BYTES)
    await box.close()
    return {
        "acknowledged": acknowledged,
        "full": full,
        "kept": kept,
        "whole": sorted(set(whole)),
        "after": after,
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(_report(Path(sys.argv[1])))))
