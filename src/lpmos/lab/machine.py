"""A virtual server: real firmware, disks, a NIC on the rack's switch, a serial console.

The machine keeps what a server keeps over its power cycles: its disks, and on UEFI its NVRAM. The
boot order is the firmware's business: a BIOS gets it from us (network, then disks), as an operator
would set it; on UEFI nothing is said, so that the order in the NVRAM counts, as on a real server.
"""

import asyncio
import contextlib
import os
import re
import shutil
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

from lpmos.lab.acceleration import Acceleration
from lpmos.lab.console import Console, ConsolePipe
from lpmos.lab.errors import MachinePowerError, ProcessFailed, WaitTimedOut
from lpmos.lab.processes import LabProcess
from lpmos.lab.qmp import Qmp
from lpmos.lab.rack import Rack

OVMF: Final = Path("/usr/share/OVMF")
OVMF_CODE: Final = OVMF / "OVMF_CODE_4M.fd"
OVMF_VARS: Final = OVMF / "OVMF_VARS_4M.fd"
SECURE_CODE: Final = OVMF / "OVMF_CODE_4M.secboot.fd"
SECURE_VARS: Final = OVMF / "OVMF_VARS_4M.ms.fd"
"""Microsoft's keys, as in a server from its maker: Secure Boot is on from the first start."""
POWER_OFF_TIMEOUT_S: Final = 10.0
PROCESSOR_NICENESS: Final = 5
"""Of the threads that are a machine's processors: they are busy also where they wait, and a clock
that ticks too late beside them makes a kernel panic."""
GIB: Final = 1024**3

Firmware = Literal["bios", "uefi"]
DiskBus = Literal["virtio", "sata", "nvme", "scsi"]
NicModel = Literal["virtio-net-pci", "e1000", "e1000e", "vmxnet3"]
Netboot = Literal["pxe", "pxe6", "http"]
"""How UEFI finds its loader: TFTP over IPv4 first, TFTP over IPv6, or a URL from DHCP."""

_NOT_TRIED: Final[Mapping[Netboot, tuple[str, ...]]] = {
    "pxe": (),
    "pxe6": ("IPv4PXESupport",),
    "http": ("IPv4PXESupport", "IPv6PXESupport"),
}
"""OVMF's switches that leave out what stands before (OvmfPkg/PlatformDxe and its fw_cfg names)."""

_FAILING: Final = (
    "werror=report,file.driver=blkdebug,file.inject-error.0.event=none"
    ",file.inject-error.0.iotype=write,file.inject-error.0.errno=5,file.image.driver=file"
)
"""Every write to the file is an I/O error that the guest is told of (QEMU, blkdebug)."""

_DISK_DEVICES: Final[Mapping[DiskBus, str]] = {
    "virtio": "virtio-blk-pci,drive={drive},serial={serial}",
    "sata": "ide-hd,drive={drive},serial={serial},bus=ide.{number}",  # q35 has six AHCI ports
    "nvme": "nvme,drive={drive},serial={serial}",
    "scsi": "scsi-hd,drive={drive},serial={serial},bus=scsi.0",
}


class BlankDisk(msgspec.Struct, frozen=True, kw_only=True):
    """A disk as it comes from its maker: all zero; `sector_bytes` is its logical sector.

    One that is `failing` is read well, and answers each write with an error.
    """

    serial: str
    size_bytes: int = 8 * GIB
    bus: DiskBus = "virtio"
    sector_bytes: Literal[512, 4096] = 512
    failing: bool = False


class MachineSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What a virtual server is made of; `name` stands in file names and messages."""

    name: str
    sn: str
    mac: str
    firmware: Firmware
    disks: tuple[BlankDisk, ...] = ()
    nic: NicModel = "virtio-net-pci"
    netboot: Netboot = "pxe"
    secure_boot: bool = False
    memory_mib: int = 1024
    cpus: int = 2


class DirectBoot(msgspec.Struct, frozen=True, kw_only=True):
    """A kernel that is started in place of what the firmware would find; paths of the host."""

    kernel: Path
    initramfs: Path
    arguments: str


def disk_path(directory: Path, spec: MachineSpec, number: int) -> Path:
    """The file behind one of a machine's disks, counted from 0."""
    return directory / f"{spec.name}-disk{number}.raw"


def nvram_path(directory: Path, spec: MachineSpec) -> Path:
    """The file behind a UEFI machine's variables."""
    return directory / f"{spec.name}-nvram.fd"


