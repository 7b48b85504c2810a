"""Templates made into text in a process of their own: who may try one may write any text as one.

A line of a template can ask for all memory and all time that there is (`a ~ a`, again and again),
and no look at its text tells that for sure. So it is rendered in a process that has little of both
and nothing of ours, no environment and no secret, and the control plane goes on meanwhile.
"""

import asyncio
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import structlog

from lpmos.core.render_child import CPU_S, MEMORY_BYTES, Asked, Rendered
from lpmos.model.errors import FieldProblem, InvalidInput, TooBusy

log = structlog.get_logger()

AT_ONCE = 2
TIMEOUT_S = 10.0
"""How long the process may take on a busy machine; its own time is bounded too."""

CHILD = "lpmos.core.render_child"


class TemplateProcess:
    """Renders templates for people, `AT_ONCE` at a time."""

    def __init__(self) -> None:
        self._running = 0

    async def render(self, content: str, variables: Mapping[str, Any]) -> str:
        """The text of a template for one machine.

        Args:
            content: the template.
            variables: plain values, as `rendering.render` takes them.

        Raises:
            InvalidInput: as that, or the template takes too much memory or time.
            TooBusy: others try templates at this moment.
        """
        return (await self._tried(Asked(content, (dict(variables),)))).texts[0]

    async def check(self, content: str, samples: Sequence[Mapping[str, Any]], check: str) -> None:
        """Render a template with each of several variables, and look at what it makes.

        Args:
            content: the template.
            samples: the variables, plain values.
            check: what looks at each text, as `Asked.check` names it.

        Raises:
            InvalidInput, TooBusy: as `render`.
        """
        await self._tried(Asked(content, tuple(map(dict, samples)), check))

    async def _tried(self, asked: Asked) -> Rendered:
        if self._running >= AT_ONCE:
            raise TooBusy("others try templates at this moment; try again")
        self._running += 1
        try:
            rendered = await _rendered(msgspec.json.encode(asked))
        finally:
            self._running -= 1
        if rendered is None:
            text = f"takes over {MEMORY_BYTES >> 20} MiB of memory or {CPU_S} s to render"
            raise InvalidInput(FieldProblem("content", text))
        if rendered.problems:
            raise InvalidInput(*rendered.problems)
        return rendered


async def _rendered(asked: bytes) -> Rendered | None:
    """What the process says; None where it ended without a word, or had to be ended."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", CHILD),
        stdin=PIPE,
        stdout=PIPE,
        stderr=DEVNULL,
        env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        close_fds=True,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            said, _ = await process.communicate(asked)
    except TimeoutError:
        return None
    finally:
        await _ended(process)
    if process.returncode != 0:
        log.info("a template could not be rendered", ended_with=process.returncode)
        return None
    return msgspec.json.decode(said, type=Rendered)


async def _ended(process: Process) -> None:
    """Make sure that the process is no more."""
    if process.returncode is None:
        process.kill()
        await process.wait()
