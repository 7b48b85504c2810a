"""Reads how far mmdebstrap is from what it prints with `--verbose`.

It has two rounds of apt and dpkg: the essential packages, then the rest. In each, apt announces how
many packages come and fetches them, and dpkg unpacks and sets up each. The initrd is made last.
"""

import re
from typing import NamedTuple


class _Stretch(NamedTuple):
    """The part of the whole that a phase takes, by the time it takes, and its message."""

    start: float
    end: float
    message: str


_PHASES = {
    "running apt-get update": _Stretch(0.0, 0.02, "reading the package lists"),
    "downloading packages with apt": _Stretch(0.02, 0.06, "fetching the essential packages"),
    "extracting archives": _Stretch(0.06, 0.1, "unpacking the essential packages"),
    "installing essential packages": _Stretch(0.1, 0.25, "installing the essential packages"),
    "installing remaining packages inside the chroot": _Stretch(0.25, 0.65, "installing packages"),
    "cleaning package lists and apt cache": _Stretch(0.98, 1.0, "removing package lists"),
}
_INITRD = _Stretch(0.65, 0.98, "making the initrd")
_FETCHING_SHARE = 0.25
"""How much of installing the remaining packages is fetching them."""

_ANNOUNCED = re.compile(r"\d+ upgraded, (?P<count>\d+) newly installed")
_FETCHED = re.compile(r"Get:(?P<number>\d+) \S+ \S+ \S+ (?P<package>\S+) \S+ \S+ \[")
_HANDLED = re.compile(r"(?P<what>Unpacking|Setting up) (?P<package>[^\s:]+)")


class MmdebstrapProgress:
    """Takes the output line by line; the fraction never falls."""

    def __init__(self) -> None:
        self._phase: _Stretch | None = None
        self._packages = 1
        self._handled = 0

    def feed(self, line: str) -> tuple[float, str] | None:
        """What a line says: how much is done (0 to 1) and a message; None where it says nothing."""
        if line.startswith("I: "):
            return self._enter(_PHASES.get(line[3:].strip().rstrip(".")))
        if line.startswith("update-initramfs: Generating"):
            return self._enter(_INITRD)
        if self._phase is None:
            return None
        if match := _ANNOUNCED.match(line):
            self._packages, self._handled = max(int(match["count"]), 1), 0
        elif match := _FETCHED.match(line):
            share = _FETCHING_SHARE if "installing" in self._phase.message else 1.0
            done = share * int(match["number"]) / self._packages
            return self._within(done, f"fetching {match['package']}")
        elif match := _HANDLED.match(line):
            self._handled += 1
            done = self._handled / (2 * self._packages)
            verb = "unpacking" if match["what"] == "Unpacking" else "setting up"
            done = _FETCHING_SHARE + (1 - _FETCHING_SHARE) * done
            return self._within(done, f"{verb} {match['package']}")
        return None

    def _enter(self, phase: _Stretch | None) -> tuple[float, str] | None:
        if phase is None or (self._phase is not None and phase.start < self._phase.start):
            return None
        self._phase = phase
        return phase.start, phase.message

    def _within(self, share: float, message: str) -> tuple[float, str] | None:
        if self._phase is None:
            return None
        start, end, _ = self._phase
        return start + (end - start) * min(share, 1.0), message
