"""Every character that arguments of a kernel may have, read by those that carry them unquoted."""

import subprocess
from pathlib import Path

import pytest

from lpmos.agent.grubcfg import Start, grub_config
from lpmos.install.answers import FAMILIES, rhel, samples
from lpmos.install.answers.order import order_of
from lpmos.install.kernel_line import added_defaults, kernel_arguments
from lpmos.model.errors import InvalidInput
from lpmos.model.kernelline import parse_kernel_arguments
from lpmos.model.setup import TaskSecrets
from tests.support.answers import answer_task, appended_by_kickstart
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


def test_kickstart_has_them_as_they_are() -> None:
    rows = FAMILIES["rhel"]
    manifest = samples.manifest_of(rows, *rows.releases[-1])
    task = answer_task(kernel_arguments=WORDS)
    commands = rhel.disks(order_of(task, manifest, samples.URLS, TaskSecrets()))
    assert appended_by_kickstart(commands) == kernel_arguments(task).split()
    assert kernel_arguments(task).endswith(f" {WORDS}")
