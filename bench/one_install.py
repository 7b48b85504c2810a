"""One install by the agent's own code, alone in its process: its peak of memory, and its time.

    python -m bench.one_install PLAN REGION_URL DIRECTORY

`bench.agent_memory` starts it. It imports nothing but the agent, so that the process is no larger
than the agent's. What runs in the new root is left out: the image holds no programs.
"""

import json
import re
import resource
import sys
import time
from pathlib import Path

from lpmos.agent.console import Console
from lpmos.agent.installer import Installer
from lpmos.agent.inventory.tree import Tree
from lpmos.agent.job import Job
from lpmos.agent.pace import Pace
from lpmos.agent.plan import parse_plan
from lpmos.agent.region import Region
from lpmos.agent.stop import Stop
from tests.support.outside_commands import CommandsOutside

NONE_LEFT_OUT = re.compile(r"(?!)")


class TreeWithOwnLinks(Tree):
    """This machine's tree, but for the links that the agent makes in `/dev`."""

    def __init__(self, links: Path) -> None:
        super().__init__()
        self._links = links

    def path(self, name: str) -> Path:
        """Where it is."""
        return self._links / name if name.startswith("dev/disk/") else super().path(name)


def main(plan_file: Path, url: str, directory: Path) -> None:
    """Install, and say the peaks of this process and of the largest of its programs."""
    plan = parse_plan(json.loads(plan_file.read_bytes()))
    console, stop = Console(), Stop()
    job = Job(Region(url), console, stop, Pace(), lambda _: None)
    installer = Installer(
        CommandsOutside(stop, console.info),
        TreeWithOwnLinks(directory),
        job,
        target=directory / "target",
        not_disks=NONE_LEFT_OUT,
    )
    began = time.monotonic()
    installer.run(plan)
    took_s = time.monotonic() - began
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    programs_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(json.dumps([int(found[1]), programs_kb, took_s]))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
