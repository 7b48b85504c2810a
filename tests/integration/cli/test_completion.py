"""Completion scripts are what their shells understand."""

import asyncio
import shutil
from pathlib import Path

import pytest

from tests.integration.cli.conftest import LPMOS


async def _output(*words: str | Path) -> str:
    process = await asyncio.create_subprocess_exec(
        *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion_script_names_commands_and_flags(shell: str) -> None:
    script = await _output(LPMOS, "completion", shell)
    assert all(word in script for word in ("unmatched", "rotate-secret", "idempotency-key"))


async def test_completion_in_bash_completes(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    assert bash, "this test needs bash"
    script = tmp_path / "lpmos.bash"
    script.write_text(await _output(LPMOS, "completion", "bash"))
    ask = (
        f"source {script}; COMP_WORDS=(lpmos task ap); COMP_CWORD=2;"
        " $(complete -p lpmos | sed 's/.*-F \\([^ ]*\\).*/\\1/'); echo ${COMPREPLY[@]}"
    )
    assert (await _output(bash, "-c", ask)).split() == ["approve"]
