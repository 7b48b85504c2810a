"""How long an install takes over streaming the same bytes, and over an install by packages.

    python -m bench.install_time

Two virtual servers of the same make, one after the other, alone on the machine. The first is
installed. The second boots the agent's kernel and initramfs without an agent, and its shell does
the least that brings the same image to an equal blank disk: `wget | zstd | tar` onto a fresh ext4,
then `sync`. From the system that is then on that disk, debootstrap installs the same packages onto
a second blank disk, from a mirror on the host beside the region: what an installer does, without
its questions, its partitioning and its boot loader. What is compared is read off the times of the
lines on the serial consoles:

- install: from the agent's first look at the disk to the moment when all is written and unmounted;
- streaming: from the start of that pipeline to the end of its `sync`, without making the file
  system; once with `tar` as it is of itself, once told to read 64 KiB at once as the agent's is;
- packages: from the making of the file system to the end of the `sync` after the initrd is made;
  dpkg syncs nothing meanwhile, and leaves out the files that the image leaves out.

So a slower stream of the agent makes the first ratio worse, and what is left out of an install by
packages the second. Ends with status 1 where a limit is missed.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from bench import report
from bench.console_times import between
from bench.package_mirror import SUITE, installed_packages, make_mirror
from rich.console import Console

from lpmos.images.catalog import Catalog
from lpmos.images.debian_image import DEBIAN_ROOT, DPKG_SETTINGS
from lpmos.lab.acceleration import Acceleration, choose_acceleration
from lpmos.lab.display import LineDisplay
from lpmos.lab.errors import LabError
from lpmos.lab.journey import Journey
from lpmos.lab.machine import BlankDisk, DirectBoot, Firmware, MachineSpec, VirtualMachine
from lpmos.lab.rack import ADDRESS, Rack
from lpmos.lab.site import Site
from lpmos.lab.stage import OS, build_missing_images, new_task, rack_site
from lpmos.model.diskplan import GIB
from tests.support.polling import until

STREAM_LIMIT = 1.3
PACKAGES_LIMIT = 5.0
BUILD = Path(__file__).resolve().parents[1] / "build"
BOOT_TIMEOUT_S = 180.0
INSTALL_TIMEOUT_S = 1800.0
STREAM_TIMEOUT_S = 600.0
PACKAGES_TIMEOUT_S = 2700.0
REGION_PORT = 8081
MIRROR_PORT = 8090
MIRROR = f"http://{ADDRESS}:{MIRROR_PORT}"
INSTALL = (r" 0% partitioning", r"installed; the machine starts")
STREAM = (r"stream begins 42$", r"stream ends 42$")
BY_64_KIB = (r"stream begins 43$", r"stream ends 43$")
PACKAGES = (r"packages begin 42$", r"packages end 42$")
FAILED = r"(stream fails|packages fail) 42$"
# The shell computes the number, so that the echo of what was typed is not taken for its answer.
PREPARE = """\
umount /mnt 2>/dev/null; set -o pipefail; \
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 {disk} \
&& mkdir -p /mnt && mount -t ext4 {disk} /mnt && echo stream begins $(({number}+0))"""
PIPELINE = """\
wget -q -O - {url} | zstd -dc | {tar} -x -p --numeric-owner --xattrs --acls -C /mnt \
&& sync && echo stream ends $(({number}+0)) || echo stream fails $((6*7))"""
WAYS = ((STREAM, 42, "tar"), (BY_64_KIB, 43, "tar -b128"))
"""What is answered, the number in it, and the `tar` of the pipeline."""
RUN_SCRIPT = "wget -q -O /tmp/packages {url} && sh /tmp/packages || echo packages fail $((6*7))"
SCRIPT = """\
set -e
for name in proc sys dev; do mount --bind /$name /mnt/$name; done
mount -t tmpfs run /mnt/run
mkdir -p /mnt/var/tmp/tools /mnt/mnt
for path in {tools}; do wget -q -P /mnt/var/tmp/tools {mirror}/$path; done
chroot /mnt sh -c 'dpkg -i /var/tmp/tools/*.deb'
sync
echo packages begin $((6*7))
mkfs.ext4 -q -F -E lazy_itable_init=1,lazy_journal_init=1 {disk}
mount -t ext4 {disk} /mnt/mnt
mkdir -p $(dirname /mnt/mnt/{settings})
wget -q -O /mnt/mnt/{settings} {mirror}/settings
INITRD=No chroot /mnt debootstrap --no-check-gpg --variant=minbase {include} {suite} /mnt {mirror}
if ls /mnt/mnt/boot/vmlinuz-* >/dev/null 2>&1; then
    mount -t proc proc /mnt/mnt/proc
    chroot /mnt/mnt update-initramfs -c -k all
