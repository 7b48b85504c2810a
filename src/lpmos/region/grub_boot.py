"""What GRUB reads from the region, by name: scripts of machines, and the files that these name.

The rule: the answer to a machine is that of HTTP boot (`boot`), and files have the same names; as
there, nothing is answered but by the active client of a region.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

from lpmos.install.installers import FILES
from lpmos.model.errors import NotFound
from lpmos.region import grub
from lpmos.region.boot import Boot, Caller
from lpmos.region.evidence import EvidenceBook
from lpmos.region.reached import Reached
from lpmos.store.fenced import NotActive

_AGENT: Final = re.compile(r"boot/agent/([0-9a-f]{64})/(vmlinuz|initramfs)")
_INSTALLER: Final = re.compile(rf"{FILES.lstrip('/')}/([0-9a-f]{{64}})")
_MACHINE: Final = re.compile(rf"{grub.MACHINE}([0-9a-fA-F:]{{17}})(?:/(.*))?", re.DOTALL)
ARCHITECTURE: Final = "x86_64"
"""Of the only signed GRUB that a region serves."""


class GrubBoot:
    """Finds what a `TftpServer` is asked for."""

    def __init__(
        self, boot: Boot, reached: Reached, evidence: EvidenceBook, active: Callable[[], bool]
    ) -> None:
        self._boot = boot
        self._reached = reached
        self._evidence = evidence
        self._active = active

    async def find(self, name: str, ip: str, at: str) -> bytes | Path:
        """What stands behind a name, for who asks from `ip` at our address `at`.

        Raises:
            NotFound: nothing does.
            NotActive: another client of the region answers now.
        """
        self._check_active()
        found = await self._find(name, ip, at)
        self._check_active()
        return found

    def _check_active(self) -> None:
        if not self._active():
            raise NotActive("this client of the region is not the active one; ask again")

    async def _find(self, name: str, ip: str, at: str) -> bytes | Path:
        if found := _MACHINE.fullmatch(name):
            query = {"mac": found[1], "sn": found[2] or "", "arch": ARCHITECTURE}
            query["platform"] = "efi"
            answer = await self._boot.answer(query, Caller(ip, self._reached.url_at(at), grub))
            self._evidence.told_by_tftp(found[1], ip, answer.told)
            return answer.text.encode()
        if found := _AGENT.fullmatch(name):
            return self._boot.agent_file(found[1], found[2])
        if found := _INSTALLER.fullmatch(name):
            return self._boot.installer_file(found[1])
        raise NotFound(f"there is nothing behind {name[:100]!r}")
