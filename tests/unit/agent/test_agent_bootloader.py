"""GRUB's configuration, the firmware's boot order, and the commands that install both."""

import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpmos.agent.bootloader import BootLoader, start_of
from lpmos.agent.commands import Output
from lpmos.agent.console import Console
from lpmos.agent.diskplan import Disk
from lpmos.agent.efiboot import BootEntries, FirmwareBoot, parse_entries, wanted_order
from lpmos.agent.errors import InstallError
from lpmos.agent.filesystems import Made
from lpmos.agent.grubcfg import Start, grub_config, kernels, newest_first
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.mounts import Mounts
from lpmos.agent.plan import Image, Plan
from lpmos.agent.rootfiles import RootFiles
from lpmos.agent.storage import Esp, System
from tests.support.agent_commands import RecordingCommands

LISTING = (
    "BootCurrent: 0003\nTimeout: 0 seconds\nBootOrder: 0000,0003,0004\n"
    "Boot0000* UiApp\tFvVol(7cb8bdc9)/FvFile(462caa21)\n"
    "Boot0003* UEFI PXEv4 (MAC:525400780000)\tPciRoot(0x0)\n"
    "Boot0004  UEFI Misc Device\n"
)
SYSTEM = System(
    disks=("/dev/vda",),
    filesystems=(Made("p3", "/dev/vda3", "ext4", "r-uuid", "/"),),
    esps=(Esp("/dev/vda", 2, "/dev/vda2"),),
    esp_uuid="ABCD-1234",
)
MIRROR = System(
    disks=("/dev/vda", "/dev/vdb"),
    filesystems=(
        Made("vg0/root", "/dev/mapper/vg0-root", "xfs", "r-uuid", "/"),
        Made("md-boot", "/dev/md0", "ext4", "b-uuid", "/boot"),
        Made("vg0/swap", "/dev/mapper/vg0-swap", "swap", "s-uuid", None),
    ),
    esps=(Esp("/dev/vda", 2, "/dev/vda2"), Esp("/dev/vdb", 2, "/dev/vdb2")),
    esp_uuid="ABCD-1234",
    array_uuids=(("md-boot", "1:2:3:4"), ("md-root", "5:6:7:8")),
)
START = Start("r-uuid", "/boot", ("ext2",), "UUID=r-uuid")


def test_newest_first_compares_numbers_as_numbers() -> None:
    assert newest_first(["6.9.0-1", "6.10.0-1", "6.1.0-21", "6.1.0-9"]) == [
        "6.10.0-1", "6.9.0-1", "6.1.0-21", "6.1.0-9",
    ]  # fmt: skip


@given(st.lists(st.text(max_size=12), max_size=6))
def test_newest_first_of_any_names_keeps_them_all(names: list[str]) -> None:
    assert sorted(newest_first(names)) == sorted(names)


def test_kernels_find_the_initrd_in_every_distributions_naming(tmp_path: Path) -> None:
    for name in (
        "vmlinuz-6.1.0-21-amd64", "initrd.img-6.1.0-21-amd64",
        "vmlinuz-5.14.0-427.el9", "initramfs-5.14.0-427.el9.img",
        "vmlinuz-4.0-lonely",
    ):  # fmt: skip
        (tmp_path / name).touch()
    assert kernels(tmp_path) == [
        ("vmlinuz-6.1.0-21-amd64", "initrd.img-6.1.0-21-amd64"),
        ("vmlinuz-5.14.0-427.el9", "initramfs-5.14.0-427.el9.img"),
        ("vmlinuz-4.0-lonely", None),
    ]


def test_kernels_of_an_image_without_one_says_what_to_build(tmp_path: Path) -> None:
    with pytest.raises(InstallError) as failure:
        kernels(tmp_path)
    assert "kernel package" in failure.value.hint


def test_grub_config_boots_the_newest_kernel_with_a_serial_console() -> None:
    assert grub_config(
        "debian-12's",
        START,
        "console=tty0 console=ttyS1,115200n8",
        [("vmlinuz-6.1", "initrd.img-6.1")],
    ) == (
        "# Written by LPMOS at installation; update-grub replaces it when the kernel changes.\n"
        "serial --unit=1 --speed=115200\n"
        "terminal_input console serial\n"
        "terminal_output console serial\n"
        "set default=0\n"
        "set timeout_style=hidden\n"
        "set timeout=1\n"
        'if [ "$grub_platform" = "efi" ]; then\n'
        "  insmod all_video\n"
        "  set gfxpayload=keep\n"
        "fi\n"
        "insmod part_gpt\n"
        "insmod ext2\n"
        "search --no-floppy --fs-uuid --set=root r-uuid\n"
        "menuentry 'debian-12s, Linux 6.1' {\n"
        "  linux /boot/vmlinuz-6.1 root=UUID=r-uuid ro console=tty0 console=ttyS1,115200n8\n"
        "  initrd /boot/initrd.img-6.1\n"
        "}\n"
    )


