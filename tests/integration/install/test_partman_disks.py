"""What partman is left to see, and which system partition is copied: the planned disks' alone."""

import json
import os
import re

import pytest

from lpmos.model.setup import TaskSecrets
from tests.support.answer_scripts import SHELLS, SIZE_BYTES, Machine, Region, answer_scripts
from tests.support.answers import answer_task

NAMES = {
    "/dev/sda": "sda",
    "/dev/sdx": "sdx",
    "/dev/sdxa": "sdxa",
    "/dev/sdy": "sdy",
    "/dev/md0": "md0",
    "/dev/md1": "md1",
    "/dev/md127": "md127",
    "/dev/mapper/vg0-root": "dm-0",
    "/dev/mapper/vg1-swap": "dm-1",
    "/dev/mapper/root": "dm-2",
}
SLAVES = {
    "md0": "sdx4 sdy4",
    "md1": "sdx3 sda1",
    "md127": "sda1 sdxa1",
    "dm-0": "md0",
    "dm-1": "sda1",
}
PLANNED = {"/dev/sdx", "/dev/sdy", "/dev/md0", "/dev/mapper/vg0-root"}


class Partman:
    """Debian's installer up to partman, whose steps are files, on the plan's sdy and sdx.

    The plan's first disk is sdy. Its rounds are as those of `bin/partman` and `restart_partman`.
    """

    def __init__(self, machine: Machine, region: Region, shell: list[str]) -> None:
        self.machine, self.shell = machine, shell
        self.steps = machine.place / "lib/partman/init.d"
        self.devices = machine.place / "var/lib/partman/devices"
        task = answer_task(layout="raid1", uefi=True)
        early, self.disks, self.late = answer_scripts("debian", task, region, TaskSecrets())
        for name in ("debconf-set", "logger"):
            machine.add_program(name, f'echo "$*" >>{machine.place}/{name}')
        _make_blocks(machine)
        assert machine.run(["sh"], early).returncode == 0
        self.add_step("01early_command", self.disks)
        lines = ["rm -rf /var/lib/partman/devices"]
        for device in NAMES:
            place = f"/var/lib/partman/devices/{device.replace('/', '=')}"
            lines += [f"mkdir -p {place}", f"printf %s {device} >{place}/device"]
        self.add_step("30parted", "\n".join(lines))
        self.add_step("50efi", "ls /var/lib/partman/devices >/var/lib/partman/seen")

    def add_step(self, name: str, script: str) -> None:
        self.steps.mkdir(parents=True, exist_ok=True)
        (self.steps / name).write_text(script)
        (self.steps / name).chmod(0o755)

    def round(self) -> set[str]:
        """What is there for 50efi, when all steps before have run as they were listed at first."""
        for step in sorted(self.steps.iterdir()):
            assert os.access(step, os.X_OK)
            script = step.read_text().replace(str(self.machine.place), "")
            done = self.machine.run(self.shell, script)
            assert done.returncode == 0, done.stderr
        seen = (self.devices.parent / "seen").read_text().split()
        assert seen == sorted(path.name for path in self.devices.iterdir())
        return {name.replace("=", "/") for name in seen}

    def end(self, mounted: str | None) -> tuple[int, str]:
        """The last script, where this disk's system partition is mounted; what it ran."""
        machine, told = self.machine, self.machine.place / "told"
        machine.add_program("chroot", f'shift; echo "$*" >>{told}')
        machine.add_program("mount", f'echo "mount $*" >>{told}')
        machine.add_program("umount", f'cat "$1/grub" >>{told}; rm "$1/grub"')
        efi = machine.target / "boot/efi"
        for folder in (efi, machine.target / "etc/network", machine.place / "proc/self"):
            folder.mkdir(parents=True)
        (efi / "grub").write_text("copied\n")
        number = machine.block / f"{mounted}/{mounted}2/dev"
        line = f"40 25 {number.read_text().strip()} / {efi} rw - vfat x rw\n" if mounted else ""
        (machine.place / "proc/self/mountinfo").write_text(f"25 1 0:1 / / rw - rootfs x rw\n{line}")
        script = self.late.replace("target=/target", f"target={machine.target}")
        return machine.run(self.shell, script).returncode, told.read_text()


def lvm_sees(text: str, devices: tuple[str, ...]) -> set[str]:
    """What LVM's `global_filter` accepts: by lvm.conf(5) the first pattern that fits decides."""
    before, _, after = text.partition("devices/global_filter = ")
    assert before == ""
    patterns = [re.fullmatch(r"([ar])\|(.*)\|", each) for each in json.loads(after)]
    rules = [(each[1] == "a", re.compile(each[2])) for each in patterns if each]
    assert len(rules) == len(patterns)
    return {
        device
        for device in devices
        if next(accepts for accepts, pattern in rules if pattern.search(device))
    }


