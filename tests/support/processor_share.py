"""Who comes first on the processors where several processes share the tests.

Niceness alone does not say it: where the kernel groups processes by session (sched(7), "The
autogroup feature") it counts only within one, and most of what the tests start has a session of its
own. So the tests' processes stand in two control groups, guests and others, and all that they start
stands in the same one. Where that may not be done there are no such groups of sessions either (in a
container, in a user's session), and niceness counts.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Final

WEIGHTS: Final[Mapping[str, float]] = MappingProxyType({"guests": 4.0, "others": 2.0})
"""Of all in a group together, over a single program's. All wait for the end of the guests; had they
still more, what others do in a given time would starve."""
NICENESS: Final = 4
"""Of others than guests, where it counts."""
_PREFIX: Final = "lpmos-tests-"


def join(name: str) -> None:
    """Let this process, and what it starts from now on, share the processors as one of `name`."""
    for group, file, usual in _hierarchies():
        with suppress(OSError):
            mine = group / f"{_PREFIX}{name}"
            mine.mkdir(exist_ok=True)
            (mine / file).write_text(f"{round(usual * WEIGHTS[name])}")
            (mine / "cgroup.procs").write_text(f"{os.getpid()}")
            return
    if name == "others":
        os.setpriority(os.PRIO_PROCESS, 0, max(NICENESS, os.getpriority(os.PRIO_PROCESS, 0)))


def leave_none() -> None:
    """Remove the groups that nobody is in any more."""
    for group, _, _ in _hierarchies():
        for name in WEIGHTS:
            with suppress(OSError):
                (group / f"{_PREFIX}{name}").rmdir()


def _hierarchies() -> Iterator[tuple[Path, str, int]]:
    """Where groups may be made: below which one, and the file and usual value of a weight.

    cgroups(7), "Cgroups version 1" and "version 2"; a process that has joined a group here makes
    the next one beside it.
    """
    with suppress(OSError):
        paths = _own_groups()
        for line in Path("/proc/self/mounts").read_text().splitlines():
            _, place, kind, options, *_ = line.split()
            if kind == "cgroup" and "cpu" in options.split(",") and "cpu" in paths:
                yield Path(place + paths["cpu"]), "cpu.shares", 1024
            elif kind == "cgroup2" and "" in paths:
                yield Path(place + paths[""]), "cpu.weight", 100


def _own_groups() -> dict[str, str]:
    """The group of this process in each hierarchy, by controller; "" is version 2."""
    found = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        parent, _, name = path.rpartition("/")
        for controller in controllers.split(","):
            found[controller] = parent if name.startswith(_PREFIX) else path.rstrip("/")
    return found