def test_grub_config_has_its_menu_on_the_last_of_the_serial_consoles() -> None:
    line = "console=tty0 console=ttyS0,115200n8 console=ttyS2"
    assert "serial --unit=2 --speed=9600\n" in grub_config("d", START, line, [("vmlinuz-6", None)])


def test_grub_config_without_a_serial_console_leaves_the_terminal_alone() -> None:
    config = grub_config("d", START, "", [("vmlinuz-6.1", None)])
    assert "serial" not in config
    assert "initrd" not in config
    assert "linux /boot/vmlinuz-6.1 root=UUID=r-uuid ro\n" in config


def test_system_without_a_boot_file_system_starts_from_its_root() -> None:
    assert start_of(SYSTEM) == START


def test_system_on_arrays_and_volumes_starts_from_its_boot_array() -> None:
    start = start_of(MIRROR)
    assert start == Start("b-uuid", "", ("diskfilter", "mdraid1x", "ext2"), "/dev/mapper/vg0-root")
    config = grub_config("d", start, "quiet", [("vmlinuz-6.1", "initrd.img-6.1")])
    assert "insmod diskfilter\ninsmod mdraid1x\ninsmod ext2\n" in config
    assert "search --no-floppy --fs-uuid --set=root b-uuid\n" in config
    assert "  linux /vmlinuz-6.1 root=/dev/mapper/vg0-root ro quiet\n" in config
    assert "  initrd /initrd.img-6.1\n" in config


def test_parse_entries_reads_order_labels_and_current() -> None:
    assert parse_entries(LISTING) == BootEntries(
        "0003",
        ("0000", "0003", "0004"),
        {"0000": "UiApp", "0003": "UEFI PXEv4 (MAC:525400780000)", "0004": "UEFI Misc Device"},
    )


@given(st.text(max_size=200))
def test_parse_entries_of_any_text_raises_nothing(text: str) -> None:
    assert parse_entries(text)


numbers = st.integers(0, 9).map(lambda n: f"{n:04X}")


@given(st.none() | numbers, st.lists(numbers, unique=True), numbers)
def test_wanted_order_puts_the_network_first_and_loses_nothing(
    current: str | None, order: list[str], installed: str
) -> None:
    found = wanted_order(BootEntries(current, tuple(order), {}), installed)
    assert len(set(found)) == len(found)
    assert set(found) == {*order, installed, *([current] if current else [])}
    expected = [current, installed] if current not in (None, installed) else [installed]
    assert list(found[: len(expected)]) == expected
    rest = [entry for entry in order if entry not in expected]
    assert list(found[len(expected) :]) == rest


def _firmware(commands: RecordingCommands, console: Console, root: Path) -> None:
    mounts = Mounts(commands, console)
    FirmwareBoot(commands, console, root / "efivars").set_entry(
        mounts, "lpmos", "/dev/vda", 2, "\\EFI\\lpmos\\grubx64.efi"
    )


def test_set_entry_replaces_old_ones_of_the_same_name(tmp_path: Path) -> None:
    commands = RecordingCommands()
    after = LISTING.replace("BootOrder: ", "BootOrder: 0007,") + "Boot0007* lpmos\tHD(2,GPT)\n"
    listings = iter((LISTING + "Boot0002* lpmos\nBoot0005* lpmos2\n", after))
    commands.on("^efibootmgr$", lambda _: Output(0, next(listings)))
    _firmware(commands, Console(io.StringIO()), tmp_path)
    assert [line for line in commands.ran if not line.startswith("mount")] == [
        "efibootmgr",
        "efibootmgr --quiet -b 0002 -B",
        "efibootmgr --quiet --create --disk /dev/vda --part 2 --label lpmos"
        " --loader \\EFI\\lpmos\\grubx64.efi",
        "efibootmgr",
        "efibootmgr --quiet --bootorder 0003,0007,0000,0004",
    ]


@pytest.mark.parametrize(
    ("pattern", "answer"),
    [
        ("--create", Output(1, "Could not prepare Boot variable: No space left on device")),
        ("^efibootmgr$", Output(0, "")),
        ("^mount|^efibootmgr$", Output(2, "EFI variables are not supported on this system.")),
    ],
)
def test_set_entry_refused_by_the_firmware_is_a_warning(
    pattern: str, answer: Output, tmp_path: Path
) -> None:
    commands, console = RecordingCommands(), Console(io.StringIO())
    commands.on(pattern, answer)
    _firmware(commands, console, tmp_path)
    assert console.batch()[1][-1].startswith("[WARN] the boot entry could not be set")


