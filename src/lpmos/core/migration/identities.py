"""Which machine each old task is of: one machine for a serial number, one for a MAC address.

A task without a serial number is of the machine that has its MAC; where none has, the serial number
is made from the MAC, as for a new task. What contradicts is never merged: every task that it
concerns is put aside.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from lpmos.core.migration.entries import Finding
from lpmos.core.migration.oldtask import OldTask
from lpmos.core.migration.standing import Standing
from lpmos.model.machine import Mac, sn_from_mac


class Identities:
    """Serial numbers by MAC, from all old tasks and lists and from v3."""

    def __init__(
        self, tasks: Iterable[OldTask], listed: Mapping[tuple[str, str], set[str]], known: Standing
    ) -> None:
        """`listed` are the serial numbers that lists of servers give a MAC, by data center."""
        self._names: dict[tuple[str, str], set[str]] = defaultdict(set)
        for place, names in listed.items():
            self._names[place] |= names
        for task in tasks:
            if task.sn is not None:
                self._names[task.idc, task.mac].add(task.sn)
        for place, sn in known.macs.items():
            self._names[place].add(sn)

    def names(self, idc: str, mac: str) -> list[str]:
        """Every serial number that a MAC goes by; the one made from it where there is none."""
        return sorted(self._names.get((idc, mac), ())) or [sn_from_mac(Mac(mac))]

    def machines(
        self, tasks: Iterable[OldTask], known: Standing
    ) -> tuple[dict[tuple[str, str], list[OldTask]], list[Finding]]:
        """The tasks of each machine, and those that are put aside.

        A task that was carried over before stays with its machine.
        """
        machines: dict[tuple[str, str], list[OldTask]] = defaultdict(list)
        findings: list[Finding] = []
        for task in tasks:
            done = known.done.get(task.task_id)
            names = [done.sn] if done else self.names(task.idc, task.mac)
            if len(names) > 1:
                reason = f"MAC {task.mac} is of several machines: {', '.join(names)}"
                findings.append(refused(task, "duplicate-mac", reason))
            else:
                machines[task.idc, task.sn if task.sn and not done else names[0]].append(task)
        for place, group in machines.items():
            if macs := _contradicting(group):
                reason = f"serial number {place[1]} is of machines with MACs {', '.join(macs)}"
                aside = [task for task in group if task.task_id not in known.done]
                findings += [refused(task, "duplicate-serial", reason) for task in aside]
                machines[place] = [task for task in group if task.task_id in known.done]
        return machines, findings


def refused(task: OldTask, kind: str, reason: str) -> Finding:
    """A task that is put aside."""
    return Finding(key=task.place, kind=kind, reason=reason, task_id=task.task_id)


def _contradicting(group: Sequence[OldTask]) -> list[str]:
    """The MACs of one serial number, where no report shows that one machine has them all."""
    macs = {task.mac for task in group}
    if len(macs) == 1 or any(macs <= set(task.macs) for task in group):
        return []
    return sorted(macs)
