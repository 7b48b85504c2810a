"""A process that keeps words as fast as it can and prints the number of each that is kept.

python -m tests.support.outbox_writer <file>
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from lpmos.region.outbox import Outbox

WRITERS = 20
NOW = datetime(2026, 1, 1, tzinfo=UTC)


async def _write(box: Outbox, lane: str) -> None:
    while True:
        print(await box.append(lane, NOW, b"a word"), flush=True)


async def _main(path: Path) -> None:
    box = await Outbox.open(path)
    await asyncio.gather(*(_write(box, f"machine-{number}") for number in range(WRITERS)))


if __name__ == "__main__":
    asyncio.run(_main(Path(sys.argv[1])))
