"""One machine at each step of the lifecycle, one fault for all of them, and what must hold after.

A group is one row of the fault table: its machines stand still at their steps when the fault comes,
then all go on, and each cell is held against the same rules. Nothing is installed twice, or without
an approval; nothing is lost that was acknowledged; the history is whole.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.fault_machine import STAGES
from tests.support.fault_site import TIMEOUT_S, FaultSite, Machine
from tests.support.fault_table import STEPS
from tests.support.polling import until

CLAIMED = frozenset({"claimed", "partitioning", "downloading", "installing", "configuring"})
"""Where the single-use intent is taken and the last word not said: who dies there has failed."""

WAY = (
    "pending",
    "ready",
    "booting",
    "pending_approval",
    "approved",
    "installing",
    "completed",
)
SLOW_MBIT = 4.0
"""The download of a machine that is met in the middle of it takes seconds."""
COMPARED = 150
"""Characters of a log line: the store cuts what is longer than it takes."""
APPROVE_EVERY_S = 0.1
UNDER_FAULT_S = 60.0
ONCE = ("task.created", "task.approved", "task.installing", "task.completed")


class Fault(ABC):
    """What breaks, and how it is mended."""

    name: str
    kills_agents = False
    installs_go_on = True
    """Whether what was approved installs to its end before the fault is mended."""

    @abstractmethod
    async def strike(self, site: FaultSite) -> None:
        """Break it."""

    @abstractmethod
    async def mend(self, site: FaultSite) -> None:
        """Mend it."""


class ControlPlaneKilled(Fault):
    """kill -9 of the control plane."""

    name = "control plane"

    async def strike(self, site: FaultSite) -> None:
        await site.control.kill()

    async def mend(self, site: FaultSite) -> None:
        await site.control.start()


class RegionKilled(Fault):
    """kill -9 of the regional client."""

    name = "region"
    installs_go_on = False

    async def strike(self, site: FaultSite) -> None:
        await site.region.kill()

    async def mend(self, site: FaultSite) -> None:
        await site.region.start()


class AllKilled(RegionKilled):
    """kill -9 of `lpmos up`: control plane, region and store at once."""

    name = "lpmos up"


class AgentKilled(Fault):
    """kill -9 of every agent: the machine boots again, as a new run."""

    name = "agent"
    kills_agents = True

    async def strike(self, site: FaultSite) -> None:
        """The group pulls the plugs itself."""

    async def mend(self, site: FaultSite) -> None:
        """The group powers on."""


class EtcdLeaderKilled(Fault):
    """kill -9 of the etcd member that leads."""

    name = "etcd leader"

    async def strike(self, site: FaultSite) -> None:
        self._members = [await site.cluster.leader()]
        await asyncio.gather(*(member.kill() for member in self._members))

    async def mend(self, site: FaultSite) -> None:
        await asyncio.gather(*(member.start() for member in self._members))


class EtcdFollowerKilled(EtcdLeaderKilled):
    """kill -9 of an etcd member that follows."""

    name = "etcd follower"

    async def strike(self, site: FaultSite) -> None:
        leader = await site.cluster.leader()
        self._members = [member for member in site.cluster.members if member is not leader][:1]
        await asyncio.gather(*(member.kill() for member in self._members))


class QuorumLost(EtcdLeaderKilled):
    """kill -9 of two etcd members of three, one of them the leader."""

    name = "etcd quorum"

    async def strike(self, site: FaultSite) -> None:
        leader = await site.cluster.leader()
        others = [member for member in site.cluster.members if member is not leader]
        self._members = [leader, others[0]]
        await asyncio.gather(*(member.kill() for member in self._members))


class LinkCut(Fault):
    """The region's way to etcd is cut: connections end, new ones are refused."""

    name = "link cut"

    async def strike(self, site: FaultSite) -> None:
        await asyncio.gather(*(link.cut() for link in site.links))

    async def mend(self, site: FaultSite) -> None:
        await asyncio.gather(*(link.heal() for link in site.links))


class BlackHole(LinkCut):
    """The region's way to etcd swallows everything, and no connection ends."""

    name = "black hole"

    async def strike(self, site: FaultSite) -> None:
        for link in site.links:
            link.black_hole()


