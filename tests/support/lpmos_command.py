"""The command `lpmos` in a process of its own, and what it says."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

LPMOS = Path(sys.executable).with_name("lpmos")
TIMEOUT_S = 120.0
CLOUDS = ("AWS_", "GOOGLE_", "AZURE_", "AZURITE_")
"""What this process has in its environment of them, the command does not get."""


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    error: str


async def started(*arguments: str, environment: Mapping[str, str] | None = None) -> Process:
    """The command, which has `environment` besides this process's own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(CLOUDS)}
    return await asyncio.create_subprocess_exec(
        LPMOS, *arguments, env={**kept, **(environment or {})}, stdout=PIPE, stderr=PIPE
    )


async def ended(process: Process) -> Done:
    """What a command said, once it has ended."""
    async with asyncio.timeout(TIMEOUT_S):
        out, error = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), error.decode())


async def lpmos(*arguments: str, environment: Mapping[str, str] | None = None) -> Done:
    """Run the command to its end."""
    return await ended(await started(*arguments, environment=environment))
