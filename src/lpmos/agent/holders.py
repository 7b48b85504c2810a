"""Old arrays and volumes that the kernel has assembled on disks which are to be overwritten.

The rule: what also stands on a disk that nobody approved is not touched, and then nothing is.
"""

from collections.abc import Sequence

from lpmos.agent.commands import Commands
from lpmos.agent.errors import InstallError
from lpmos.agent.inventory.disks import partitions
from lpmos.agent.inventory.tree import Tree


def assembled(tree: Tree, disks: Sequence[str]) -> tuple[str, ...]:
    """What is built on these disks: kernel names (`md127`, `dm-0`), the topmost first.

    Raises:
        InstallError: something of it cannot be taken apart, or stands on other disks as well.
    """
    below: dict[str, list[str]] = {}
    ours = set(_blocks(tree, disks))
    waiting = [(block, path) for disk in disks for block, path in _places(tree, disk)]
    while waiting:
        block, path = waiting.pop()
        for holder in tree.names(f"{path}/holders"):
            if not holder.startswith(("md", "dm-")):
                raise _held(block, holder, "which the agent cannot take apart")
            if holder not in below:
                below[holder] = tree.names(f"sys/block/{holder}/slaves")
                waiting += _places(tree, holder)
    ours |= set(_blocks(tree, list(below)))
    for holder, slaves in below.items():
        if others := [slave for slave in slaves if slave not in ours]:
            raise _held(slaves[0], holder, f"which stands on {', '.join(others)} as well")
    return _top_first(tree, below)


def take_apart(commands: Commands, tree: Tree, holders: Sequence[str]) -> None:
    """Stop what `assembled` found; nothing on the disks is changed by it.

    Raises:
        CommandFailed: something uses it.
    """
    for holder in holders:
        name = tree.text(f"sys/block/{holder}/dm/name")
        if name is None:
            commands.run(["mdadm", "--stop", f"/dev/{holder}"])
        else:
            commands.run(["dmsetup", "remove", name])


def _places(tree: Tree, disk: str) -> list[tuple[str, str]]:
    base = f"sys/block/{disk}"
    return [(disk, base), *((part, f"{base}/{part}") for part in partitions(tree, disk))]


def _blocks(tree: Tree, disks: Sequence[str]) -> list[str]:
    return [block for disk in disks for block, _ in _places(tree, disk)]


def _top_first(tree: Tree, below: dict[str, list[str]]) -> tuple[str, ...]:
    order: list[str] = []
    left = dict(below)
    while left:
        used = {slave for slaves in left.values() for slave in slaves}
        tops = [h for h in sorted(left) if not used.intersection(_blocks(tree, [h]))]
        order += tops
        for top in tops or list(left):
            del left[top]
    return tuple(order)


def _held(block: str, holder: str, why: str) -> InstallError:
    return InstallError(
        f"/dev/{block} is held by {holder}, {why}: nothing was written",
        hint="Take apart what holds the disk, or name its other disks in the task too; then create"
        " the task again.",
    )
