"""GRUB on the new disks, from the new system's own packages, so that each boots by itself.

Whatever firmware booted the agent, every disk gets GRUB for BIOS and GRUB at UEFI's fallback path;
under UEFI each gets an entry in the firmware's boot menu as well.
"""

import re
from pathlib import Path

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.efiboot import EFIVARS, FirmwareBoot
from lpmos.agent.errors import InstallError
from lpmos.agent.grubcfg import Start, grub_config, kernels, signed_grub_config
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.mounts import Mounts
from lpmos.agent.plan import File, Plan
from lpmos.agent.rootfiles import RootFiles
from lpmos.agent.storage import ESP_PLACE, System

INITRD_TIMEOUT_S = 3600.0
"""To pack an initrd with every driver: minutes, on a slow processor many."""
_SIGNED = "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"
"""GRUB as the distribution signed it for Secure Boot, where the image has it (Debian, Ubuntu)."""
_MARKS = "EFI/lpmos"
_RELEASE = "/usr/lib/os-release"
_ID = re.compile(r"^ID=[\"']?([a-z0-9._-]+)", re.MULTILINE)
_READERS = {"ext4": "ext2", "xfs": "xfs", "btrfs": "btrfs"}
"""GRUB's modules for the file systems."""


class BootLoader:
    """Installs GRUB into the root that is mounted at `root`; `tree` is the running kernel's."""

    def __init__(
        self,
        commands: Commands,
        console: Console,
        mounts: Mounts,
        root: Path,
        system: System,
        *,
        tree: Tree,
    ) -> None:
        self._commands = commands
        self._console = console
        self._mounts = mounts
        self._root = root
        self._system = system
        self._tree = tree

    def prepare(self) -> None:
        """Give programs in the new root the kernel's file systems and the disks' names.

        Raises:
            InstallError: a mount failed.
        """
        self._mounts.mount_kernel(self._root)
        # No udev runs here; GRUB's tools know a file system's UUID by these links alone.
        for made in (*self._system.filesystems, *self._system.encrypted):
            _link(self._tree.path(f"dev/disk/by-uuid/{made.uuid}"), made.device)
        for esp in self._system.esps[:1]:
            _link(self._tree.path(f"dev/disk/by-uuid/{self._system.esp_uuid}"), esp.device)

    def install_bios(self) -> None:
        """Put GRUB into the BIOS boot partition of every disk.

        Raises:
            CommandFailed: `grub-install` failed, or the disk refused what it wrote beside all
                file systems.
        """
        for disk in self._system.disks:
            self._grub_install("--target=i386-pc", disk)
            self._commands.run(["sync", disk])

    def install_uefi(self) -> None:
        """Put GRUB at `\\EFI\\BOOT\\BOOTX64.EFI` of the first EFI system partition.

        Raises:
            CommandFailed: `grub-install` failed.
        """
        self._grub_install_efi("--removable")

    def complete_esps(self) -> None:
        """Give the other EFI system partitions all that the first one got.

        Raises:
            InstallError: one cannot be mounted or written.
        """
        first = self._root / ESP_PLACE
        for esp in self._system.esps[1:]:
            where = self._root.with_name(f"{self._root.name}-{Path(esp.device).name}")
            self._mounts.mount(esp.device, where, "-t", "vfat")
            self._commands.run(["cp", "-r", str(first / "EFI"), str(where)])
            self._commands.run(["sync", "-f", str(where)])

    def renew_initrd(self) -> None:
        """Let the initrd know what it must unlock; that of the image knows nothing of it.

        Raises:
            CommandFailed: `update-initramfs` failed.
        """
        if self._system.encrypted:
            self._commands.run(
                ["chroot", str(self._root), "update-initramfs", "-u", "-k", "all"],
                timeout_s=INITRD_TIMEOUT_S,
                synced=False,
            )

    def write_config(self, files: RootFiles, plan: Plan) -> None:
        """Write `grub.cfg` for the kernels that the image brought.

        Raises:
            InstallError: there is no kernel, or the disk refuses.
        """
        found = kernels(self._root / "boot")
        self._console.info(f"kernels: {', '.join(kernel for kernel, _ in found)}")
        start = start_of(self._system)
        config = grub_config(plan.image.name, start, plan.kernel_arguments, found)
        files.write(File("/boot/grub/grub.cfg", config, 0o600))
        if self._system.esps:
            # A GRUB from the network finds this system's partition by it, among those of others.
            mark = f"the system of task {plan.task_id}\n"
            files.write(File(f"/{ESP_PLACE}/{_MARKS}/{plan.task_id}", mark, 0o700))
        if self._system.esps and (self._root / _SIGNED).exists():
            # A signed GRUB cannot be told another place: it looks into its distribution's.
            where = f"/{ESP_PLACE}/EFI/{_vendor(files)}/grub.cfg"
            files.write(File(where, signed_grub_config(start), 0o700))

    def set_firmware_entries(self, entry: str) -> None:
        """Under UEFI: an entry for each disk (`lpmos`, `lpmos 2`), and the boot order.

        Raises:
            InstallError: `grub-install` failed; what the firmware refuses is only a warning.
        """
        self._grub_install_efi(f"--bootloader-id={entry}")
        directory = self._root / ESP_PLACE / "EFI" / entry
        loaders = [name for name in ("shimx64.efi", "grubx64.efi") if (directory / name).exists()]
        if not loaders:
            raise InstallError(f"grub-install left no loader in /EFI/{entry}")
        firmware = FirmwareBoot(self._commands, self._console, self._tree.path(EFIVARS))
        # The last one that is set comes first in the order.
        for number, esp in reversed([*enumerate(self._system.esps, start=1)]):
            label = entry if number == 1 else f"{entry} {number}"
            loader = f"\\EFI\\{entry}\\{loaders[0]}"
            firmware.set_entry(self._mounts, label, esp.disk, esp.number, loader)

    def _grub_install_efi(self, how: str) -> None:
        self._grub_install(
            "--target=x86_64-efi", f"--efi-directory=/{ESP_PLACE}", "--no-nvram", how
        )

    def _grub_install(self, *arguments: str) -> None:
        # What it writes into file systems is flushed with them, at the end of the install.
        self._commands.run(["chroot", str(self._root), "grub-install", *arguments], synced=False)


def start_of(system: System) -> Start:
    """How GRUB and the kernel start this system."""
    boot, root = system.boot, system.root
    raid = ("diskfilter", "mdraid1x") if boot.block in dict(system.array_uuids) else ()
    # The initrd switches on only the volume that it is told of by its name.
    mapped = root.device.startswith("/dev/mapper/")
    return Start(
        boot_uuid=boot.uuid,
        directory="" if boot.mount == "/boot" else "/boot",
        modules=(*raid, _READERS[boot.kind]),
        root=root.device if mapped else f"UUID={root.uuid}",
    )


def _vendor(files: RootFiles) -> str:
    """The distribution by its name in os-release(5), which is that of its directory on the ESP."""
    try:
        text = files.inside(_RELEASE).read_text(errors="replace")
    except OSError:
        text = ""
    found = _ID.search(text)
    return found[1] if found else "debian"


def _link(link: Path, node: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(node)
