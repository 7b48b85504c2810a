"""`lpmos` as a process of its own, against a control plane of this process."""

import argparse
import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from lpmos.cli.main import parser
from tests.support.control_plane import RunningControlPlane, running_with_debian

LPMOS = Path(sys.executable).with_name("lpmos")
TIMEOUT_S = 60.0


class Ended(NamedTuple):
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document that it printed."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[str]:
        """The lines that it printed."""
        return self.out.splitlines()


def declared_calls(words: Sequence[str]) -> tuple[str, ...]:
    """What the command with these words says that it calls; nothing for one not of the API."""
    command: argparse.ArgumentParser = parser(words[0])
    for word in words:
        below = [each for each in command._actions if isinstance(each, argparse._SubParsersAction)]
        if not below or word not in below[0].choices:
            break
        command = below[0].choices[word]
    return tuple(command.get_default("calls") or ())


def is_declared(call: str, declared: Sequence[str]) -> bool:
    """Whether a call (`GET /api/v1/tasks/1?x=y`) is one of those declared; renewals always are."""
    plain = call.partition("?")[0].replace("/api/v1", "", 1)
    always = ("POST /login/refresh", "GET /schema/openapi.json")
    patterns = (re.sub(r"\\{[^}]*\\}", "[^/]+", re.escape(each)) for each in declared)
    return plain in always or any(re.fullmatch(pattern, plain) for pattern in patterns)


class Shell:
    """Runs commands as one person at one machine; `calls` are all that they made of the API.

    Each command of the API is run with `-v`, and calls only what it declares.
    """

    def __init__(self, home: Path, server: str, token: str | None) -> None:
        self.home = home
        self.calls: set[str] = set()
        self.environment = {
            "PATH": os.environ["PATH"],
            "XDG_CONFIG_HOME": str(home),
            "LPMOS_SERVER": server,
        }
        if token:
            self.environment["LPMOS_TOKEN"] = token

    async def run(self, *words: str, typed: str = "", code: int = 0) -> Ended:
        """Run `lpmos` with these words to its end, which must be with this exit code."""
        ended = await self.try_(*words, typed=typed)
        assert ended.code == code, f"{words}: {ended}"
        return ended

    async def try_(self, *words: str, typed: str = "") -> Ended:
        """Run `lpmos` with these words to its end, whatever that is."""
        process = await self.start(*words)
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(typed.encode())
        return self.ended(process, out.decode(), err.decode(), declared_calls(words))

    async def start(self, *words: str) -> asyncio.subprocess.Process:
        """Start `lpmos` with these words."""
        words = (*words, "-v") if declared_calls(words) else words
        return await asyncio.create_subprocess_exec(
            LPMOS,
            *words,
            env=self.environment,
            cwd=self.home,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )

    def ended(
        self,
        process: asyncio.subprocess.Process,
        out: str,
        err: str,
        declared: Sequence[str] = (),
    ) -> Ended:
        """What a process left behind; the calls that `-v` told are taken out of its words."""
        told = [line for line in err.splitlines() if line.startswith("* ")]
        calls = {" ".join(line.split()[1:3]) for line in told}
        assert not [call for call in calls if not is_declared(call, declared)]
        self.calls |= calls
        rest = "\n".join(line for line in err.splitlines() if not line.startswith("* "))
        assert process.returncode is not None
        return Ended(process.returncode, out, rest)


@pytest.fixture
async def control_plane(tmp_path: Path) -> AsyncIterator[RunningControlPlane]:
    """A control plane that knows region dc1, which offers Debian 12."""
    async with running_with_debian(tmp_path) as running:
        yield running


@pytest.fixture
def shell(control_plane: RunningControlPlane, tmp_path: Path) -> Shell:
    """The administrator's."""
    home = tmp_path / "home"
    home.mkdir()
    return Shell(home, control_plane.url, control_plane.token)
