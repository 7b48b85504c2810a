"""A made-up machine with no disk (G7): the same protocol, the image downloaded, checked, dropped.

The same seed is always the same machine.
"""

import hashlib
import time
from collections.abc import Callable

from lpmos import __version__
from lpmos.agent.handover import STAGE, Handover
from lpmos.agent.image import ImageStream
from lpmos.agent.inventory import Inventory
from lpmos.agent.job import Job, downloading
from lpmos.agent.joborder import JobOrder
from lpmos.agent.jobs import run_steps
from lpmos.agent.options import Options
from lpmos.agent.plan import Plan
from lpmos.agent.reporter import Result
from lpmos.agent.simulated_installer import run_installer
from lpmos.agent.simulated_jobs import steps
from lpmos.agent.simulated_system import SimulatedSystem
from lpmos.agent.stop import Stop

_GIB = 1 << 30
_MODELS = (
    ("Dell Inc.", "PowerEdge R650", "Intel(R) Xeon(R) Gold 6338 CPU @ 2.00GHz", 32),
    ("HPE", "ProLiant DL360 Gen10 Plus", "Intel(R) Xeon(R) Silver 4314 CPU @ 2.40GHz", 16),
    ("Supermicro", "AS-1114S-WN10RT", "AMD EPYC 7513 32-Core Processor", 32),
    ("Lenovo", "ThinkSystem SR630 V2", "Intel(R) Xeon(R) Gold 5317 CPU @ 3.00GHz", 12),
)
_STEPS = (
    ("installing", 60, "unpacking the last of it"),
    ("installing", 75, "boot loader for BIOS"),
    ("installing", 82, "boot loader for UEFI"),
    ("configuring", 90, "boot menu"),
    ("configuring", 95, "writing everything to the disk"),
)


def identity(options: Options) -> tuple[str, str]:
    """The serial number and the MAC: those given, else one made from the other."""
    sn = options.sn or (f"SIM-{options.mac.replace(':', '')}" if options.mac else "SIM-1")
    digits = hashlib.sha256(sn.encode()).hexdigest()
    # 52:54:00 is the locally administered prefix that QEMU uses.
    mac = options.mac or ":".join(("52", "54", "00", digits[:2], digits[2:4], digits[4:6]))
    return sn, mac


class SimulatedMachine:
    """A machine that exists only towards its region."""

    def __init__(self, options: Options) -> None:
        self._sn, self._mac = identity(options)
        self._speed_mbit = options.speed_mbit
        self._installer_line = ""
        self.system: SimulatedSystem | None = None
        """What was installed."""

    def knows_more(self) -> bool:
        """Nothing of it changes."""
        return False

    def inventory(self) -> Inventory:
        """A plausible server, always the same for the same serial number."""
        seed = hashlib.sha256(self._sn.encode()).digest()
        vendor, model, cpu, cores = _MODELS[seed[0] % len(_MODELS)]
        sockets, dimms = 1 + seed[1] % 2, 4 << seed[2] % 3
        return {
            "collected_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "boot_mode": ("bios", "uefi")[seed[3] % 2],
            "product": {"vendor": vendor, "name": model, "serial": self._sn},
            "board": {"vendor": vendor, "name": model},
            "bios": {"vendor": vendor, "version": f"{1 + seed[4] % 4}.{seed[5] % 20}"},
            "cpu": {
                "model": cpu,
                "vendor": "AuthenticAMD" if "AMD" in cpu else "GenuineIntel",
                "sockets": sockets,
                "cores": sockets * cores,
                "threads": sockets * cores * 2,
                "flags": ["fpu", "sse4_2", "aes", "avx2"],
            },
            "memory": {
                "total_bytes": dimms * 16 * _GIB,
                "dimms": [_dimm(number) for number in range(dimms)],
            },
            "disks": [_disk(seed[6:].hex()[:14].upper(), (480, 960, 1920)[seed[7] % 3])],
            "nics": [
                {
                    "interface": "eno1",
                    "mac": self._mac,
                    "speed_mbps": 10000,
                    "driver": "ixgbe",
                    "carrier": True,
                    "booted": True,
                }
            ],
            "agent_version": __version__,
        }

    def install(self, plan: Plan, job: Job) -> None:
        """Go through the stages; the image is really downloaded and its digest checked.

        Raises:
            InstallError: the image is not the planned one.
            Stopped: the region ended the install.
        """
        job.at("partitioning", 2, f"partitioning {plan.disk.device} (simulated)")
        job.at("partitioning", 10, "making file systems (simulated)")
        image = plan.image
        job.at("downloading", 20, f"{image.name}, {image.size_bytes / 1_000_000:.0f} MB")
        stream = ImageStream(job.region, job.console, job.stop, job.pace, time.monotonic)
        stream.stream(
            image,
            _Discard(self._speed_mbit, job.stop),
            lambda done, rate: job.report(downloading(plan, done, rate)),
        )
        for stage, percentage, message in _STEPS:
            job.at(stage, percentage, f"{message} (simulated)")
        self.system = SimulatedSystem(plan.first_boot, job.first_boot_token, job.region)

    def abandon(self, job: Job) -> None:
        """Forget the system."""
        self.system = None

    def load_installer(self, handover: Handover, job: Job) -> str | None:
        """Load kernel and initrd, whole; neither is kept.

        Raises:
            InstallError: a file is not the planned one.
            Stopped: the region ended the install.
        """
        job.at(STAGE, 0, f"loading the installer {handover.name} (simulated)")
        stream = ImageStream(job.region, job.console, job.stop, job.pace, time.monotonic)
        for file in (handover.kernel, handover.initrd):
            stream.stream(file, _Discard(self._speed_mbit, job.stop), lambda *_: None)
        self._installer_line = handover.kernel_arguments
        return None

    def run_job(
        self,
        order: JobOrder,
        job: Job,
        note: Callable[[Result], None],
        look: Callable[[], Inventory],
    ) -> None:
        """Go through the steps, each in a moment; raises as a real one's does."""
        run_steps(order, steps(self._sn, look), job, note)

    def start_installer(self, job: Job) -> str | None:
        """Run a simulated installer to its end."""
        self.system = run_installer(self._installer_line, job)
        return None


class _Discard:
    """Takes bytes no faster than `speed_mbit`."""

    def __init__(self, speed_mbit: float | None, stop: Stop) -> None:
        self._seconds_per_byte = 8 / (speed_mbit * 1_000_000) if speed_mbit else 0.0
        self._stop = stop

    def write(self, data: bytes) -> None:
        """Drop the bytes."""
        if self._seconds_per_byte:
            self._stop.wait(len(data) * self._seconds_per_byte)


def _dimm(number: int) -> dict[str, object]:
    return {
        "slot": f"DIMM_{'ABCDEFGH'[number // 2 % 8]}{number % 2 + 1}",
        "size_bytes": 16 * _GIB,
        "type": "DDR4",
        "speed_mts": 3200,
        "manufacturer": "Samsung",
    }


def _disk(serial: str, size_gb: int) -> dict[str, object]:
    return {
        "device": "/dev/nvme0n1",
        "size_bytes": size_gb * 1_000_000_000 // 4096 * 4096,
        "kind": "nvme",
        "model": "SAMSUNG MZQL2960HCJR-00A07",
        "serial": serial,
        "bus": "nvme",
        "contents": [],
    }