fi
sync
echo packages end $((6*7))
"""


class Measured(NamedTuple):
    """Seconds of each, of one run; None where the packages were not installed."""

    install_s: float
    stream_s: float
    by_64_kib_s: float
    packages_s: float | None


def server(number: int, firmware: Firmware) -> MachineSpec:
    """One of the two servers; they differ in their names, and the second has one disk more."""
    return MachineSpec(
        name=f"bench-{number}",
        sn=f"BENCH-{number}",
        mac=f"52:54:00:78:02:{number:02x}",
        firmware=firmware,
        disks=tuple(
            BlankDisk(serial=f"ROOT-{number}-{disk}", size_bytes=8 * GIB) for disk in range(number)
        ),
    )


def write_mirror(directory: Path, images_dir: Path, *, base_only: bool) -> int:
    """The packages, and the script that installs them; how many are installed."""
    catalog = Catalog(images_dir)
    image = catalog.find(*OS)
    assert image is not None
    names = installed_packages(catalog.path(image))
    tools = make_mirror(
        directory, names, BUILD / "cache" / "bench-packages", os.environ.get("LPMOS_MIRROR")
    )
    settings = (DEBIAN_ROOT / DPKG_SETTINGS).read_text()
    (directory / "settings").write_text(f"{settings}\nforce-unsafe-io\n")
    script = SCRIPT.format(
        tools=" ".join(tools),
        mirror=MIRROR,
        disk="/dev/vdb",
        settings=DPKG_SETTINGS,
        include="" if base_only else f"--include={','.join(names)}",
        suite=SUITE,
    )
    (directory / "packages.sh").write_text(script)
    return len(names)


async def serve_mirror(rack: Rack, mirror: Path, log: Path) -> None:
    """Serve it on the rack's network until the rack is left."""
    where = ("--bind", ADDRESS, "--directory", str(mirror), str(MIRROR_PORT))
    await rack.spawn([sys.executable, "-m", "http.server", *where], log=log)


async def boot_shell(machine: VirtualMachine, catalog: Catalog, site: Site) -> None:
    """Boot the agent's RAM image into its shell."""
    agent = catalog.agent()
    card = f"BOOTIF=01-{machine.spec.mac.replace(':', '-')}"
    arguments = f"console=ttyS0,115200n8 {card} lpmos_shell {site.kernel_arguments}"
    await machine.power_on(
        DirectBoot(kernel=agent.kernel, initramfs=agent.initramfs, arguments=arguments)
    )
    await machine.console.wait_for("this is a shell", BOOT_TIMEOUT_S)


async def stream(machine: VirtualMachine, catalog: Catalog) -> None:
    """Stream the image to the machine's first disk, each way; it stays mounted at /mnt."""
    image = catalog.find(*OS)
    assert image is not None
    url = f"http://{ADDRESS}:{REGION_PORT}/boot/images/{image.sha256}"
    for answers, number, tar in WAYS:
        for command, answer in zip((PREPARE, PIPELINE), answers, strict=True):
            machine.type(command.format(disk="/dev/vda", url=url, number=number, tar=tar))
            await answered(machine, answer, STREAM_TIMEOUT_S)


async def install_packages(machine: VirtualMachine) -> bool:
    """Install the packages onto the second disk; says why where that failed."""
    machine.type(RUN_SCRIPT.format(url=f"{MIRROR}/packages.sh"))
    try:
        said = await machine.console.wait_for(f"{PACKAGES[1]}|{FAILED}", PACKAGES_TIMEOUT_S)
    except LabError as error:
        print(f"the packages were not installed: {error}")
        return False
    if "fail" in said[0]:
        print(f"the packages were not installed: {machine.last_words()}")
    return "fail" not in said[0]


