"""A real install of a tiny system onto a loop device: real sfdisk, mkfs, mount, zstd and tar.

GRUB and the EFI system partition are left out: the tiny system has no GRUB, and the kernel that
runs the tests need not know FAT. The e2e tests install both in virtual machines.
"""

import hashlib
import io
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lpmos.agent.commands import Commands
from lpmos.agent.console import Console
from lpmos.agent.errors import CommandFailed, InstallError, Stopped
from lpmos.agent.installer import Installer
from lpmos.agent.inventory.disks import blkid_probe, read_disks
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.pace import Pace
from lpmos.agent.plan import Plan, parse_plan
from lpmos.agent.region import Region
from lpmos.agent.reporter import Progress
from lpmos.agent.stop import Stop
from lpmos.model.diskplan import Array, DiskPlan, Filesystem, Member, Partition
from lpmos.model.installplan import PlannedFile
from tests.support.agent_region import AgentRegion, agent_region, plan_document, plan_for
from tests.support.disk_images import ARM_64
from tests.support.losable_disk import losable_disk
from tests.support.outside_commands import CommandsOutside

NONE_LEFT_OUT = re.compile(r"(?!)")
DISK_BYTES = 256 << 20
LOST_TIMEOUT_S = 60.0
ROOT_LINE = "UUID={{ROOT_UUID}} / ext4 defaults 0 1\n"


@pytest.fixture
def loop(tmp_path: Path) -> Iterator[str]:
    """A blank disk as the kernel's name of a loop device."""
    with _loop_device(tmp_path / "disk.img") as name:
        yield name


@pytest.fixture
def second_loop(tmp_path: Path) -> Iterator[str]:
    """One more of them."""
    with _loop_device(tmp_path / "second.img") as name:
        yield name


@contextmanager
def _loop_device(backing: Path) -> Iterator[str]:
    with backing.open("wb") as file:
        file.truncate(DISK_BYTES)
    device = subprocess.check_output(
        ["losetup", "--find", "--show", "--partscan", backing], text=True
    ).strip()
    try:
        yield device.removeprefix("/dev/")
    finally:
        subprocess.run(["partx", "--delete", device], check=False, capture_output=True)
        subprocess.run(["losetup", "--detach", device], check=True)


