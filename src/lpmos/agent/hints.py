"""What an operator does about a failed command: one table, searched from the top."""

import re

_HINTS: tuple[tuple[str, str, str], ...] = (
    # command, output, what to do
    (
        r"^efibootmgr",
        r"No space left",
        "The firmware's variable store is full: delete stale boot entries in its setup.",
    ),
    (
        r"",
        r"No space left on device|Wrote only \d+ of \d+ bytes",
        "A file system is too small for this image: name a larger disk in root_disk, or enlarge the"
        " partition in disk_layout.",
    ),
    (
        r"",
        r"Input/output error|I/O error",
        "The disk reports errors: check cable, controller and SMART data, or replace it.",
    ),
    (
        r"^blkdiscard",
        r"not supported",
        "The disk cannot discard: choose another level of erasing in disk_layout.erase.",
    ),
    (
        r"^(sfdisk|wipefs|mkfs|mdadm|lvm|dmsetup|blkdiscard)",
        r"busy|in use",
        "Something holds the disk (RAID, LVM, a mount): release it, then create the task again.",
    ),
    (
        r"",
        r"Read-only file system|Operation not permitted|write-protected",
        "The disk refuses writes: check its write protection and the controller's settings.",
    ),
    (
        r"zstd|tar ",
        r"[Cc]hecksum|Decoding error|unsupported format|premature end|not look like a tar",
        "The image is damaged: run `lpmos image verify` at the region, or build it again.",
    ),
    (
        r"grub-install",
        r"No such file|not found|doesn't exist",
        "The image lacks a boot loader: it needs grub2-common, grub-pc-bin, grub-efi-amd64-bin.",
    ),
    (
        r"^mount",
        r"unknown filesystem type",
        "The agent image lacks the kernel module of this file system: build it again with it.",
    ),
    (
        r"",
        r"program is not in the agent image",
        "Build the agent image again with this program: `lpmos image build-agent`.",
    ),
    (
        r"",
        r"killed after \d+ s",
        "The command hung: check the disk and the kernel's messages on the console.",
    ),
)

OTHERWISE = (
    "Read the command's output; the task's log has what came before it. Then create the task again."
)


def hint_for(command: str, output: str) -> str:
    """What to do about `command` having failed with `output`; never empty."""
    for command_pattern, output_pattern, hint in _HINTS:
        if re.search(command_pattern, command) and re.search(output_pattern, output):
            return hint
    return OTHERWISE
