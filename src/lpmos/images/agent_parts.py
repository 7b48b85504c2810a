"""What goes into the boot agent's image: one table, with the reason for each part.

A file belongs to the first part that asks for it, so the sizes reported for the parts add up.
Libraries are not listed: each program brings those that it needs. Packages are those that hold the
listed files; apt adds what these depend on.
"""

import msgspec

SUITE = "bookworm"
PYTHON = "python3.11"
KERNEL_PACKAGE = "linux-image-amd64"
"""The generic kernel: the cloud kernel lacks the drivers of real servers."""


FIRMWARE = "firmware"
"""The part whose files are not listed: they are those that the drivers of the others name."""
FREE_FIRMWARE = ("firmware-linux-free",)
NON_FREE_FIRMWARE = (
    "firmware-bnx2",
    "firmware-bnx2x",
    "firmware-misc-nonfree",  # cxgb4, ice, tg3
    "firmware-netxen",  # netxen_nic, qlcnic
    "firmware-qlogic",  # qed, qla2xxx
    "firmware-realtek",  # r8169, r8152
)
"""Where the drivers' files are looked for; a driver whose file none of them has is reported."""


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the image; `links` are names that lead to a program of this or an earlier part."""

    name: str
    why: str
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    links: tuple[tuple[str, str], ...] = ()
    modules: tuple[str, ...] = ()


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


PARTS = (
    Part(
        name="libc",
        why="the C library and its loader, which every program here needs",
        packages=_words("libc6"),
        files=_words(
            "/usr/lib64/ld-linux-x86-64.so.2"
            " /usr/lib/x86_64-linux-gnu/libc.so.6 /usr/lib/x86_64-linux-gnu/libm.so.6"
        ),
    ),
    Part(
        name="python",
        why="the interpreter that runs the agent, with the standard library that it uses",
        packages=_words("python3.11"),
        programs=(PYTHON,),
        links=(("/usr/bin/python3", PYTHON),),
    ),
    Part(
        name="agent",
        why="the agent itself, and the names of PCI devices",
        packages=_words("pci.ids"),
        files=_words("/usr/share/misc/pci.ids"),
    ),
    Part(
        name="core",
        why="shell, mounts, module loading and DHCP for /init: busybox",
        packages=_words("busybox"),
        programs=_words("busybox"),
    ),
    Part(
        name="disk",
        why="what an install runs: partitions, file systems, archives, UEFI boot entries",
        packages=_words("fdisk util-linux e2fsprogs dosfstools tar zstd efibootmgr"),
        programs=_words(
            "sfdisk wipefs blkid lsblk partx blkdiscard mkswap mke2fs e2fsck resize2fs mkfs.fat"
            " tar zstd efibootmgr"
        ),
        files=_words("/etc/mke2fs.conf"),
        links=(("/usr/sbin/mkfs.ext4", "mke2fs"), ("/usr/sbin/mkfs.vfat", "mkfs.fat")),
    ),
    Part(
        name="layouts",
        why="software RAID, LVM, LUKS, XFS and btrfs",
        packages=_words("mdadm lvm2 dmsetup cryptsetup-bin xfsprogs btrfs-progs libgcc-s1"),
        programs=_words("mdadm lvm dmsetup cryptsetup mkfs.xfs xfs_growfs btrfs mkfs.btrfs"),
        files=_words("/usr/lib/x86_64-linux-gnu/libgcc_s.so.1"),  # threads end by it
        modules=_words(
            "raid1 raid10 raid456 dm_mod dm_crypt xfs btrfs"
            # what LUKS2 encrypts with by default, and the sockets that cryptsetup asks it through
            " xts aesni_intel aes_generic sha256_generic algif_skcipher algif_hash"
        ),
    ),
    Part(
        name="handover",
        why="kexec, which starts a distribution's own installer without a restart",
        packages=_words("kexec-tools"),
        programs=_words("kexec"),
    ),
    Part(
        name="rescue",
        why="SSH for those whom a job's rescue step lets in",
        packages=_words("dropbear-bin"),
        programs=_words("dropbear dropbearkey"),
    ),
    Part(
        name="nic",
        why="network adapters of servers and of hypervisors",
        modules=_words(
            # in the data center: Intel, Broadcom, NVIDIA, Marvell, Chelsio, Emulex, Cisco, others
            "e1000 e1000e igb igbvf igc ixgbe ixgbevf i40e iavf ice"
            " bnxt_en bnx2 bnx2x tg3 mlx4_en mlx4_core mlx5_core qede qed qlcnic netxen_nic"
            " cxgb4 be2net enic sfc atlantic r8169 forcedeth"
            # virtual ones
            " virtio_net vmxnet3 hv_netvsc ena"
            # USB adapters, among them the BMC's own
            " usbnet cdc_ether cdc_ncm rndis_host ax88179_178a r8152"
            # sockets of the DHCP client, switch ports that only speak tagged or bonded
            " af_packet ipv6 8021q bonding"
        ),
    ),
    Part(
        name="storage",
        why="disk controllers of servers and of hypervisors",
        modules=_words(
            "sd_mod sr_mod sg ses ahci ata_piix nvme nvme_core vmd"
            " megaraid_sas megaraid_mbox mpt3sas mptsas mptspi smartpqi hpsa aacraid isci"
            " arcmsr 3w_9xxx 3w_sas mvsas pm80xx qla2xxx lpfc"
            " virtio_blk virtio_scsi vmw_pvscsi hv_storvsc usb_storage uas"
        ),
    ),
    Part(
        name="filesystems",
        why="what is written to the new disk, and what may be found on an old one",
        modules=_words(
            "ext4 vfat nls_cp437 nls_ascii nls_iso8859_1 nls_utf8 efivarfs loop"
            " crc32c_generic crc32c_intel crc32_pclmul crc_t10dif"
        ),
    ),
    Part(
        name="platform",
        why="buses, consoles and sensors: USB keyboards, BMC, watchdog, TPM, paravirtual devices",
        modules=_words(
            "virtio_pci virtio_console virtio_rng virtio_balloon hv_vmbus qemu_fw_cfg"
            " xhci_pci ehci_pci ohci_pci uhci_hcd usbhid hid_generic atkbd i8042"
            " ipmi_si ipmi_devintf ipmi_ssif acpi_ipmi iTCO_wdt i2c_i801 tpm_tis tpm_crb"
            " efi_pstore msr cpuid"
            # what counts memory errors, for a job's memory test
            " sb_edac skx_edac i10nm_edac ie31200_edac amd64_edac"
        ),
    ),
    Part(
        name=FIRMWARE,
        why="what the drivers above load into their devices, and its licences",
        packages=FREE_FIRMWARE,
    ),
)

PAYLOAD_PARTS = ("libc", "python", "agent")
"""The agent with the interpreter and all that this needs to run (requirement G1)."""
PAYLOAD_LIMIT_BYTES = 10_000_000


def packages() -> tuple[str, ...]:
    """All packages that the parts name, and the kernel's."""
    return (KERNEL_PACKAGE, *(package for part in PARTS for package in part.packages))
