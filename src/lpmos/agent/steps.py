"""The plan's scripts, run in the new root: what a task says of its system beyond files.

The rule: the first one that fails ends the install, with its title, its exit status and the end of
its output. Each script is in RAM alone while it runs, for there may be secrets in it, and a secret
is said nowhere: neither on the console, nor in the log, nor in an error. The name servers of this
machine are the new root's only for that time.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lpmos.agent.commands import Commands
from lpmos.agent.errors import OUTPUT_BYTES, InstallError
from lpmos.agent.plan import Step
from lpmos.agent.rootfiles import RootFiles

FIRST_PERCENT, LAST_PERCENT = 90.0, 93.0
HIDDEN = "***"
LEAST_HIDDEN_CHARACTERS = 4
"""Shorter parts of a secret would hide half of what is said."""
RESOLV_CONF = "/etc/resolv.conf"
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL
_KILLED = "killed after"


class StepRunner:
    """Runs scripts in the root at `root`, which has the kernel's file systems."""

    def __init__(
        self,
        commands: Commands,
        say: Callable[[str], None],
        root: Path,
        *,
        ram: Path = Path("/run"),
        name_servers: Path = Path(RESOLV_CONF),
    ) -> None:
        """`ram` is the directory that the new root has as `/run`; `name_servers` is a
        resolv.conf(5) of this machine.
        """
        self._commands = commands
        self._say = say
        self._root = root
        self._ram = ram
        self._name_servers = name_servers

    def run(self, steps: Sequence[Step], at: Callable[[str, float, str], None]) -> None:
        """Run all of them in order; `at` is told of each before it begins.

        Raises:
            InstallError: one failed, or took too long.
            Stopped: the region ended the install.
        """
        if not steps:
            return
        share = (LAST_PERCENT - FIRST_PERCENT) / len(steps)
        with resolving(self._root, self._name_servers):
            for number, step in enumerate(steps):
                at("configuring", round(FIRST_PERCENT + share * number, 2), step.title)
                self._run(step)

    def _run(self, step: Step) -> None:
        parts = hidden_parts(step.secrets)
        with self._script(step.script) as path:
            output = self._commands.stream(
                ["chroot", str(self._root), "/bin/sh", path],
                say=lambda line: self._say(hide(line, parts)),
                timeout_s=float(step.timeout_s),
                ended=lambda: kill_inside(self._root),
            )
        kill_inside(self._root)
        if output.code == 0:
            return
        text = hide(output.text, parts)
        slow = text.rstrip().rpartition("\n")[2].startswith(_KILLED)
        how = f"took longer than {step.timeout_s} s" if slow else f"exit status {output.code}"
        raise InstallError(
            f"{step.title}: failed ({how})",
            command=step.title,
            output=text.encode()[-OUTPUT_BYTES:].decode(errors="ignore"),
            hint="Read the output; change the task's setup, then create the task again.",
        )

    @contextmanager
    def _script(self, text: str) -> Iterator[str]:
        """The script as a file that root alone reads; its path in the new root."""
        name = f"lpmos-step-{os.urandom(8).hex()}"
        here = self._ram / name
        try:
            with os.fdopen(os.open(here, _NEW, 0o600), "w") as file:
                file.write(text)
            yield f"/run/{name}"
        except OSError as error:
            raise InstallError(f"cannot write {here}: {error.strerror}") from error
        finally:
            here.unlink(missing_ok=True)


@contextmanager
def resolving(root: Path, name_servers: Path) -> Iterator[None]:
    """Give the new root this machine's name servers, and put back what it had.

    What a script put there itself, it keeps.

    Raises:
        InstallError: the disk refuses.
    """
    where = RootFiles(root, {}).inside(RESOLV_CONF)
    saved = where.with_name("resolv.conf.lpmos")
    try:
        text = name_servers.read_text() if name_servers.is_file() else ""
        where.parent.mkdir(parents=True, exist_ok=True)
        if os.path.lexists(where):
            where.rename(saved)
        where.write_text(text)
        ours = where.stat()
    except OSError as error:
        raise InstallError(f"cannot write {where}: {error.strerror}") from error
    try:
        yield
    finally:
        with suppress(OSError):  # what stands there then is what a script made of it
            now = where.lstat()
            if (now.st_ino, now.st_mtime_ns) == (ours.st_ino, ours.st_mtime_ns):
                where.unlink()
        if os.path.lexists(saved):
            saved.unlink() if os.path.lexists(where) else saved.rename(where)


def kill_inside(root: Path) -> None:
    """End what a script left running in the new root, which could not be unmounted else."""
    inside = root.resolve()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it ended by itself
            at = (process / "root").readlink()
            if at == inside or inside in at.parents:  # a service may have changed it once more
                os.kill(int(process.name), signal.SIGKILL)


def hidden_parts(secrets: Sequence[str]) -> list[str]:
    """What to look for in lines: each line of each secret, the longest first."""
    lines = {line.strip() for secret in secrets for line in secret.splitlines()}
    return sorted((line for line in lines if len(line) >= LEAST_HIDDEN_CHARACTERS), key=len)[::-1]


def hide(text: str, parts: Sequence[str]) -> str:
    """The text without these."""
    for part in parts:
        text = text.replace(part, HIDDEN)
    return text
