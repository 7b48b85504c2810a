"""Files written into the new root, and nowhere else.

The rule: a path is resolved as the installed system would (its symbolic links are relative to the
new root), so no link in an image can lead a write out of it into the running agent.
"""

import os
import re
import stat
from pathlib import Path

from lpmos.agent.errors import InstallError
from lpmos.agent.plan import File

_NO_SUCH_BLOCK = re.compile(r"\{\{(ARRAY_)?UUID:[^}]*\}\}")
_LINK_LIMIT = 40
"""As the kernel's, path_resolution(7)."""


class RootFiles:
    """The root file system mounted at `root`."""

    def __init__(self, root: Path, placeholders: dict[str, str]) -> None:
        self._root = root
        self._placeholders = placeholders

    def write(self, file: File) -> None:
        """Write a planned file with its mode, its placeholders filled in; parents are made.

        Raises:
            InstallError: the path leads nowhere, a placeholder names no block, or the disk refuses.
        """
        path, content = self._filled(file.path), self._filled(file.content)
        try:
            where = self.inside(path)
            where.parent.mkdir(parents=True, exist_ok=True)
            if where.is_symlink():
                where.unlink()
            descriptor = os.open(
                where, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, file.mode & 0o7777
            )
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                os.fchmod(stream.fileno(), file.mode & 0o7777)
                stream.write(content)
        except OSError as error:
            raise InstallError(
                f"cannot write {path} into the new root: {error.strerror or error}",
                hint="Look at the image's own files at this path.",
            ) from error

    def reset_machine_id(self) -> None:
        """Let the first boot make a machine-id (machine-id(5)); clones would share one.

        Raises:
            InstallError: the disk refuses.
        """
        self.write(File("/etc/machine-id", "", 0o444))
        copy = self.inside("/var/lib/dbus/machine-id")
        if copy.is_file() and not copy.is_symlink():
            copy.unlink()

    def inside(self, path: str) -> Path:
        """Where `path` of the new system stands for us; its last part is not followed.

        Raises:
            InstallError: not an absolute path, or it loops.
        """
        if not path.startswith("/") or path.endswith("/") or "\0" in path:
            raise _refused(path, "it is not the absolute path of a file")
        waiting = path.split("/")[::-1]
        done: list[str] = []
        links = 0
        while waiting:
            part = waiting.pop()
            if part in ("", "."):
                continue
            if part == "..":
                done = done[:-1]
                continue
            here = self._root.joinpath(*done, part)
            if waiting and _is_link(here):
                links += 1
                if links > _LINK_LIMIT:
                    raise _refused(path, "its links lead in a circle")
                target = str(here.readlink())
                done = [] if target.startswith("/") else done
                waiting += target.split("/")[::-1]
            else:
                done.append(part)
        if not done:
            raise _refused(path, "it is not the absolute path of a file")
        return self._root.joinpath(*done)

    def _filled(self, text: str) -> str:
        for name, value in self._placeholders.items():
            text = text.replace("{{" + name + "}}", value)
        if unknown := _NO_SUCH_BLOCK.search(text):
            raise _refused(unknown[0], "the layout of the disks has no such block")
        return text


def _is_link(path: Path) -> bool:
    try:
        return stat.S_ISLNK(path.lstat().st_mode)
    except OSError:
        return False


def _refused(path: str, why: str) -> InstallError:
    return InstallError(
        f"the plan's file {path!r} is refused: {why}",
        hint="Change the setting of the task that this file is made from, then create the task"
        " again.",
    )
