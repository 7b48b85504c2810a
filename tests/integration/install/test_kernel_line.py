"""Every character that arguments of a kernel may have, read by those that carry them unquoted."""

import shlex
import subprocess
from pathlib import Path

import pytest

from lpmos.agent.grubcfg import Start, grub_config
from lpmos.install.kernel_line import added_defaults, kernel_arguments
from lpmos.model.errors import InvalidInput
from lpmos.model.kernelline import parse_kernel_arguments
from tests.support.builders import make_task

START = Start("uuid", "/boot", ("ext2",), "UUID=uuid")
TIMEOUT_S = 20


def is_taken(word: str) -> bool:
    try:
        parse_kernel_arguments(word)
    except InvalidInput:
        return False
    return True


WORDS = " ".join(
    word for code in range(0x21, 0x7F) for word in (chr(code), f"a={chr(code)}b") if is_taken(word)
)


def test_grubs_own_grammar_takes_them(tmp_path: Path) -> None:
    task = make_task(kernel_arguments=WORDS)
    file = tmp_path / "grub.cfg"
    file.write_text(grub_config("d", START, kernel_arguments(task), [("vmlinuz-6.1", None)]))
    subprocess.run(["grub-script-check", str(file)], check=True, timeout=TIMEOUT_S)


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_shell_that_reads_grubs_defaults_adds_them_as_they_are(shell: str) -> None:
    (file,) = added_defaults(make_task(kernel_arguments=WORDS))
    script = (
        f'GRUB_CMDLINE_LINUX_DEFAULT=quiet\n{file.content}printf %s "$GRUB_CMDLINE_LINUX_DEFAULT"'
    )
    said = subprocess.run([shell, "-c", script], capture_output=True, text=True, timeout=TIMEOUT_S)
    assert said.stdout == f"quiet {WORDS}"


def test_kickstarts_words_keep_them_together() -> None:
    (_, option) = shlex.split(f'bootloader --append="{WORDS}"', comments=True)
    assert option == f"--append={WORDS}"