KILLED: tuple[type[Fault], ...] = (
    ControlPlaneKilled,
    RegionKilled,
    AgentKilled,
    EtcdLeaderKilled,
    EtcdFollowerKilled,
)
CUT_OFF: tuple[type[Fault], ...] = (QuorumLost, LinkCut, BlackHole)
EMBEDDED: tuple[type[Fault], ...] = (AllKilled, AgentKilled)


@dataclass(frozen=True)
class Cell:
    """What came of one step under one fault; `wrong` is empty where every rule held."""

    outcome: str
    wrong: tuple[str, ...] = ()


class Rows:
    """The rows of one site's table, each made when the first of its cells is asked for."""

    def __init__(self, site: FaultSite) -> None:
        self._site = site
        self._cells: dict[str, dict[str, Cell]] = {}

    async def cell(self, fault: type[Fault], step: str) -> Cell:
        """What came of this step under this fault."""
        if fault.name not in self._cells:
            try:
                self._cells[fault.name] = await Group(self._site, fault()).run()
            except (AssertionError, TimeoutError) as error:
                broken = Cell("the group did not end", (f"{error!r}",))
                self._cells[fault.name] = dict.fromkeys(STEPS, broken)
        return self._cells[fault.name][step]


class Group:
    """The machines of one row of the table."""

    def __init__(self, site: FaultSite, fault: Fault) -> None:
        self._site = site
        self._fault = fault
        prefix = fault.name.replace(" ", "-")
        self._machines = {
            step: site.machine(f"{prefix}-{step.replace('_', '-')}") for step in STEPS
        }

    async def run(self) -> dict[str, Cell]:
        """Bring all to their steps, break, mend, go on; what came of each."""
        await self._take_places()
        await self._site.create_task(self._machines["created"])
        await self._break()
        await ended_all(self._site, {m: self._end(s) for s, m in self._machines.items()})
        return {step: await self._cell(step) for step in STEPS}

    async def _take_places(self) -> None:
        """Every machine stands still at its step; the one of `created` has no task yet."""
        site, at = self._site, self._machines
        if self._fault.kills_agents:  # they boot before they have a task, and wait without a word
            for step in ("created", "ready"):
                await at[step].power_on("booting")
            await self._until_held(dict.fromkeys(("created", "ready"), "booting"))
        await asyncio.gather(*(site.create_task(at[step]) for step in STEPS[1:]))
        await site.until_status({at[step]: "ready" for step in STEPS[1:]})
        for step in STEPS[2:]:
            await at[step].power_on(*_power(step))
        decided = STEPS[4:]
        await site.until_status({at[step]: "pending_approval" for step in STEPS[3:]})
        await asyncio.gather(*(site.approve(at[step]) for step in decided))
        held = {step: step for step in STEPS if step in {"booting", *decided} - {"downloading"}}
        await self._until_held({**held, "downloading": "approved"})
        at["downloading"].go_on()
        await until(self._all_told, TIMEOUT_S)

    async def _until_held(self, wanted: Mapping[str, str]) -> None:
        async def so() -> bool:
            return all(self._machines[step].holds(at) for step, at in wanted.items())

        await until(so, TIMEOUT_S)

    async def _all_told(self) -> bool:
        return await told_all(self._site, self._machines)

    async def _break(self) -> None:
        machines = self._machines
        if self._fault.kills_agents:
            await asyncio.gather(*(machine.pull_plug() for machine in machines.values()))
            for machine in machines.values():
                await machine.power_on()
            return
        await self._fault.strike(self._site)
        for step, machine in machines.items():
            if step in {"created", "ready"}:
                await machine.power_on()
            machine.go_on()
        if self._fault.installs_go_on:
            await until(self._approved_installed, UNDER_FAULT_S)
        await self._fault.mend(self._site)

    async def _approved_installed(self) -> bool:
        return all(self._machines[step].installed for step in STEPS[4:])

    def _end(self, step: str) -> str:
        return "failed" if self._fault.kills_agents and step in CLAIMED else "completed"

    async def _cell(self, step: str) -> Cell:
        failed = self._end(step) == "failed"
        begun = 0 if step == "claimed" and failed else 1
        wrong = await self._wrong(self._machines[step], begun=begun, failed=failed)
        return Cell("failed: restarted" if failed else "installed once", wrong)

    async def _wrong(self, machine: Machine, *, begun: int, failed: bool) -> tuple[str, ...]:
        return tuple(await wrong_in(self._site, machine, begun=begun, failed=failed))


