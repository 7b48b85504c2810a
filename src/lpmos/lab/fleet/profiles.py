"""What each machine of a simulated fleet is, and what goes wrong with it: all from one seed.

Pure: the same specification is always the same fleet, so a run can be repeated.
"""

import random
from enum import StrEnum
from typing import Any

import msgspec

LOSS = 0.02
"""The share of a lossy machine's calls that get lost, half on their way there, half back."""
MODELS = (
    ("Dell Inc.", "PowerEdge R650", 1.0),
    ("HPE", "ProLiant DL360 Gen10 Plus", 1.2),
    ("Supermicro", "AS-1114S-WN10RT", 0.8),
    ("Lenovo", "ThinkSystem SR630 V2", 1.1),
)
"""Vendor, product, and how long its installs take against the usual."""
GIB = 1 << 30
DAY_S = 86_400


class Fault(StrEnum):
    """What goes wrong with a machine."""

    LOSS = "loss"
    SLOW_DISK = "slow-disk"
    REBOOT = "reboot"
    """It starts again once, at a moment where that does no harm."""
    CRASH = "crash"
    """It loses its power in its install, of every fourth just after the claim, and boots again."""
    DISK_FAILS = "disk-fails"
    DUPLICATE_SERIAL = "duplicate-serial"
    """It says the serial number of the machine before it in its region, in all it says."""
    CLOCK_SKEW = "clock-skew"


SHARES: dict[Fault, float] = {
    Fault.LOSS: 0.10,
    Fault.SLOW_DISK: 0.03,
    Fault.REBOOT: 0.04,
    Fault.CRASH: 0.02,
    Fault.DISK_FAILS: 0.02,
    Fault.DUPLICATE_SERIAL: 0.01,
    Fault.CLOCK_SKEW: 0.03,
}
FAILS = frozenset({Fault.CRASH, Fault.DISK_FAILS})
"""Whose tasks have to fail: a half written disk is never called complete."""


class FleetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A fleet. `install_s` is how long the usual install of a machine takes, `boot_s` in how many
    seconds all are powered on."""

    machines: int
    regions: int = 1
    seed: int = 1
    faults: bool = True
    install_s: float = 20.0
    boot_s: float = 60.0


class Profile(msgspec.Struct, frozen=True, kw_only=True):
    """One machine; `seed` is for what it does by chance.

    `sn` names its task; `says_sn` is what its firmware and agent say, which of a twin is another's.
    """

    number: int
    idc: str
    sn: str
    says_sn: str
    mac: str
    address: str
    vendor: str
    model: str
    serial: str
    disk: str
    power_on_s: float
    install_s: float
    crash_at: float
    clock_skew_s: float
    faults: frozenset[Fault]
    seed: int

    @property
    def must_fail(self) -> bool:
        """Whether its task may not complete."""
        return bool(self.faults & FAILS)

    def has(self, fault: Fault) -> bool:
        """Whether this goes wrong with it."""
        return fault in self.faults


def profiles(spec: FleetSpec) -> tuple[Profile, ...]:
    """Every machine of the fleet, in the order of their numbers."""
    chance = random.Random(spec.seed)  # noqa: S311 - a fleet that can be repeated, no secret
    found: list[Profile] = []
    for number in range(spec.machines):
        before = found[-spec.regions] if number >= spec.regions else None
        found.append(_profile(spec, number, before, chance))
    return tuple(found)


def idcs(spec: FleetSpec) -> tuple[str, ...]:
    """The data centers."""
    return tuple(f"dc{number}" for number in range(1, spec.regions + 1))


def inventory(profile: Profile, collected_at: str) -> dict[str, Any]:
    """What the machine's agent reports (G2)."""
    return {
        "collected_at": collected_at,
        "boot_mode": "uefi",
        "product": {
            "vendor": profile.vendor,
            "name": profile.model,
            "serial": profile.serial,
        },
        "cpu": {"model": "Example 9000", "sockets": 2, "cores": 64, "threads": 128},
        "memory": {"total_bytes": 512 * GIB, "dimms": []},
        "disks": [
            {
                "device": "/dev/nvme0n1",
                "size_bytes": 960_000_000_000,
                "kind": "nvme",
                "model": "SAMSUNG MZQL2960HCJR-00A07",
                "serial": profile.disk,
                "contents": [],
            }
        ],
        "nics": [
            {
                "interface": "eno1",
                "mac": profile.mac,
                "speed_mbps": 10_000,
                "driver": "ixgbe",
                "carrier": True,
                "booted": True,
            }
        ],
        "agent_version": "fleet",
    }


def _profile(
    spec: FleetSpec, number: int, before: Profile | None, chance: random.Random
) -> Profile:
    idc = idcs(spec)[number % spec.regions]
    vendor, model, pace = chance.choice(MODELS)
    drawn = {fault for fault, share in SHARES.items() if chance.random() < share}
    faults = frozenset(drawn) if spec.faults else frozenset[Fault]()
    sn = f"FLEET-{number:05d}"
    twin = before if Fault.DUPLICATE_SERIAL in faults else None
    slow = 4.0 if Fault.SLOW_DISK in faults else 1.0
    return Profile(
        number=number,
        idc=idc,
        sn=sn,
        says_sn=twin.sn if twin else sn,
        mac="52:54:00:" + ":".join(f"{number >> shift & 255:02x}" for shift in (16, 8, 0)),
        address=f"127.{64 + (number >> 16)}.{number >> 8 & 255}.{number & 255}",
        vendor=vendor,
        model=model,
        serial=twin.serial if twin else f"SER-{number:05d}",
        disk=f"{number:012X}",
        power_on_s=chance.uniform(0, spec.boot_s),
        install_s=spec.install_s * pace * slow * chance.uniform(0.8, 1.25),
        crash_at=chance.choice((0.0, *(chance.uniform(5, 95) for _ in range(3)))),
        clock_skew_s=chance.uniform(-DAY_S, DAY_S) if Fault.CLOCK_SKEW in faults else 0.0,
        faults=faults,
        seed=chance.getrandbits(32),
    )