def _make_blocks(machine: Machine) -> None:
    names = machine.place / "sys/class/block"
    names.mkdir(parents=True)
    serials = {"sdy": b"DISK-a", "sdx": b"DISK-b"}
    for major, name in enumerate(NAMES.values()):
        files = {f"slaves/{slave}": b"" for slave in SLAVES.get(name, "").split()}
        for number in range(1, 5):
            files |= {
                f"{name}{number}/partition": b"",
                f"{name}{number}/dev": f"{major}:{number}\n".encode(),
            }
            (names / f"{name}{number}").symlink_to(machine.block / name / f"{name}{number}")
        machine.add_disk(name, SIZE_BYTES, {**files, "serial": serials.get(name, b"OTHER")})
        (names / name).symlink_to(machine.block / name)
    for device, name in NAMES.items():
        if name.startswith("dm-"):
            (names / name / "dm").mkdir()
            (names / name / "dm/name").write_text(f"{device.rpartition('/')[2]}\n")


@pytest.mark.parametrize("shell", SHELLS)
def test_partman_sees_planned_disks_and_what_stands_on_them_alone_in_each_round(
    shell: list[str], machine: Machine, region: Region
) -> None:
    partman = Partman(machine, region, shell)
    assert partman.round() == PLANNED
    partman.add_step("01early_command", "")
    assert partman.round() == PLANNED
    hidden = (machine.place / "logger").read_text()
    assert "hidden from partman: /dev/sda on /dev/sda, which is not a disk of the plan\n" in hidden
    assert "hidden from partman: /dev/md1 on /dev/sda, which" in hidden


@pytest.mark.parametrize("shell", SHELLS)
def test_arrays_and_groups_of_other_disks_are_neither_started_nor_seen(
    shell: list[str], machine: Machine, region: Region
) -> None:
    partman = Partman(machine, region, shell)
    found = "ARRAY /dev/md/0 UUID=1"
    config = machine.place / "tmp/lpmos/mdadm.conf"
    told = machine.place / "mdadm"
    machine.add_program(
        "mdadm", f'echo "$*" >>{told}; [ "$1" != --examine ] || echo "{found}"; exit 1'
    )
    partman.round()
    assert told.read_text() == (
        f"--examine --scan --config={config}\n--assemble --scan --run --config={config}\n"
    )
    parts = "/dev/sdy /dev/sdy[0-9]* /dev/sdx /dev/sdx[0-9]*"
    assert config.read_text() == f"DEVICE {parts}\n{found}\n"
    assert (machine.place / "var/lib/partman/md").exists()
    seen = {"/dev/sdx", "/dev/sdx12", "/dev/sdy", "/dev/sdy4", "/dev/md0", "/dev/md127"}
    unseen = ("/dev/sda", "/dev/sdxa", "/dev/sdxa1", "/dev/mapper/vg1-swap")
    text = (machine.place / "etc/lvm/lvm.conf").read_text()
    assert lvm_sees(text, (*seen, *unseen)) == seen


@pytest.mark.parametrize("shell", SHELLS)
def test_partman_sees_no_disk_where_the_planned_ones_were_not_found(
    shell: list[str], machine: Machine, region: Region
) -> None:
    partman = Partman(machine, region, shell)
    (machine.block / "sdx/serial").write_text("another")
    partman.add_step("01early_command", f"( {partman.disks} ) || true\n")
    assert partman.round() == set()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("mounted", "other"), [("sdx", "sdy"), ("sdy", "sdx")])
def test_system_partition_is_copied_to_each_planned_disk_but_its_own(
    shell: list[str], mounted: str, other: str, machine: Machine, region: Region
) -> None:
    partman = Partman(machine, region, shell)
    partman.round()
    done, told = partman.end(mounted)
    assert done == 0, (machine.place / "tmp/lpmos/late.log").read_text()
    place = machine.target / "mnt/esp"
    assert f"mkfs.vfat -F 32 /dev/{other}2\nmount /dev/{other}2 {place}\ncopied\n" in told
    assert told.count("mkfs") == 1


def test_nothing_is_formatted_where_no_system_partition_is_mounted(
    machine: Machine, region: Region
) -> None:
    partman = Partman(machine, region, ["sh"])
    partman.round()
    done, told = partman.end(None)
    assert done == 1
    assert "mkfs" not in told
    assert "nothing is mounted at /boot/efi" in region.said("failed")[0]["message"]
