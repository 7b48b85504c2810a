"""What GRUB is answered, and by whom."""

from pathlib import Path
from typing import cast

import pytest

from lpmos.region.boot import Boot
from lpmos.region.evidence import EvidenceBook
from lpmos.region.grub_boot import GrubBoot
from lpmos.region.reached import Reached
from lpmos.store.fenced import NotActive

KERNEL = f"boot/agent/{'a' * 64}/vmlinuz"


class AgentFiles:
    """Of `Boot`, what finds the agent's files."""

    def __init__(self) -> None:
        self.asked = 0

    def agent_file(self, sha256: str, name: str) -> Path:
        self.asked += 1
        return Path(name)


@pytest.mark.parametrize(("active", "asked"), [([False], 0), ([True, False], 1)])
async def test_client_that_is_not_active_before_and_after_the_work_answers_nothing(
    active: list[bool], asked: int
) -> None:
    files = AgentFiles()
    reached = Reached("http://192.0.2.1:8081", ())
    turns = iter(active)
    boot = GrubBoot(cast(Boot, files), reached, cast(EvidenceBook, None), lambda: next(turns))
    with pytest.raises(NotActive):
        await boot.find(KERNEL, "192.0.2.9", "192.0.2.1")
    assert files.asked == asked


async def test_active_client_answers() -> None:
    reached = Reached("http://192.0.2.1:8081", ())
    boot = GrubBoot(cast(Boot, AgentFiles()), reached, cast(EvidenceBook, None), lambda: True)
    assert await boot.find(KERNEL, "192.0.2.9", "192.0.2.1") == Path("vmlinuz")