@pytest.fixture
def image(tmp_path: Path) -> bytes:
    """A root file system that is just enough to be configured."""
    root = tmp_path / "image"
    for name, content in {
        "boot/vmlinuz-6.1.0-9": "kernel",
        "boot/initrd.img-6.1.0-9": "initrd",
        "etc/machine-id": "0123456789abcdef0123456789abcdef\n",
        "usr/bin/tool": "#!/bin/sh\n",
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    os.chown(root / "usr/bin/tool", 1234, 4321)
    (root / "usr/bin/tool").chmod(0o4755)
    (root / "big").write_bytes(os.urandom(20_000_000))
    (root / "bin").symlink_to("usr/bin")
    archive = tmp_path / "image.tar.zst"
    with archive.open("wb") as file:
        tar = subprocess.Popen(["tar", "-C", root, "-c", "."], stdout=subprocess.PIPE)
        subprocess.run(["zstd", "-1", "-q", "-c"], stdin=tar.stdout, stdout=file, check=True)
        assert tar.stdout is not None
        tar.stdout.close()
        assert tar.wait() == 0
    return archive.read_bytes()


class TreeWithOwnLinks(Tree):
    """This machine's tree, but for the links that the agent makes in `/dev`."""

    def __init__(self, links: Path) -> None:
        super().__init__()
        self._links = links

    def path(self, name: str) -> Path:
        if name.startswith("dev/disk/"):
            return self._links / name
        return super().path(name)


class Install:
    """One install from a region onto a loop device."""

    def __init__(self, region: AgentRegion, name: str, target: Path, *overwrites: str) -> None:
        self.stop = Stop()
        self.reports: list[Progress] = []
        self.stream = io.StringIO()
        self.commands = CommandsOutside(self.stop, Console(self.stream).info)
        self.target = target
        job = Job(
            Region(region.url),
            Console(self.stream),
            self.stop,
            Pace(first_s=0.01, most_s=0.05),
            self.reports.append,
        )
        self.installer = Installer(
            self.commands,
            TreeWithOwnLinks(target.parent),
            job,
            target=target,
            not_disks=NONE_LEFT_OUT,
        )
        self.plan = _plan(region.image, _disk(name, overwrites))

    def run(self) -> None:
        self.installer.run(self.plan)


def _disk(name: str, overwrites: tuple[str, ...]) -> DiskPlan:
    return DiskPlan(
        device=f"/dev/{name}",
        size_bytes=DISK_BYTES,
        overwrites=overwrites,
        partitions=(
            Partition(number=1, role="bios_boot", size_bytes=1 << 20, filesystem=None),
            Partition(number=2, role="root", size_bytes=None, filesystem="ext4"),
        ),
    )


def _plan(image: bytes, disk: DiskPlan, fstab: str = ROOT_LINE) -> Plan:
    files = (
        PlannedFile(path="/etc/hostname", content="tiny\n"),
        PlannedFile(path="/etc/fstab", content=fstab),
    )
    return parse_plan(plan_document(plan_for(image, disk=disk, files=files)))


def _mounts(name: str) -> list[str]:
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return [line for line in mounts if f"/dev/{name}" in line]


def _uuid(device: str) -> str:
    return subprocess.check_output(
        ["blkid", "-p", "-s", "UUID", "-o", "value", device], text=True
    ).strip()


def _contents(name: str) -> object:
    commands = Commands(Stop(), lambda _: None)
    disks = read_disks(Tree(), blkid_probe(commands, Tree()), NONE_LEFT_OUT)
    return next(disk["contents"] for disk in disks if disk["device"] == f"/dev/{name}")


def test_install_onto_a_blank_disk_is_whole(loop: str, image: bytes, tmp_path: Path) -> None:
    assert _contents(loop) == []
    with agent_region(image, break_after=[1_000_000]) as region:
        install = Install(region, loop, tmp_path / "target")
        install.run()
    assert _mounts(loop) == []
    assert _contents(loop) == ["gpt", "ext4"]
    table = subprocess.check_output(["sfdisk", "--dump", f"/dev/{loop}"], text=True)
    assert "21686148-6449-6E6F-744E-656564454649" in table
    assert "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" in table
    subprocess.run(["e2fsck", "-fn", f"/dev/{loop}p2"], check=True, capture_output=True)
    uuid = _uuid(f"/dev/{loop}p2")
    check = tmp_path / "check"
    check.mkdir()
    subprocess.run(["mount", "-o", "ro", f"/dev/{loop}p2", check], check=True)
    try:
        big = (check / "big").read_bytes()
        assert (
            hashlib.sha256(big).digest()
            == hashlib.sha256((tmp_path / "image/big").read_bytes()).digest()
        )
        tool = (check / "usr/bin/tool").stat()
        assert (tool.st_uid, tool.st_gid, tool.st_mode & 0o7777) == (1234, 4321, 0o4755)
        assert (check / "bin").readlink() == Path("usr/bin")
        assert (check / "etc/hostname").read_text() == "tiny\n"
        assert (check / "etc/fstab").read_text() == f"UUID={uuid} / ext4 defaults 0 1\n"
        assert (check / "etc/machine-id").read_bytes() == b""
        assert f"root=UUID={uuid}" in (check / "boot/grub/grub.cfg").read_text()
    finally:
        subprocess.run(["umount", check], check=True)
        assert (tmp_path / "dev/disk/by-uuid" / uuid).readlink() == Path(f"/dev/{loop}p2")


def test_install_over_an_old_system_replaces_it(loop: str, image: bytes, tmp_path: Path) -> None:
    with agent_region(image) as region:
        Install(region, loop, tmp_path / "target").run()
        first = _uuid(f"/dev/{loop}p2")
        with pytest.raises(InstallError, match="now holds gpt, ext4; nothing was written"):
            Install(region, loop, tmp_path / "target").run()
        Install(region, loop, tmp_path / "target", "gpt", "ext4").run()
    assert _uuid(f"/dev/{loop}p2") != first


def test_install_of_a_damaged_image_leaves_a_blank_unmounted_disk(
    loop: str, image: bytes, tmp_path: Path
) -> None:
    with agent_region(image) as region:
        install = Install(region, loop, tmp_path / "target")
        region.image = image[:5_000_000] + bytes([image[5_000_000] ^ 1]) + image[5_000_001:]
        with pytest.raises(InstallError) as failure:
            install.run()
    assert "damaged" in str(failure.value) + failure.value.hint
    assert _mounts(loop) == []
    assert _contents(loop) == []


def test_install_of_a_too_large_image_says_so(loop: str, tmp_path: Path) -> None:
    source = tmp_path / "large"
    source.mkdir()
    with (source / "file").open("wb") as file:
        for _ in range(300):
            file.write(os.urandom(1024) * 1024)
    image = subprocess.check_output(["tar", "-C", source, "--zstd", "-c", "."])
    with agent_region(image) as region:
        install = Install(region, loop, tmp_path / "target")
        with pytest.raises(CommandFailed) as failure:
            install.run()
    assert failure.value.output.startswith("tar: ")
    assert "too small" in failure.value.hint
    assert _mounts(loop) == []


def test_install_that_is_cancelled_during_the_download_ends_at_once(
    loop: str, image: bytes, tmp_path: Path
) -> None:
    with agent_region(image, break_after=[2_000_000] * 1000) as region:
        install = Install(region, loop, tmp_path / "target")
        region.on_download = lambda: install.stop.set("cancelled") if install.reports else None
        began_s = time.monotonic()
        with pytest.raises(Stopped, match="cancelled"):
            install.run()
    assert time.monotonic() - began_s < 30
    assert _mounts(loop) == []
    assert _contents(loop) == []


def test_install_onto_a_disk_that_vanishes_fails_soon_and_names_it(
    image: bytes, tmp_path: Path
) -> None:
    with (
        losable_disk(tmp_path, DISK_BYTES) as disk,
        agent_region(image, break_after=[5_000_000]) as region,
    ):
        install = Install(region, disk.name, tmp_path / "target")
        downloads: list[float] = []

        def download() -> None:
            downloads.append(time.monotonic())
            if len(downloads) == 2:
                disk.lose()

        region.on_download = download
        with pytest.raises(InstallError) as failure:
            install.run()
        assert time.monotonic() - downloads[1] < LOST_TIMEOUT_S
        assert _mounts(disk.name) == []
    assert re.search(rf"^kernel: .*\b{disk.name}", failure.value.output, re.MULTILINE)
    assert "The disk" in failure.value.hint


def test_install_of_a_root_archive_for_other_processors_fails_before_it_is_configured(
    loop: str, tmp_path: Path
) -> None:
    source = tmp_path / "arm"
    (source / "usr/bin").mkdir(parents=True)
    (source / "usr/bin/dash").write_bytes(ARM_64)
    (source / "usr/bin/sh").symlink_to("dash")
    image = subprocess.check_output(["tar", "-C", source, "--zstd", "-c", "."])
    with agent_region(image) as region:
        install = Install(region, loop, tmp_path / "target")
        with pytest.raises(InstallError, match="image debian-12 is of another arch") as failure:
            install.run()
    assert "for the machine 183 of ELF, not for 62 (x86_64)" in str(failure.value)
    assert all(report.stage != "configuring" for report in install.reports)
    assert _mounts(loop) == []
    assert _contents(loop) == []


def test_install_onto_a_mounted_disk_is_refused(loop: str, image: bytes, tmp_path: Path) -> None:
    with agent_region(image) as region:
        Install(region, loop, tmp_path / "target").run()
        where = tmp_path / "mounted"
        where.mkdir()
        subprocess.run(["mount", f"/dev/{loop}p2", where], check=True)
        try:
            with pytest.raises(InstallError, match="is mounted at"):
                Install(region, loop, tmp_path / "target").run()
            assert (where / "etc/hostname").read_text() == "tiny\n"
        finally:
            subprocess.run(["umount", where], check=True)


def _layer(number: int, size_bytes: int | None) -> Partition:
    return Partition(number=number, role="layer", size_bytes=size_bytes, filesystem=None)


def test_install_of_custom_partitions_puts_everything_where_it_belongs(
    loop: str, image: bytes, tmp_path: Path
) -> None:
    disk = DiskPlan(
        device=f"/dev/{loop}",
        size_bytes=DISK_BYTES,
        partitions=(_layer(1, 32 << 20), _layer(2, 16 << 20), _layer(3, None)),
        filesystems=(
            Filesystem(on="p3", kind="ext4", mount="/"),
            Filesystem(on="p1", kind="ext4", mount="/boot"),
            Filesystem(on="p2", kind="swap", mount=None),
        ),
    )
    fstab = "{{UUID:p3}} {{UUID:p1}} {{UUID:p2}} {{ROOT_UUID}}"
    with agent_region(image) as region:
        install = Install(region, loop, tmp_path / "target")
        install.plan = _plan(image, disk, fstab)
        install.run()
    assert _contents(loop) == ["gpt", "ext4", "swap"]
    root, boot, swap = (_uuid(f"/dev/{loop}p{number}") for number in (3, 1, 2))
    check = tmp_path / "check"
    check.mkdir()
    subprocess.run(["mount", "-o", "ro", f"/dev/{loop}p3", check], check=True)
    try:
        assert (check / "etc/fstab").read_text() == f"{root} {boot} {swap} {root}"
        assert list((check / "boot").iterdir()) == []
    finally:
        subprocess.run(["umount", check], check=True)
    subprocess.run(["mount", "-o", "ro", f"/dev/{loop}p1", check], check=True)
    try:
        config = (check / "grub/grub.cfg").read_text()
        assert f"--set=root {boot}\n" in config
        assert f"  linux /vmlinuz-6.1.0-9 root=UUID={root} ro" in config
        assert (check / "vmlinuz-6.1.0-9").is_file()
    finally:
        subprocess.run(["umount", check], check=True)


def test_install_over_two_disks_writes_to_none_where_one_is_not_as_approved(
    loop: str, second_loop: str, image: bytes, tmp_path: Path
) -> None:
    subprocess.run(["mkswap", f"/dev/{second_loop}"], check=True, capture_output=True)
    disk = DiskPlan(
        device=f"/dev/{loop}",
        size_bytes=DISK_BYTES,
        partitions=(_layer(1, None),),
        members=(Member(device=f"/dev/{second_loop}", size_bytes=DISK_BYTES),),
        arrays=(Array(id="md-root", level="raid1", partition=1),),
        filesystems=(Filesystem(on="md-root", kind="ext4", mount="/"),),
    )
    with agent_region(image) as region:
        install = Install(region, loop, tmp_path / "target")
        # Nothing but their names tells two blank loop devices apart; an approved one has a serial.
        install.plan = _plan(image, disk)
        with pytest.raises(InstallError, match="nothing was written"):
            install.run()
    assert _contents(loop) == []
    assert _contents(second_loop) == ["swap"]
    assert (tmp_path / "disk.img").stat().st_blocks == 0