def qemu_command(
    spec: MachineSpec,
    *,
    directory: Path,
    tap: str,
    acceleration: Acceleration,
    control_fd: int,
    direct: DirectBoot | None = None,
) -> list[str]:
    """QEMU's command line for a machine: console on its standard files, QMP on an open socket."""
    command = [
        *("qemu-system-x86_64", "-name", spec.name, "-nodefaults", *acceleration.arguments),
        # Without graphics SeaBIOS and its iPXE write to the serial port.
        *("-machine", _platform(spec), "-display", "none", "-serial", "stdio"),
        *("-m", str(spec.memory_mib), "-smp", str(spec.cpus)),
        *("-smbios", f"type=1,manufacturer=LPMOS,product=Virtual rack server,serial={spec.sn}"),
        *("-chardev", f"socket,id=control,fd={control_fd}", "-mon", "control,mode=control"),
        *("-device", "virtio-rng-pci"),
        *("-netdev", f"tap,id=net0,ifname={tap},script=no,downscript=no"),
        *("-device", _nic_device(spec)),
        *_flash(spec, directory),
    ]
    if direct is not None:
        command += ["-kernel", str(direct.kernel), "-initrd", str(direct.initramfs)]
        command += ["-append", direct.arguments]
    return [*command, *_disks(spec, directory)]


def _platform(spec: MachineSpec) -> str:
    """The chipset; Secure Boot needs the mode of the processor that alone may write variables."""
    return "q35,graphics=off" + (",smm=on" if spec.secure_boot else "")


def _flash(spec: MachineSpec, directory: Path) -> list[str]:
    """UEFI's code and variables, and what it shall not try; nothing for a BIOS, QEMU has it."""
    if spec.firmware == "bios":
        return []
    code = SECURE_CODE if spec.secure_boot else OVMF_CODE
    command = ["-drive", f"if=pflash,format=raw,readonly=on,file={code}"]
    command += ["-drive", f"if=pflash,format=raw,file={nvram_path(directory, spec)}"]
    if spec.secure_boot:
        command += ["-global", "driver=cfi.pflash01,property=secure,value=on"]
    for name in _NOT_TRIED[spec.netboot]:
        command += ["-fw_cfg", f"name=opt/org.tianocore/{name},string=n"]
    return command


def _disks(spec: MachineSpec, directory: Path) -> list[str]:
    command: list[str] = []
    if any(disk.bus == "scsi" for disk in spec.disks):
        command += ["-device", "virtio-scsi-pci,id=scsi"]
    for number, disk in enumerate(spec.disks):
        file = disk_path(directory, spec, number)
        # The disk need not outlive a crash of the host: cache=unsafe spares every flush.
        options = "format=raw,discard=unmap,detect-zeroes=unmap,cache=unsafe"
        device = _DISK_DEVICES[disk.bus].format(
            drive=f"disk{number}", serial=disk.serial, number=number
        )
        if disk.sector_bytes != 512:
            device += f",logical_block_size={disk.sector_bytes}"
            device += f",physical_block_size={disk.sector_bytes}"
        if spec.firmware == "bios":
            device += f",bootindex={number + 2}"
        backing = f"file={file}"
        if disk.failing:
            backing = f"{_FAILING},file.image.filename={file}"
        command += ["-drive", f"if=none,id=disk{number},{options},{backing}"]
        command += ["-device", device]
    return command


def _nic_device(spec: MachineSpec) -> str:
    device = f"{spec.nic},netdev=net0,mac={spec.mac}"
    if spec.firmware == "bios":
        return device + ",bootindex=1"
    # OVMF has a driver of its own for virtio; without QEMU's iPXE ROM that driver is used, and the
    # boot goes by DHCP and TFTP as on a real server. The other models need the ROM's driver.
    return device + (",romfile=" if spec.nic == "virtio-net-pci" else "")