def test_boot_loader_prepares_the_chroot_and_installs_for_both_firmwares(tmp_path: Path) -> None:
    commands, console = RecordingCommands(), Console(io.StringIO())
    root, by_uuid = tmp_path / "root", tmp_path / "dev/disk/by-uuid"
    with Mounts(commands, console) as mounts:
        loader = BootLoader(commands, console, mounts, root, SYSTEM, tree=Tree(tmp_path))
        loader.prepare()
        loader.install_bios()
        loader.install_uefi()
    assert (by_uuid / "r-uuid").readlink() == Path("/dev/vda3")
    assert (by_uuid / "ABCD-1234").readlink() == Path("/dev/vda2")
    assert commands.ran == [
        f"mount --bind /dev {root}/dev",
        f"mount --bind /sys {root}/sys",
        f"mount --bind /run {root}/run",
        f"mount -t proc proc {root}/proc",
        f"chroot {root} grub-install --target=i386-pc /dev/vda",
        "sync /dev/vda",
        f"chroot {root} grub-install --target=x86_64-efi --efi-directory=/boot/efi"
        " --no-nvram --removable",
        f"umount {root}/proc",
        f"umount {root}/run",
        f"umount {root}/sys",
        f"umount {root}/dev",
    ]


def _loader(commands: RecordingCommands, root: Path, system: System) -> BootLoader:
    console = Console(io.StringIO())
    mounts = Mounts(commands, console)
    return BootLoader(commands, console, mounts, root, system, tree=Tree(root))


def test_boot_loader_of_several_disks_is_on_each(tmp_path: Path) -> None:
    commands = RecordingCommands()
    root = tmp_path / "target"
    loader = _loader(commands, root, MIRROR)
    loader.install_bios()
    loader.install_uefi()
    loader.complete_esps()
    assert commands.ran == [
        f"chroot {root} grub-install --target=i386-pc /dev/vda",
        "sync /dev/vda",
        f"chroot {root} grub-install --target=i386-pc /dev/vdb",
        "sync /dev/vdb",
        f"chroot {root} grub-install --target=x86_64-efi --efi-directory=/boot/efi"
        " --no-nvram --removable",
        f"mount -t vfat /dev/vdb2 {root}-vdb2",
        f"cp -r {root}/boot/efi/EFI {root}-vdb2",
        f"sync -f {root}-vdb2",
    ]
    assert all("grub-install" in command for command in commands.unsynced)
    assert len(commands.unsynced) == 3


def test_firmware_entries_of_several_disks_are_in_the_disks_order(tmp_path: Path) -> None:
    commands = RecordingCommands()
    entries = ["Boot0001* network\n", "Boot0007* lpmos 2\n", "Boot0008* lpmos\n"]
    listings = iter((entries[:1], entries[:2], entries[:2], entries))
    orders = iter(("0001", "0001", "0001,0007", "0001,0007"))

    def listing(_: object) -> Output:
        head = f"BootCurrent: 0001\nBootOrder: {next(orders)}\n"
        return Output(0, head + "".join(next(listings)))

    commands.on("^efibootmgr$", listing)
    loaders = tmp_path / "boot/efi/EFI/lpmos"
    loaders.mkdir(parents=True)
    (loaders / "grubx64.efi").touch()
    _loader(commands, tmp_path, MIRROR).set_firmware_entries("lpmos")
    created = [line for line in commands.ran if "--create" in line]
    assert ["--disk /dev/vdb" in line and "--label lpmos 2 " in line for line in created] == [
        True,
        False,
    ]
    assert commands.ran[-1].endswith("--bootorder 0001,0008,0007")


def test_boot_loader_without_a_loader_file_fails(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="no loader"):
        _loader(RecordingCommands(), tmp_path, SYSTEM).set_firmware_entries("lpmos")


@pytest.mark.parametrize(
    ("system", "leads_to"),
    [
        (SYSTEM, ("r-uuid", "/boot/grub")),
        (MIRROR, ("b-uuid", "/grub")),
    ],
)
def test_boot_loader_leads_a_signed_grub_to_the_systems_configuration(
    tmp_path: Path, system: System, leads_to: tuple[str, str]
) -> None:
    for name in ("boot/vmlinuz-6.1", "usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "usr/lib/os-release").write_text('NAME="U"\nID=ubuntu\n')
    plan = Plan(
        task_id="t", intent_id="i", hostname="h", image=Image("ubuntu-24.04", "/i", "ab", 1, 1),
        disk=Disk("/dev/vda", 1, None, None, None, (), ()), files=(), boot_entry="lpmos",
        kernel_arguments="quiet",
    )  # fmt: skip
    loader = _loader(RecordingCommands(), tmp_path, system)
    loader.write_config(RootFiles(tmp_path, {}), plan)
    uuid, directory = leads_to
    assert (tmp_path / "boot/efi/EFI/ubuntu/grub.cfg").read_text() == (
        f"search.fs_uuid {uuid} root\nset prefix=($root)'{directory}'\n"
        "configfile $prefix/grub.cfg\n"
    )
    assert (tmp_path / "boot/efi/EFI/lpmos/t").is_file()


def test_mounts_that_stay_busy_are_detached(tmp_path: Path) -> None:
    commands, console = RecordingCommands(), Console(io.StringIO())
    commands.on("^umount /", Output(32, "target is busy"))
    with Mounts(commands, console) as mounts:
        mounts.mount("/dev/vda3", tmp_path / "a", "-t", "ext4")
    assert commands.ran[-1] == f"umount -l {tmp_path}/a"
