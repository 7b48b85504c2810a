"""From a task to the hand-over to a distribution's own installer: what is loaded, with which line.

Sources: Debian's installation guide (appendix B, preseeding, and `BOOTIF`), casper(7) and Ubuntu's
autoinstall reference, anaconda's boot options with dracut.cmdline(7), linuxrc's parameters.
"""

from urllib.parse import urlsplit

from lpmos.install.kernel_line import CONSOLE, last_console
from lpmos.install.winpe import SCRIPT, SHELL
from lpmos.model.errors import Conflict
from lpmos.model.installer import (
    BootFile,
    InstallerFile,
    InstallerManifest,
    InstallerPlan,
    WindowsFiles,
)
from lpmos.model.installplan import InstallPlan
from lpmos.model.task import Task

FILES = "/boot/installers"
"""Where the region serves kernels and initrds by digest."""

LINE_BYTES = 2047
"""What a kernel for x86 takes of its command line (COMMAND_LINE_SIZE less one)."""

_ONLY_THE_REGION = "netcfg/no_default_route=true"
"""All that Debian's installer needs it has from the region: no router, no name server is no error.

It asks for both before it reads its answer file.
"""


def plan_handover(
    task: Task,
    manifest: InstallerManifest,
    *,
    seed_url: str,
    mirror_url: str,
    media_url: str | None = None,
    kernel_arguments: str = "",
) -> InstallPlan:
    """The plan by which the agent of an approved task hands over.

    Args:
        task: what was approved.
        manifest: the installer of its OS.
        seed_url: where the answer file is: `{seed_url}/answer`, and Ubuntu's `user-data` beside it.
        mirror_url: where the packages are.
        media_url: where the medium is that the kernel loads, for those that have one.
        kernel_arguments: what the region adds to the line of each installer.

    Raises:
        Conflict: the task has no approved intent or no disk plan, or the kernel line is too long.
    """
    if task.intent is None or task.plan is None:
        raise Conflict(f"task {task.task_id} is {task.status.value}: it has no approved plan")
    line = _kernel_line(
        task,
        manifest,
        seed_url=seed_url,
        mirror_url=mirror_url,
        media_url=media_url,
        kernel_arguments=kernel_arguments,
    )
    if len(line.encode()) > LINE_BYTES:
        raise Conflict(f"the installer's kernel line has more than {LINE_BYTES} bytes")
    windows = manifest.windows
    return InstallPlan(
        task_id=task.task_id,
        intent_id=task.intent.intent_id,
        hostname=task.hostname,
        installer=InstallerPlan(
            name=manifest.name,
            family=manifest.family,
            kernel=_file(manifest.kernel.sha256, manifest.kernel.size_bytes),
            initrd=_file(manifest.initrd.sha256, manifest.initrd.size_bytes),
            kernel_arguments=line,
            handover="restart" if windows else "kexec",
            disk_mark=disk_mark(task) if windows else None,
            also=_windows_files(windows, seed_url) if windows else (),
        ),
        disk=task.plan,
        files=(),
        boot_entry=manifest.os_type,
        kernel_arguments="",
    )


def disk_mark(task: Task) -> str:
    """The id of the partition table by which Windows PE finds the disk of this approval.

    It is the intent's own, a UUID: no other disk and no other install has it.

    Raises:
        Conflict: the task is not approved.
    """
    if task.intent is None:
        raise Conflict(f"task {task.task_id} is {task.status.value}: it is not approved")
    return task.intent.intent_id


def _windows_files(windows: WindowsFiles, seed_url: str) -> tuple[BootFile, ...]:
    """What wimboot has beside the WIM: its own files, and those that it puts into Windows PE."""
    own = {"BCD": windows.bcd, "boot.sdi": windows.boot_sdi, "curl.exe": windows.curl}
    return (
        *(BootFile(name=name, url=f"{FILES}/{each.sha256}") for name, each in own.items()),
        *(BootFile(name=name, url=f"{seed_url}/windows/{name}") for name in (SHELL, SCRIPT)),
    )


def _kernel_line(
    task: Task,
    manifest: InstallerManifest,
    *,
    seed_url: str,
    mirror_url: str,
    media_url: str | None,
    kernel_arguments: str,
) -> str:
    """The kernel line of an installer; the card that booted gets its address by DHCP.

    Windows has none: wimboot stops at an argument that it does not know.
    """
    boot_card = f"BOOTIF=01-{task.mac.replace(':', '-')}"
    short, _, domain = task.hostname.partition(".")
    last = ""
    match manifest.family:
        case "debian":
            own = (
                f"auto=true priority=critical url={seed_url}/answer interface=auto {boot_card}"
                f" {_ONLY_THE_REGION} netcfg/get_nameservers={urlsplit(seed_url).hostname}"
                f" hostname={short} domain={domain} DEBIAN_FRONTEND=text ---"
            )
        case "ubuntu":
            own = (
                f"autoinstall ip=dhcp {boot_card} url={media_url} cloud-config-url=/dev/null"
                f" ds=nocloud-net;s={seed_url}/ ---"
            )
        case "rhel":
            own = (
                f"inst.text inst.ks={seed_url}/answer inst.repo={mirror_url} ip=dhcp {boot_card}"
                " inst.cmdline rd.neednet=1"
            )
            last = last_console(task)
        case "suse":
            own = (
                f"autoyast={seed_url}/answer install={mirror_url} netsetup=dhcp {boot_card}"
                f" hostname={task.hostname} textmode=1"
            )
        case "windows":
            return ""
    return " ".join(filter(None, (own, CONSOLE, kernel_arguments, last)))


def _file(sha256: str, size_bytes: int) -> InstallerFile:
    return InstallerFile(url=f"{FILES}/{sha256}", sha256=sha256, size_bytes=size_bytes)
