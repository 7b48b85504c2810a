"""Software RAID: arrays made, watched for members that they lost, and stopped.

The rule: an array hides a broken disk from who writes to it, so `check` asks the kernel before an
install counts as done.
"""

import contextlib
from collections.abc import Sequence

from lpmos.agent.commands import Commands
from lpmos.agent.diskplan import Array
from lpmos.agent.errors import InstallError
from lpmos.agent.hints import hint_for
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.uuids import new_array_uuid

_LEVELS = {"raid1": "1", "raid5": "5", "raid10": "10"}


class Arrays:
    """The arrays of one install."""

    def __init__(self, commands: Commands, tree: Tree) -> None:
        self._commands = commands
        self._tree = tree
        self._members: dict[str, int] = {}

    def create(self, wanted: Array, members: Sequence[str]) -> tuple[str, str]:
        """Make an array of these partitions; returns its device and its UUID.

        The first synchronisation waits until the installed system runs: it would only slow down
        what is written here, and every member is written to from the first byte on.

        Raises:
            CommandFailed: mdadm failed.
        """
        name, uuid = self._free_name(), new_array_uuid()
        device = f"/dev/{name}"
        self._members[name] = len(members)
        self._commands.run(
            [
                *("mdadm", "--create", device, "--run", "--quiet", "--metadata=1.2"),
                # Of no host: the installed system then finds it as its own, /dev/md/<id>.
                *("--homehost=any", f"--name={wanted.id}", f"--uuid={uuid}"),
                *(f"--level={_LEVELS[wanted.level]}", f"--raid-devices={len(members)}"),
                *members,
            ]
        )
        with contextlib.suppress(OSError):  # then it synchronises now
            self._tree.path(f"sys/block/{name}/md/sync_action").write_text("frozen")
        return device, uuid

    def check(self) -> None:
        """Go on only if no array has lost a disk.

        Raises:
            InstallError: one has; the text names which.
        """
        for name, count in self._members.items():
            base = f"sys/block/{name}/md"
            members = [entry for entry in self._tree.names(base) if entry.startswith("dev-")]
            states = {entry[4:]: self._tree.text(f"{base}/{entry}/state") for entry in members}
            bad = [f"{part} ({state})" for part, state in states.items() if _is_bad(state)]
            if bad or len(members) < count:
                detail = self._commands.ask(["mdadm", "--detail", f"/dev/{name}"]).text
                raise InstallError(
                    f"/dev/{name} lost a disk during the install: "
                    f"{', '.join(bad) or f'{len(members)} of {count} members are left'}",
                    command=f"mdadm --detail /dev/{name}",
                    output=detail,
                    hint=hint_for("mdadm", "I/O error"),
                )

    def stop(self) -> None:
        """Stop all, so that each is marked as whole.

        Raises:
            CommandFailed: one is in use.
        """
        while self._members:
            self._commands.run(["mdadm", "--stop", "--quiet", f"/dev/{[*self._members][-1]}"])
            self._members.popitem()

    def abandon(self) -> None:
        """Stop what can be stopped, after a failure."""
        for name in reversed(self._members):
            self._commands.clean_up(["mdadm", "--stop", "--quiet", f"/dev/{name}"])

    def _free_name(self) -> str:
        taken = {*self._tree.names("sys/block"), *self._members}
        return next(name for n in range(len(taken) + 1) if (name := f"md{n}") not in taken)


def _is_bad(state: str | None) -> bool:
    return state is None or "faulty" in state or "write_error" in state
