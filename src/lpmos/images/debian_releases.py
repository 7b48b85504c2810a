"""The Debian releases that LPMOS builds images of, and what is in such an image and why."""

import msgspec

from lpmos.model.errors import ImageError


class DebianRelease(msgspec.Struct, frozen=True, kw_only=True):
    """One release: its version and the code name that mirrors know it by."""

    version: str
    suite: str


RELEASES = (DebianRelease(version="12", suite="bookworm"),)

PACKAGES = (
    # boots: the generic kernel with an initrd for any controller, GRUB for BIOS and for UEFI
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "grub-pc-bin",
    "grub-efi-amd64-bin",
    "grub2-common",
    # and with Secure Boot: shim and GRUB as they were signed
    "shim-signed",
    "grub-efi-amd64-signed",
    "efibootmgr",
    "dosfstools",
    # runs: init, devices, network, names, time
    "systemd-sysv",
    "libpam-systemd",
    "dbus",
    "udev",
    "systemd-resolved",
    "systemd-timesyncd",
    # starts from every layout of disks, and looks after it
    "mdadm",
    "lvm2",
    "cryptsetup-initramfs",
    "xfsprogs",
    "btrfs-progs",
    # is reached and looked after
    "openssh-server",
    "sudo",
    "ca-certificates",
    "iproute2",
    "iputils-ping",
    "less",
    "vim-tiny",
)
ENABLED_UNITS = ("systemd-networkd.service", "ssh-host-keys.service")


def release_named(name: str) -> DebianRelease:
    """The release of this version or code name.

    Raises:
        ImageError: lists those that are known.
    """
    for release in RELEASES:
        if name in {release.version, release.suite}:
            return release
    known = ", ".join(f"{release.version} ({release.suite})" for release in RELEASES)
    raise ImageError(f"no image of Debian {name!r} can be built; known releases: {known}")
