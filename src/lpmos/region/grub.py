"""GRUB scripts, for machines whose firmware starts nothing but what is signed (Secure Boot).

Shim and the distribution's signed GRUB take the place of iPXE; what a machine is told is the same,
in GRUB's words, and the rules of `scripts` hold. That GRUB has TFTP alone, so it asks the region's
own TFTP (`tftp_server`), at a port beside that of the loaders.

Commands: GRUB's manual. The `exit` of Debian's signed GRUB takes no number and says success, which
ends in the firmware's menu (UEFI 2.10 section 3.1.1), so the own disk is started by a loader on it,
which shim checks again.
"""

import re
from shlex import quote

from lpmos.region.scripts import PANIC_S, RETRY_S, AgentCall, AgentFiles, InstallerFiles, plain

ENTRY_FILE = "grub/grub.cfg"
"""Where the signed GRUB for the network looks, below the TFTP root (its own prefix is /grub)."""
TFTP_PORT = 8069
"""Where machines ask for their script; the port of TFTP itself is the loaders'."""
MACHINE = "machine/"
"""What a machine asks for: this, its MAC, and its serial number."""
FALLBACK = "/EFI/BOOT/BOOTX64.EFI"
"""UEFI 2.10 section 3.5.1.1."""
MARKS = "/EFI/lpmos"
"""Where the agent leaves a file with its task's id on each EFI system partition that it makes."""
SYSTEMS = (
    *("debian", "ubuntu", "redhat", "rocky", "almalinux", "centos", "fedora", "opensuse"),
    *("sles", "sle", "ol"),
)
"""Whose own loader is asked for where no disk has one at the fallback path: `/EFI/NAME`."""
_LOADERS = (
    FALLBACK,
    *(f"/EFI/{name}/shimx64.efi" for name in SYSTEMS),
    "/EFI/Microsoft/Boot/bootmgfw.efi",
)
_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_AFRESH = f"""\
  echo "LPMOS: it did not start, the machine begins again"
  sleep {RETRY_S}
  reboot
"""
"""After `boot` GRUB has no network any more, whatever came of it."""


def entry_script() -> str:
    """The script of every machine: it asks what this one shall do, again and again.

    The serial number is the one of SMBIOS type 1 (DSP0134, section 7.2). A machine's script finds
    `region` and `card`, its MAC as a kernel wants it.
    """
    pair = "([0-9a-f][0-9a-f])"
    names = " ".join(f"--set={number}:m{number}" for number in range(1, 7))
    card = "-".join(f"$m{number}" for number in range(1, 7))
    return f"""set timeout=0
smbios --type 1 --get-string 7 --set sn
regexp {names} "{":".join([pair] * 6)}" "$net_default_mac"
set card="{card}"
set region="(tftp,$net_default_server:{TFTP_PORT})"
while true; do
  echo "LPMOS: asking $net_default_server"
  source "$region/{MACHINE}$net_default_mac/$sn"
  echo "LPMOS: asking again in {RETRY_S} s"
  sleep {RETRY_S}
done
"""


def agent_script(base_url: str, files: AgentFiles, call: AgentCall, reason: str) -> str:
    """Load the agent into RAM and start it, with the arguments of `scripts.agent_script`."""
    words = [f"lpmos_client={call.url}", f"lpmos_nonce={call.nonce}"]
    if call.ca_sha256:
        words += [f"lpmos_ca=sha256:{call.ca_sha256}", f"lpmos_boot={base_url}"]
    if call.trace:
        words.append(f"lpmos_trace={call.trace}")
    words += ["console=tty0", "console=ttyS0,115200n8", "loglevel=4", f"panic={PANIC_S}"]
    line = [*map(quote, words), "BOOTIF=01-$card", *map(quote, files.arguments.split())]
    return _started(files.kernel, " ".join(line), files.initramfs, reason)


def installer_script(base_url: str, files: InstallerFiles, reason: str) -> str:
    """Load a distribution's installer and start it; shim must know who signed its kernel."""
    line = " ".join(map(quote, files.line.split()))
    return _started(files.kernel, line, files.initrd, reason)


def local_disk_script(reason: str, installed_by: str | None = None) -> str:
    """Start the loader on the machine's own disk; or ask the region again.

    The disk is the one with the mark of the task `installed_by`, or else the first with a loader:
    another disk may hold an older system.
    """
    known = installed_by is not None and _ID.fullmatch(installed_by)
    marked = _chained(f"{MARKS}/{installed_by}", FALLBACK) if known else ""
    return f"""echo "LPMOS: booting the local disk: {plain(reason)}"
{marked}for loader in {" ".join(_LOADERS)}; do
{_chained("$loader", "$loader")}done
echo "LPMOS: no disk here has a loader that starts"
"""


def _chained(found_by: str, loader: str) -> str:
    """Start a loader on the first partition with the file `found_by`."""
    return f"""if search --no-floppy --file --set=root {found_by}; then
  if chainloader {loader}; then
    boot
{_AFRESH}  fi
fi
"""


def wait_script(base_url: str, reason: str, retry_after_s: int) -> str:
    """Say why, and wait; the region is asked again by who called this."""
    pause_s = max(retry_after_s - RETRY_S, 0)
    return f'echo "LPMOS: {plain(reason)}"\nsleep {pause_s}\n'


def _started(kernel: str, line: str, initrd: str, reason: str) -> str:
    return f"""echo "LPMOS: {plain(reason)}"
if linux "$region{kernel}" {line}; then
  if initrd "$region{initrd}"; then
    boot
{_AFRESH}  fi
fi
echo "LPMOS: it could not be loaded"
"""
