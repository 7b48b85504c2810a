"""What a rule would say of the machines that are there, without anything being done.

The rule is asked in a thread, and between any two machines the thread gives way, so that thousands
of machines delay no other call. Time and output are bounded: an answer says how far it came.
"""

import asyncio
import threading
import time
from collections.abc import Iterator

import msgspec

from lpmos.core.fleet import Fleet, Unmatched
from lpmos.core.machineindex import MachineQuery
from lpmos.core.rules.conditions import Verdict
from lpmos.core.rules.rules import judge_report, judge_task
from lpmos.core.unmatched_index import UnmatchedRow
from lpmos.model.access import sees
from lpmos.model.errors import TooBusy
from lpmos.model.inventory import Inventory
from lpmos.model.machine import Machine, UnmatchedReport
from lpmos.model.rule import Rule
from lpmos.model.task import Task
from lpmos.store import keys, records

BUDGET_S = 20.0
AT_ONCE = 2
LINES = 100
"""How many machines are named of those that match, and of those that do not."""

MACHINES = 1_000_000


class DryRunLine(msgspec.Struct, frozen=True, kw_only=True):
    """What the rule says of one machine; `unmatched` where it has only reported itself."""

    idc: str
    sn: str | None
    mac: str | None
    unmatched: bool
    matched: bool
    reason: str


class DryRunResult(msgspec.Struct, frozen=True, kw_only=True):
    """The counts, and the first machines that match and that do not.

    A machine without an inventory is looked at and neither. Not `complete`: the time was over.
    """

    total: int
    looked_at: int
    matched: int
    not_matched: int
    complete: bool
    machines: list[DryRunLine]


class DryRuns:
    """Asks a rule of all machines that a tenant sees; a few callers at once."""

    def __init__(self, fleet: Fleet, *, budget_s: float = BUDGET_S) -> None:
        self._fleet = fleet
        self._budget_s = budget_s
        self._running = 0

    async def run(self, rule: Rule, tenant: str | None) -> DryRunResult:
        """Ask the rule.

        Args:
            rule: enabled or not, stored or not.
            tenant: whose machines; None: all.

        Raises:
            TooBusy: others try rules at this moment.
        """
        if self._running >= AT_ONCE:
            raise TooBusy("others try rules at this moment; try again")
        candidates = self._candidates(rule, tenant)
        stop = threading.Event()
        self._running += 1
        try:
            return await asyncio.to_thread(self._ask_all, rule, tenant, candidates, stop)
        finally:
            stop.set()
            self._running -= 1

    def _candidates(self, rule: Rule, tenant: str | None) -> list[tuple[str, str] | UnmatchedRow]:
        """The places of the machines that reported, and for a `create` rule the waiting reports."""
        rows, _ = self._fleet.machine_page(MachineQuery(tenant=tenant, limit=MACHINES))
        found: list[tuple[str, str] | UnmatchedRow] = [row.place for row in rows if row.revision]
        if rule.fields.kind == "create" and tenant is None:
            found += self._fleet.unmatched()
        return found

    def _ask_all(
        self,
        rule: Rule,
        tenant: str | None,
        candidates: list[tuple[str, str] | UnmatchedRow],
        stop: threading.Event,
    ) -> DryRunResult:
        until = time.monotonic() + self._budget_s
        counts = {True: 0, False: 0}
        lines: list[DryRunLine] = []
        looked_at = 0
        for candidate in candidates:
            if stop.is_set() or time.monotonic() > until:
                break
            looked_at += 1
            for line in self._ask(rule, tenant, candidate):
                counts[line.matched] += 1
                if counts[line.matched] <= LINES:
                    lines.append(line)
            time.sleep(0)  # gives way to the thread that answers other calls
        return DryRunResult(
            total=len(candidates),
            looked_at=looked_at,
            matched=counts[True],
            not_matched=counts[False],
            complete=looked_at == len(candidates),
            machines=sorted(lines, key=lambda line: not line.matched),
        )

    def _ask(
        self, rule: Rule, tenant: str | None, candidate: tuple[str, str] | UnmatchedRow
    ) -> Iterator[DryRunLine]:
        """The line of a machine or report; nothing where it is gone or has no inventory."""
        if isinstance(candidate, UnmatchedRow):
            found = self._fleet.unmatched_report(candidate.idc, candidate.rest)
            if found is not None:
                yield _line(found, judge_report(rule, found), unmatched=True)
            return
        machine = self._fleet.machine(*candidate)
        if machine is None or machine.inventory is None:
            return
        as_reported = _as_reported(machine, machine.inventory)
        if rule.fields.kind == "create":
            yield _line(as_reported, judge_report(rule, as_reported), unmatched=False)
        else:
            verdict = self._judge_last_task(rule, tenant, machine)
            yield _line(as_reported, verdict, unmatched=False)

    def _judge_last_task(self, rule: Rule, tenant: str | None, machine: Machine) -> Verdict:
        """As if the machine's present or last task waited for approval now."""
        kv = self._fleet.stored(keys.task(machine.idc, machine.sn))
        task = records.decode(kv, Task) if kv else None
        if task is None or not sees(tenant, task.tenant):
            return Verdict(False, "the machine has no task")
        hardware = task.hardware or machine.inventory
        return judge_task(rule, msgspec.structs.replace(task, hardware=hardware))


def _as_reported(machine: Machine, hardware: Inventory) -> Unmatched:
    """A machine as if it reported itself without a task."""
    report = UnmatchedReport(
        mac_address=machine.macs[0] if machine.macs else "",
        region=machine.idc,
        sn=machine.sn,
        hardware=hardware,
        received_at=machine.updated_at,
        error="",
    )
    return Unmatched(machine.idc, "", report, 0)


def _line(found: Unmatched, verdict: Verdict, *, unmatched: bool) -> DryRunLine:
    report = found.report
    return DryRunLine(
        idc=found.idc,
        sn=report.sn,
        mac=report.mac_address or None,
        unmatched=unmatched,
        matched=verdict.matched,
        reason=verdict.reason,
    )
