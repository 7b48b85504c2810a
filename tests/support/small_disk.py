"""A program on a file system of a few MB, in a mount namespace of its own."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

TREE = Path(__file__).resolve().parents[2]
TIMEOUT_S = 60.0
SCRIPT = 'mount -t tmpfs -o "size=$1m,nr_inodes=$2" none "$3" && shift 3 && exec "$@"'


async def report_of(module: str, *arguments: str, disk: Path, size_mb: int, inodes: int = 0) -> Any:
    """The JSON that `python -m module *arguments` prints with such a disk in place of `disk`.

    It has room for so many `inodes`; 0 is any number.
    """
    process = await asyncio.create_subprocess_exec(
        *("unshare", "--mount", "--map-root-user", "sh", "-c", SCRIPT, "sh"),
        *(str(size_mb), str(inodes), str(disk), sys.executable, "-m", module, *arguments),
        cwd=TREE,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(TIMEOUT_S):
        output, _ = await process.communicate()
    return json.loads(output)