async def answered(machine: VirtualMachine, answer: str, timeout_s: float) -> None:
    """Wait for what the shell says in the end."""
    said = await machine.console.wait_for(f"{answer}|{FAILED}", timeout_s)
    if "fail" in said[0]:
        sys.exit(f"{said[0]}; {machine.last_words()}")


async def install(machine: VirtualMachine, site: Site) -> None:
    """Install the machine until all is on its disk, and switch it off."""
    spec = machine.spec
    display = LineDisplay(Console(stderr=True))
    task = new_task(site, spec.sn, spec.mac, spec.name)
    journey = Journey(machine, task, api=site.api, display=display, approve=True)
    going = asyncio.create_task(journey.run())
    written = asyncio.create_task(all_written(machine))
    await asyncio.wait((going, written), return_when=asyncio.FIRST_COMPLETED)
    for each in (going, written):
        each.cancel()
    await asyncio.gather(going, written, return_exceptions=True)
    if written.cancelled() or written.exception() is not None:
        sys.exit(f"the install failed: {journey.progress.failed}; {machine.last_words()}")
    await machine.power_off()


async def all_written(machine: VirtualMachine) -> None:
    """Wait until the machine is on, and then until its agent has done all."""

    async def on() -> bool:
        return machine.powered

    await until(on, INSTALL_TIMEOUT_S)
    await machine.console.wait_for(INSTALL[1], INSTALL_TIMEOUT_S)


async def measure(
    firmware: Firmware, directory: Path, images_dir: Path, accel: Acceleration
) -> Measured:
    """Install one server, switch it off; stream to the other, and install packages there."""
    catalog = Catalog(images_dir)
    placed = rack_site(directory=directory, images_dir=images_dir, accel=accel)
    async with placed as (rack, site):
        await serve_mirror(rack, directory / "mirror", directory / "mirror.log")
        installed, blank = [
            await VirtualMachine.create(
                rack, server(number, firmware), directory=directory, accel=accel
            )
            for number in (1, 2)
        ]
        await install(installed, site)
        await boot_shell(blank, catalog, site)
        await stream(blank, catalog)
        whole = await install_packages(blank)
        await blank.power_off()
    return Measured(
        between(installed.console.log, *INSTALL),
        between(blank.console.log, *STREAM),
        between(blank.console.log, *BY_64_KIB),
        between(blank.console.log, *PACKAGES) if whole else None,
    )


def main() -> int:
    """Install, stream, install packages, print, compare; 1 where a limit is missed."""
    parser = report.parser(__doc__)
    parser.add_argument("--firmware", choices=["bios", "uefi"], default="bios")
    parser.add_argument("--images-dir", type=Path, default=BUILD / "images")
    chosen = report.chosen(parser, {})
    build_missing_images(
        chosen.images_dir, BUILD / "cache", Console(stderr=True), os.environ.get("LPMOS_MIRROR")
    )
    accel = asyncio.run(choose_acceleration())
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        packages = write_mirror(directory / "mirror", chosen.images_dir, base_only=chosen.quick)
        took = asyncio.run(measure(chosen.firmware, directory, chosen.images_dir, accel))
    done = report.end([*rows(took, chosen.firmware, packages, accel, quick=chosen.quick)], chosen)
    return done if took.packages_s is not None else 1


def rows(
    took: Measured, firmware: Firmware, packages: int, accel: Acceleration, *, quick: bool
) -> Iterator[report.Row]:
    """What is compared with what."""
    yield report.compared(
        f"install, first look at the disk to unmounted ({firmware})", took.install_s, "s",
        ("wget, zstd, tar and sync to an equal disk", took.stream_s),
        at_most=STREAM_LIMIT, note=accel.name,
    )  # fmt: skip
    yield report.compared(
        f"the same install ({firmware})", took.install_s, "s",
        ("the same pipeline, tar told to read 64 KiB at once", took.by_64_kib_s),
        less_is_better=True,
    )  # fmt: skip
    if took.packages_s is not None:
        yield report.compared(
            f"install of the same packages to an equal disk ({firmware})", took.packages_s, "s",
            ("install by image", took.install_s), at_least=PACKAGES_LIMIT,
            note="base packages only" if quick else f"debootstrap, {packages} packages",
        )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