class VirtualMachine:
    """A machine in a rack; off until `power_on`, and again when its rack is left."""

    def __init__(
        self, spec: MachineSpec, *, rack: Rack, tap: str, directory: Path, accel: Acceleration
    ) -> None:
        self.spec = spec
        self.console = Console(directory / f"{spec.name}-console.log")
        self._rack = rack
        self._tap = tap
        self._directory = directory
        self._acceleration = accel
        self._process: LabProcess | None = None
        self._control: Qmp | None = None
        self._pipe: ConsolePipe | None = None
        self._keyboard: int | None = None

    @classmethod
    async def create(
        cls, rack: Rack, spec: MachineSpec, *, directory: Path, accel: Acceleration
    ) -> "VirtualMachine":
        """Build the machine with blank disks and factory-fresh NVRAM, and plug it in."""
        for number, disk in enumerate(spec.disks):
            with disk_path(directory, spec, number).open("wb") as file:
                file.truncate(disk.size_bytes)
        if spec.firmware == "uefi":
            variables = SECURE_VARS if spec.secure_boot else OVMF_VARS
            shutil.copyfile(variables, nvram_path(directory, spec))
        tap = await rack.add_tap()
        machine = cls(spec, rack=rack, tap=tap, directory=directory, accel=accel)
        rack.at_exit(machine.power_off)
        return machine

    @property
    def name(self) -> str:
        """How people call it."""
        return self.spec.name

    @property
    def kind(self) -> str:
        """Its firmware."""
        return self.spec.firmware.upper()

    @property
    def powered(self) -> bool:
        """Whether the machine is on."""
        return self._process is not None and self._process.returncode is None

    @property
    def qemu_log(self) -> Path:
        """What QEMU itself complained of."""
        return self._directory / f"{self.spec.name}-qemu.log"

    def disk(self, number: int = 0) -> Path:
        """The file behind a disk; read it only while the machine is off or done writing."""
        return disk_path(self._directory, self.spec, number)

    def pull_first_disk(self) -> None:
        """Take the first disk out of a machine that is off; each other one moves up a place.

        Raises:
            MachinePowerError: it is on.
        """
        if self.powered:
            raise MachinePowerError(f"{self.spec.name} is on: power it off first")
        for number in range(1, len(self.spec.disks)):
            self.disk(number).replace(self.disk(number - 1))
        self.spec = msgspec.structs.replace(self.spec, disks=self.spec.disks[1:])

    async def power_on(self, direct: DirectBoot | None = None) -> None:
        """Press the power button of a machine that is off; it boots `direct` where that is given.

        Raises:
            MachinePowerError: it is on.
            ProcessFailed: QEMU did not start; its log says why.
        """
        if self.powered:
            raise MachinePowerError(f"{self.spec.name} is on already")
        ours, theirs = socket.socketpair()
        command = qemu_command(
            self.spec,
            directory=self._directory,
            tap=self._tap,
            acceleration=self._acceleration,
            control_fd=theirs.fileno(),
            direct=direct,
        )
        self.console.open()
        output = await self._open_pipe()
        keyboard, self._keyboard = os.pipe()
        try:
            self._process = await self._rack.spawn(
                command,
                log=self.qemu_log,
                name=f"machine {self.spec.name}",
                pass_fds=(theirs.fileno(),),
                stdin=keyboard,
                stdout=output,
            )
        finally:
            os.close(keyboard)
            os.close(output)
            theirs.close()
        self._control = await Qmp.connect(ours)
        await self._favour_devices(self._control)

    def type(self, line: str) -> None:
        """Type a line on the serial console; a line is shorter than a pipe, so nothing waits.

        Raises:
            MachinePowerError: the machine is off.
        """
        if self._keyboard is None or not self.powered:
            raise MachinePowerError(f"{self.spec.name} is off")
        os.write(self._keyboard, f"{line}\n".encode())

    async def reset(self) -> None:
        """Push the reset button: the firmware starts again, disks and NVRAM stay."""
        await self._powered_control().execute("system_reset")

    async def press_power_button(self) -> None:
        """Ask the operating system to shut down, by ACPI; `wait_off` waits for it."""
        await self._powered_control().execute("system_powerdown")

    async def wait_off(self, timeout_s: float) -> None:
        """Wait until the machine switched itself off.

        Raises:
            WaitTimedOut: it is still on after `timeout_s`.
        """
        if self._process is None:
            return
        try:
            async with asyncio.timeout(timeout_s):
                await self._process.wait()
        except TimeoutError:
            raise WaitTimedOut(f"{self.spec.name} is still on after {timeout_s:.0f} s") from None
        await self._settle()

    async def wait_up(self, hostname: str, timeout_s: float) -> None:
        """Wait until the installed system asks for a login on the serial console.

        Raises:
            WaitTimedOut: it did not within `timeout_s`.
            ProcessFailed: the machine went off before.
        """
        await self.console.wait_for(rf"{re.escape(hostname)} login:", timeout_s)

    def check(self) -> None:
        """Make sure that a machine which was powered on still is.

        Raises:
            ProcessFailed: it went off.
        """
        if self._process is not None and not self.powered:
            raise ProcessFailed(f"{self.name} went off; QEMU's words are in {self.qemu_log}")

    def last_words(self) -> str:
        """The end of its console."""
        newest = "\n  ".join(self.console.tail())
        return f"the console ({self.console.log}) ends with:\n  {newest}"

    async def power_off(self) -> None:
        """Cut the power; nothing happens where it is off."""
        if self._process is not None:
            await self._process.stop(POWER_OFF_TIMEOUT_S)
            await self._settle()

    def _powered_control(self) -> Qmp:
        if self._control is None or not self.powered:
            raise MachinePowerError(f"{self.spec.name} is off")
        return self._control

    async def _favour_devices(self, control: Qmp) -> None:
        """Let QEMU's own loop, which serves disks and clocks, come before processors that spin."""
        for processor in await control.execute("query-cpus-fast"):
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, processor["thread-id"], PROCESSOR_NICENESS)

    async def _open_pipe(self) -> int:
        """A pipe whose reading end feeds the console; answers its writing end."""
        reading, writing = os.pipe()
        pipe = self._pipe = ConsolePipe(self.console, self.spec.name)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: pipe, os.fdopen(reading, "rb"))
        return writing

    async def _settle(self) -> None:
        """Let the last words of a machine that is off reach its console, and close its files."""
        if self._keyboard is not None:
            os.close(self._keyboard)
            self._keyboard = None
        if self._control is not None:
            await self._control.close()
            self._control = None
        if self._pipe is not None:
            async with asyncio.timeout(POWER_OFF_TIMEOUT_S):
                await self._pipe.closed.wait()
            self._pipe = None
