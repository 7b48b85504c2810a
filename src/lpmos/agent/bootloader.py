"""GRUB on the new disk, from the new system's own packages, so that the disk boots by itself.

Whatever firmware booted the agent, the disk gets GRUB for BIOS and GRUB at UEFI's fallback path;
under UEFI it gets an entry in the firmware's boot menu as well.
"""

from pathlib import Path

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.disk import Formatted
from lpmos.agent.efiboot import EFIVARS, FirmwareBoot
from lpmos.agent.errors import InstallError
from lpmos.agent.grubcfg import grub_config, kernels
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.mounts import Mounts
from lpmos.agent.plan import File, Plan
from lpmos.agent.rootfiles import RootFiles

ESP_DIRECTORY = "/boot/efi"


class BootLoader:
    """Installs GRUB into the root that is mounted at `root`; `tree` is the running kernel's."""

    def __init__(
        self,
        commands: Commands,
        console: Console,
        mounts: Mounts,
        root: Path,
        disk: Formatted,
        *,
        tree: Tree,
    ) -> None:
        self._commands = commands
        self._console = console
        self._mounts = mounts
        self._root = root
        self._disk = disk
        self._tree = tree

    def prepare(self) -> None:
        """Give programs in the new root the kernel's file systems and the disks' names.

        Raises:
            InstallError: a mount failed.
        """
        for name in ("dev", "sys", "run"):
            self._mounts.mount(f"/{name}", self._root / name, "--bind")
        self._mounts.mount("proc", self._root / "proc", "-t", "proc")
        # No udev runs here; GRUB's tools know a file system's UUID by these links alone.
        for uuid, node in (
            (self._disk.root_uuid, self._disk.root),
            (self._disk.esp_uuid, self._disk.esp),
        ):
            if uuid is not None and node is not None:
                _link(self._tree.path(f"dev/disk/by-uuid/{uuid}"), node)

    def install_bios(self) -> None:
        """Put GRUB into the BIOS boot partition.

        Raises:
            CommandFailed: `grub-install` failed.
        """
        self._grub_install("--target=i386-pc", self._disk.device)

    def install_uefi(self) -> None:
        """Put GRUB at `\\EFI\\BOOT\\BOOTX64.EFI` of the EFI system partition.

        Raises:
            CommandFailed: `grub-install` failed.
        """
        self._grub_install_efi("--removable")

    def write_config(self, files: RootFiles, plan: Plan) -> None:
        """Write `grub.cfg` for the kernels that the image brought.

        Raises:
            InstallError: there is no kernel, or the disk refuses.
        """
        found = kernels(self._root / "boot")
        self._console.info(f"kernels: {', '.join(kernel for kernel, _ in found)}")
        config = grub_config(plan.image.name, self._disk.root_uuid, plan.kernel_arguments, found)
        files.write(File("/boot/grub/grub.cfg", config, 0o600))

    def set_firmware_entry(self, entry: str) -> None:
        """Under UEFI: a named entry, and the boot order.

        Raises:
            InstallError: `grub-install` failed; what the firmware refuses is only a warning.
        """
        self._grub_install_efi(f"--bootloader-id={entry}")
        directory = self._root / ESP_DIRECTORY.lstrip("/") / "EFI" / entry
        loaders = [name for name in ("shimx64.efi", "grubx64.efi") if (directory / name).exists()]
        if not loaders or self._disk.esp_number is None:
            raise InstallError(f"grub-install left no loader in /EFI/{entry}")
        FirmwareBoot(self._commands, self._console, self._tree.path(EFIVARS)).set_entry(
            self._mounts,
            entry,
            self._disk.device,
            self._disk.esp_number,
            f"\\EFI\\{entry}\\{loaders[0]}",
        )

    def _grub_install_efi(self, how: str) -> None:
        self._grub_install(
            "--target=x86_64-efi", f"--efi-directory={ESP_DIRECTORY}", "--no-nvram", how
        )

    def _grub_install(self, *arguments: str) -> None:
        self._commands.run(["chroot", str(self._root), "grub-install", *arguments])


def _link(link: Path, node: str) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(node)
