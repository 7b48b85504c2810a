"""One disk cleared, erased and partitioned; and left blank again where an install fails.

The rule: only a disk that this run began to write is left blank; another one keeps what it holds.
"""

from lpmos.agent.commands import Commands
from lpmos.agent.diskplan import Array, Disk, Encrypted, Partition, VolumeGroup
from lpmos.agent.errors import InstallError
from lpmos.agent.inventory.disks import partitions
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.nvme import FORMAT_TIMEOUT_S, check_format, format_namespace
from lpmos.agent.stop import Stop

NODES_TIMEOUT_S = 15.0
NODES_POLL_S = 0.05
RESCAN_AFTER_S = 1.0
DISCARD_TIMEOUT_S = 3600.0

_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
_ROOT = "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709"
_TYPES = {
    # UEFI 2.10, table 5-7, and the Discoverable Partitions Specification
    "bios_boot": "21686148-6449-6E6F-744E-656564454649",
    "esp": "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    "root": _ROOT,
    Array: "A19D880F-05FC-4D3B-A006-743F0F84911E",
    VolumeGroup: "E6D6D379-F507-44C2-A23C-238F2A3DF928",
    Encrypted: "CA7D7CCB-63ED-4C53-861C-1742536059CC",
    "swap": "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
}
_NAMES = {"bios_boot": "bios", "esp": "esp", "root": "root"}


def partition_path(device: str, number: int) -> str:
    """`/dev/sda3`, but `/dev/nvme0n1p3`: a `p` where the disk's name ends with a digit."""
    return f"{device}{'p' if device[-1].isdigit() else ''}{number}"


def table_script(plan: Disk) -> str:
    """The GPT in the words of `sfdisk` (sfdisk(8), input format)."""
    lines = ["label: gpt", ""]
    for part in sorted(plan.partitions, key=lambda part: part.number):
        size = "" if part.size_bytes is None else f"size={part.size_bytes // 1024}KiB, "
        kind, name = _kind_and_name(plan, part)
        lines.append(f"{part.number} : {size}type={kind}, name={name}")
    return "\n".join(lines) + "\n"


def _kind_and_name(plan: Disk, part: Partition) -> tuple[str, str]:
    """The type and the name of a partition, by what stands on it."""
    if part.role in _NAMES:
        return _TYPES[part.role], _NAMES[part.role]
    block = f"p{part.number}"
    for array in plan.arrays:
        if array.partition == part.number:
            return _TYPES[Array], array.id
    layers: list[VolumeGroup | Encrypted] = [*plan.groups, *plan.encrypted]
    for layer in layers:
        if layer.on == block:
            return _TYPES[type(layer)], layer.id
    for filesystem in plan.filesystems:
        if filesystem.on == block:
            kind = _ROOT if filesystem.mount == "/" else _TYPES.get(filesystem.kind, _LINUX)
            name = (filesystem.mount or filesystem.kind).strip("/").replace("/", "-")
            return kind, name or "root"
    return _LINUX, block


class DiskWriter:
    """Writes to one disk; each method is a step of the stage `partitioning`."""

    def __init__(self, commands: Commands, tree: Tree, stop: Stop, name: str) -> None:
        self._commands = commands
        self._tree = tree
        self._stop = stop
        self._name = name
        self._begun = False
        self.device = f"/dev/{name}"

    def check_erase(self, erase: str) -> None:
        """Refuse a level of erasing that would reach beyond this disk; writes nothing.

        Raises:
            InstallError: it would, or the disk does not say.
        """
        if erase == "nvme_format":
            check_format(self.device, others=self._shares_its_drive())

    @staticmethod
    def erase_limit_s(erase: str) -> float:
        """How long one disk may take to be erased so; 0 where it takes no time to speak of."""
        return {"discard": DISCARD_TIMEOUT_S, "nvme_format": FORMAT_TIMEOUT_S}.get(erase, 0.0)

    def clear(self, erase: str) -> None:
        """Remove every signature, then erase the disk as far as the plan says.

        Raises:
            InstallError: a program failed, or the disk cannot erase so.
            Stopped: the run was told to end.
        """
        self._stop.check()
        self._begun = True
        for part in reversed(partitions(self._tree, self._name)):
            self._commands.run(["wipefs", "--all", "--quiet", f"/dev/{part}"])
        self._commands.run(["wipefs", "--all", "--quiet", self.device])
        if erase == "discard":
            self._commands.run(["blkdiscard", self.device], timeout_s=DISCARD_TIMEOUT_S)
        elif erase == "nvme_format":
            format_namespace(self.device, others=self._shares_its_drive())

    def partition(self, plan: Disk) -> None:
        """Write the table, then wait for the partitions' nodes.

        Raises:
            InstallError: a program failed, or the kernel does not show the partitions.
        """
        self._commands.run(
            ["sfdisk", "--quiet", "--wipe", "always", "--wipe-partitions", "always", self.device],
            stdin=table_script(plan),
        )
        self.await_nodes([part.number for part in plan.partitions])

    def mark(self, label_id: str) -> None:
        """Write an empty GPT with this id.

        Raises:
            InstallError: a program failed.
        """
        self._commands.run(
            ["sfdisk", "--quiet", "--wipe", "always", self.device],
            stdin=f"label: gpt\nlabel-id: {label_id}\n",
        )

    def blank(self) -> None:
        """After a failed install: a disk that was begun boots nothing and counts as blank."""
        if not self._begun:
            return
        for name in (*reversed(partitions(self._tree, self._name)), self._name):
            wipe = ["wipefs", "--all", "--quiet", f"/dev/{name}"]
            if self._commands.clean_up(wipe).code:  # a mount that could not be undone holds it
                self._commands.clean_up([*wipe, "--force"])

    def _shares_its_drive(self) -> bool:
        """Whether its controller has namespaces besides (`nvme0n1` and `nvme0n2`)."""
        drive = self._name.rpartition("n")[0] + "n"
        return any(
            name.startswith(drive) and name != self._name for name in self._tree.names("sys/block")
        )

    def await_nodes(self, numbers: list[int]) -> None:
        """Wait until the kernel shows these partitions.

        Raises:
            InstallError: it does not.
        """
        nodes = [partition_path(self.device, number).lstrip("/") for number in numbers]
        waited_s = 0.0
        rescanned = False
        while missing := [node for node in nodes if not self._tree.exists(node)]:
            if waited_s >= NODES_TIMEOUT_S:
                raise InstallError(
                    f"the kernel shows no /{missing[0]} after partitioning",
                    command=f"sfdisk {self.device}",
                    hint="Look for messages on this disk on the console; try another disk.",
                )
            if waited_s >= RESCAN_AFTER_S and not rescanned:
                self._commands.run(["partx", "--update", self.device])
                rescanned = True
            self._stop.wait(NODES_POLL_S)
            waited_s += NODES_POLL_S