async def told_all(site: FaultSite, machines: Mapping[str, Machine]) -> bool:
    """Whether the store has each stage that a machine stands in."""
    for step in STAGES:
        task = await site.task(machines[step]) if step in machines else {"progress": []}
        told = {word["step"] for word in task["progress"]}
        if step in machines and step not in told:
            return False
    return True


async def installed_all(site: FaultSite, machines: Iterable[Machine]) -> None:
    """Approve whatever waits for it until all machines are installed and the log tells of it."""
    await ended_all(site, dict.fromkeys(machines, "completed"))


async def ended_all(site: FaultSite, ends: Mapping[Machine, str]) -> None:
    """Approve whatever waits for it until each task has its end, and the audit log tells of it."""

    async def quiet() -> bool:
        if any(machine.runs for machine in ends):
            return False
        return all([(await site.audited(m))[f"task.{status}"] for m, status in ends.items()])

    async with _approving(site, ends):
        await site.until_status(ends)
    await until(quiet, TIMEOUT_S)


async def wrong_in(
    site: FaultSite,
    machine: Machine,
    *,
    begun: int = 1,
    failed: bool = False,
    clocks_agree: bool = True,
) -> list[str]:
    """Which rules do not hold for a machine that was installed once, or has failed in its install.

    `begun` is how often its disk may have been written; times are in order where `clocks_agree`.
    """
    task = await site.task(machine)
    told = await site.audited(machine)
    wrong = [
        *_wrong_history(task, machine, failed=failed),
        *_wrong_times(task, clocks_agree=clocks_agree),
        *_wrong_disk(machine, begun, failed=failed),
        *_wrong_words(task, machine),
        *(f"{told[each]} × {each}" for each in ONCE if told[each] != 1 and not failed),
    ]
    if failed and (task["error"] or {}).get("code") != "machine-restarted":
        wrong.append(f"failed for another reason: {task['error']}")
    return wrong


@asynccontextmanager
async def _approving(site: FaultSite, machines: Iterable[Machine]) -> AsyncIterator[None]:
    """Somebody approves whatever waits for it."""
    waiting = {machine.task_id: machine for machine in machines}

    async def approve() -> None:
        while True:
            for task_id, status in (await site.statuses()).items():
                if status == "pending_approval" and task_id in waiting:
                    await site.try_to_approve(waiting[task_id])
            await asyncio.sleep(APPROVE_EVERY_S)

    task = asyncio.create_task(approve())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def _power(step: str) -> tuple[str | None, float | None]:
    """Where the machine of a step stands still, and how fast its network is."""
    if step == "downloading":
        return "approved", SLOW_MBIT
    return (None if step == "pending_approval" else step), None


def _wrong_history(task: dict[str, Any], machine: Machine, *, failed: bool) -> Iterable[str]:
    seen = [change["status"] for change in task["status_history"]]
    way = [*WAY[:-1], "failed"] if failed else list(WAY)
    if "agent" not in machine.boots:  # it waited in discovery when its task came, and boots no more
        way.remove("booting")
    if seen != way:
        yield f"history is {' '.join(seen)}"


def _wrong_times(task: dict[str, Any], *, clocks_agree: bool) -> Iterable[str]:
    times = [change["timestamp"] for change in task["status_history"]]
    if clocks_agree and times != sorted(times):
        yield "history is not in order of time"


def _wrong_disk(machine: Machine, begun: int, *, failed: bool) -> Iterable[str]:
    if machine.installs_begun != begun:
        yield f"{machine.installs_begun} installs were begun, not {begun}"
    if not failed and machine.boots[-1:] != ["disk"]:
        yield f"boots were {' '.join(machine.boots)}: it does not end at its own disk"


def _wrong_words(task: dict[str, Any], machine: Machine) -> Iterable[str]:
    """What was acknowledged and is not there."""
    if task["log_count"] != len(task["logs"]):
        return
    said = (line.partition(" ")[2].replace("[agent] ", "", 1) for line in task["logs"])
    kept = {line[:COMPARED] for line in said}
    heard = (" ".join(line.split())[:COMPARED] for line in machine.lines_heard)
    lost = [line for line in heard if line not in kept]
    if lost:
        yield f"{len(lost)} acknowledged log lines are lost: {lost[:3]}"
