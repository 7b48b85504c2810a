"""What an install mounts, undone in reverse order whatever happened in between."""

from pathlib import Path
from types import TracebackType

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.errors import CommandFailed, InstallError
from lpmos.agent.hints import hint_for

UNMOUNT_TIMEOUT_S = 900.0
"""Unmounting writes what is still in memory: minutes on a slow disk."""
_QUICK_TIMEOUT_S = 30.0


class Mounts:
    """A context: all that was mounted in it is unmounted at its end."""

    def __init__(self, commands: Commands, console: Console) -> None:
        self._commands = commands
        self._console = console
        self._mounted: list[Path] = []

    def __enter__(self) -> "Mounts":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        while self._mounted:
            self._release(self._mounted.pop())

    @property
    def places(self) -> tuple[Path, ...]:
        """Where something is mounted now."""
        return tuple(self._mounted)

    def mount(self, source: str, where: Path, *options: str) -> None:
        """Mount `source`; the directory is made where it is missing.

        Raises:
            InstallError: it could not be mounted.
        """
        try:
            where.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InstallError(
                f"cannot make {where} to mount {source}: {error.strerror}",
                hint=hint_for("mkdir", str(error)),
            ) from error
        self._commands.run(["mount", *options, source, str(where)])
        self._mounted.append(where)

    def mount_kernel(self, root: Path) -> None:
        """Give programs in a new root the kernel's file systems.

        Raises:
            InstallError: a mount failed.
        """
        for name in ("dev", "sys", "run"):
            self.mount(f"/{name}", root / name, "--bind")
        self.mount("proc", root / "proc", "-t", "proc")

    def unmount_all(self) -> None:
        """Unmount everything; on return all of it is on the disks.

        Raises:
            CommandFailed: something is busy or could not be written; the rest stays mounted.
        """
        while self._mounted:
            self._commands.run(["umount", str(self._mounted[-1])], timeout_s=UNMOUNT_TIMEOUT_S)
            self._mounted.pop()

    def _release(self, where: Path) -> None:
        result = self._commands.clean_up(["umount", str(where)], timeout_s=UNMOUNT_TIMEOUT_S)
        if result.code:
            failed = CommandFailed(["umount", str(where)], result.code, result.text)
            self._console.warn(f"{failed}; detaching it: {result.text.strip()}")
            self._commands.clean_up(["umount", "-l", str(where)], timeout_s=_QUICK_TIMEOUT_S)
