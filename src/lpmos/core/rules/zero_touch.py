"""Zero touch (H7): an unknown machine that reported itself gets the task that a rule says.

Only a machine of which nothing is known gets one: none of its MACs and not its serial number may
ever have had a task or a record, so that no rule installs over a machine that is in use. The store
itself holds to it: the checks are part of the transaction that creates the task.
"""

from collections.abc import Sequence

from lpmos.core.documents import Held
from lpmos.core.fleet import Fleet, Unmatched
from lpmos.core.rules.rules import rule_holds
from lpmos.core.tasks import Tasks
from lpmos.core.unmatched_reports import macs_of, report_id
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict
from lpmos.model.newtask import TaskSpec
from lpmos.model.rule import Rule, rule_actor, task_of_rule
from lpmos.model.task import Task
from lpmos.store import keys
from lpmos.store.api import Compare, Delete

NICS_COMPARED = 64
"""How many of a machine's MACs the transaction checks; no machine has more."""


class KnownMachine(Conflict):
    """The machine that reported is no unknown one: a person decides about it."""

    code = "known-machine"


def known_as(fleet: Fleet, unmatched: Unmatched) -> str | None:
    """What is known of the machine already; None where it is unknown."""
    idc, sn = unmatched.idc, unmatched.report.sn
    if sn and (fleet.machine(idc, sn) or fleet.current_task(idc, sn)):
        return f"serial number {sn} is a known machine; match its report by hand"
    for mac in macs_of(unmatched.report):
        if fleet.machine_by_mac(idc, mac) or fleet.task_by_mac(idc, mac):
            return f"MAC {mac} belongs to a known machine; match its report by hand"
    return None


async def create_by_rule(
    tasks: Tasks,
    fleet: Fleet,
    unmatched: Unmatched,
    held: Held[Rule],
    fence: Sequence[Compare],
) -> Task:
    """Create the task of a `create` rule; asked again for the same report it is the same task.

    Args:
        tasks: the use cases.
        fleet: what is known.
        unmatched: the report.
        held: the rule that matched.
        fence: the leadership's.

    Raises:
        KnownMachine: something is known of it.
        CasConflict: the report, the rule or the leadership is no longer what it was.
        InvalidInput, UnfinishedTask: as `Tasks.create`.
    """
    if why := known_as(fleet, unmatched):
        raise KnownMachine(why)
    rule, report = held.document, unmatched.report
    if rule.fields.task is None:
        raise Conflict(f"rule {held.name} does not say what shall be installed")
    spec = task_of_rule(rule.fields.task, unmatched.idc, report.mac_address, report.sn)
    report_key = keys.unmatched_report(unmatched.idc, unmatched.rest)
    return await tasks.create(
        spec,
        by=Actor(name=rule_actor(held.name)),
        idempotency_key=report_id(unmatched),
        acting_for=rule.changed_by,
        only_while=[
            *fence,
            rule_holds(held),
            Compare(report_key, "mod", "=", unmatched.revision),
            *_unknown(spec, macs_of(report)),
        ],
        also=[Delete(report_key)],
    )


def _unknown(spec: TaskSpec, macs: Sequence[str]) -> list[Compare]:
    never_written = [keys.meta(spec.idc, spec.sn), keys.task(spec.idc, spec.sn)]
    never_written += [keys.mac_place(spec.idc, mac) for mac in macs[:NICS_COMPARED]]
    return [Compare(key, "create", "=", 0) for key in never_written]
