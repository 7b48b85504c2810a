"""The rules of a control plane: kept as documents, and asked about a task or a report.

A rule says why it does or does not match; the one that decides is the first that matches, of the
highest priority. Asking changes nothing: who acts on it is `lpmos.core.rules.duty`.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.documents import Documents, Held
from lpmos.core.fleet import Unmatched
from lpmos.core.rules.conditions import Verdict, ask, check_condition
from lpmos.core.rules.facts import facts_of_report, facts_of_task
from lpmos.model.access import sees
from lpmos.model.audit import Actor
from lpmos.model.errors import Conflict, FieldProblem, InvalidInput, NotFound
from lpmos.model.job import Job
from lpmos.model.rule import (
    RULE_LIMIT,
    TENANT_RULE_LIMIT,
    Rule,
    RuleFields,
    RuleKind,
    check_rule,
    rule_actor,
    rule_of_actor,
)
from lpmos.model.task import Task
from lpmos.store import keys
from lpmos.store.api import Compare, Store
from lpmos.store.mirror import Mirror

UNSAID = "nobody knows who wrote the rule that created this task"


class RuleVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What one rule says, and why."""

    rule: str
    priority: int
    matched: bool
    reason: str


class Rules:
    """All rules; with `second_person` none approves what its own author asked for."""

    def __init__(
        self, store: Store, mirror: Mirror, clock: Clock, *, second_person: bool = False
    ) -> None:
        self._documents: Documents[Rule] = Documents(
            store, mirror, clock, prefix=keys.control("rules"), kind=Rule, noun="rule"
        )
        self._clock = clock
        self._second_person = second_person

    def seen_by(self, tenant: str | None, kind: RuleKind | None = None) -> list[Held[Rule]]:
        """The rules that a user of `tenant` sees, in the order in which they are asked."""
        seen = (
            held
            for held in self._documents.all()
            if sees(tenant, held.document.tenant) and kind in (None, held.document.fields.kind)
        )
        return _in_order(seen)

    def enabled(self, kind: RuleKind) -> list[Held[Rule]]:
        """The rules that decide, in the order in which they are asked."""
        return _in_order(
            held
            for held in self._documents.all()
            if held.document.fields.enabled and held.document.fields.kind == kind
        )

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener` after every change of a rule; the result unsubscribes."""
        return self._documents.subscribe(lambda name, after: listener())

    async def read(self, name: str, tenant: str | None) -> Held[Rule]:
        """A rule.

        Raises:
            NotFound: there is none, or it is another tenant's.
        """
        held = await self._documents.read(name)
        if not sees(tenant, held.document.tenant):
            raise NotFound(f"there is no rule {name[:64]}")
        return held

    async def create(self, name: str, fields: RuleFields, *, by: Actor) -> Held[Rule]:
        """Make a rule; it is asked about everything that waits now.

        Raises:
            InvalidInput: names each wrong field.
            Conflict: there is one of this name, or there are as many as there can be.
        """
        fields = _owned(fields, by.tenant)
        check_fields(fields)
        if (
            len(self._documents) >= RULE_LIMIT
            or len(self._of_tenant(fields.tenant)) >= TENANT_RULE_LIMIT
        ):
            text = f"there can be {RULE_LIMIT} rules, {TENANT_RULE_LIMIT} of one tenant"
            raise Conflict(f"{text}; delete one first")
        now = self._clock()
        rule = Rule(fields=fields, created_at=now, changed_at=now, changed_by=by.name)
        return await self._documents.create(name, rule, by=by)

    async def change(
        self, name: str, fields: RuleFields, *, by: Actor, at_revision: int | None = None
    ) -> Held[Rule]:
        """Put other fields in place of a rule's; it then acts for who changed it.

        Raises:
            InvalidInput: names each wrong field.
            NotFound: there is none, or it is another tenant's.
            Conflict: it is a rule of another kind.
            CasConflict: it is not at `at_revision`.
        """
        fields = _owned(fields, by.tenant)
        check_fields(fields)
        known = await self.read(name, by.tenant)
        if fields.kind != known.document.fields.kind:
            raise Conflict("a rule's kind stays as it is; delete the rule and make another")

        def changed(rule: Rule) -> Rule:
            if not sees(by.tenant, rule.tenant):
                raise NotFound(f"there is no rule {name[:64]}")
            return msgspec.structs.replace(
                rule, fields=fields, changed_at=self._clock(), changed_by=by.name
            )

        return await self._documents.change(name, changed, by=by, at_revision=at_revision)

    async def delete(self, name: str, *, by: Actor, at_revision: int | None = None) -> None:
        """Delete a rule; raises as `change`."""
        await self.read(name, by.tenant)
        await self._documents.delete(name, by=by, at_revision=at_revision)

    def verdicts_on_task(self, task: Task, rules: Iterable[Held[Rule]]) -> list[RuleVerdict]:
        """What each `approve` rule says of a task that waits for approval, in their order."""
        return [_said(held, self._judge_task(held, task)) for held in rules]

    def verdicts_on_report(
        self, unmatched: Unmatched, rules: Iterable[Held[Rule]]
    ) -> list[RuleVerdict]:
        """What each `create` rule says of a report without a task, in their order."""
        return [_said(held, judge_report(held.document, unmatched)) for held in rules]

    async def decision(self, task: Task, tenant: str | None) -> list[RuleVerdict]:
        """What each enabled `approve` rule that a user of `tenant` sees says of a task, and why."""
        seen = [held for held in self.enabled("approve") if sees(tenant, held.document.tenant)]
        return await asyncio.to_thread(self.verdicts_on_task, task, seen)

    async def decision_on_report(self, unmatched: Unmatched) -> list[RuleVerdict]:
        """What each enabled `create` rule says of a report, and why."""
        rules = self.enabled("create")
        return await asyncio.to_thread(self.verdicts_on_report, unmatched, rules)

    def _of_tenant(self, tenant: str | None) -> list[Held[Rule]]:
        """The rules of a tenant; none of the provider's, whose number only the whole bounds."""
        held = self._documents.all()
        return [] if tenant is None else [each for each in held if each.document.tenant == tenant]

    def _judge_task(self, held: Held[Rule], task: Task) -> Verdict:
        if task.created_by == rule_actor(held.name):
            return Verdict(False, "it created this task itself; another or a person approves")
        if self._second_person and (why := _same_person(held.document, task)):
            return Verdict(False, why)
        return judge_task(held.document, task)


def rule_holds(held: Held[Rule]) -> Compare:
    """What is true as long as a rule is as it was read: it goes with all that the rule does."""
    return Compare(keys.control("rules", held.name), "mod", "=", held.revision)


def check_fields(fields: RuleFields, path: str = "") -> None:
    """Check all of a rule, its condition too.

    Args:
        fields: what a person said.
        path: what stands before the fields' names in problems.

    Raises:
        InvalidInput: names each wrong field.
    """
    problems: list[FieldProblem] = []
    for check in (check_rule, _check_condition):
        try:
            check(fields)
        except InvalidInput as error:
            problems += error.problems
    if problems:
        raise InvalidInput(*(FieldProblem(f"{path}{e.field}", e.message) for e in problems))


def judge_task(rule: Rule, task: Task) -> Verdict:
    """Whether an `approve` rule approves a task, whoever created it."""
    fields = rule.fields
    if not rule.holds_for(task.idc, task.tenant):
        return Verdict(False, _other_scope(fields))
    if task.job is not None and (why := _job_refused(fields, task.job)):
        return Verdict(False, why)
    verdict = ask(fields.condition, "approve", facts_of_task(task))
    disks = task.plan.disks if task.plan else task.job_plan.written if task.job_plan else ()
    if verdict.matched and not fields.allow_overwrite:
        for disk in disks:
            if disk.overwrites:
                held = ", ".join(disk.overwrites)[:200]
                return Verdict(False, f"the plan overwrites what {disk.device} holds ({held})")
    return verdict


def _job_refused(fields: RuleFields, job: Job) -> str | None:
    """Why the rule does not approve such a job, whatever its condition says; None: it may."""
    if fields.approved_jobs == "none":
        return "the task is a job, and the rule's `jobs` is none"
    if job.has_ssh:
        return "the job lets people log in, which a person has to approve"
    if job.writes and fields.approved_jobs != "writing":
        return "the job writes to disks, and the rule's `jobs` is not writing"
    return None


def _same_person(rule: Rule, task: Task) -> str | None:
    """Why this rule would approve what its own author asked for; None where it would not."""
    if rule_of_actor(task.asked_by) is not None:
        return UNSAID
    if task.asked_by == rule.changed_by:
        return f"{task.asked_by} asked for this task and wrote this rule; another must approve"
    return None


def judge_report(rule: Rule, unmatched: Unmatched) -> Verdict:
    """Whether a `create` rule makes a task for a machine that reported itself."""
    if not rule.holds_for(unmatched.idc, None):
        return Verdict(False, _other_scope(rule.fields))
    report = unmatched.report
    facts = facts_of_report(unmatched.idc, report.mac_address, report.sn, report.hardware)
    return ask(rule.fields.condition, "create", facts)


def _check_condition(fields: RuleFields) -> None:
    check_condition(fields.condition, fields.kind)


def _owned(fields: RuleFields, tenant: str | None) -> RuleFields:
    """The fields as a user of `tenant` may give them: its own rules, for its own tasks.

    Raises:
        InvalidInput: they are for others, or create tasks.
    """
    if tenant is None:
        return fields
    if fields.kind == "create":
        raise InvalidInput(FieldProblem("kind", "rules that create tasks are the provider's"))
    if fields.tenant not in (None, tenant):
        raise InvalidInput(FieldProblem("tenant", f"must be {tenant}"))
    return msgspec.structs.replace(fields, tenant=tenant)


def _in_order(rules: Iterable[Held[Rule]]) -> list[Held[Rule]]:
    return sorted(rules, key=lambda held: (-held.document.fields.priority, held.name))


def _said(held: Held[Rule], verdict: Verdict) -> RuleVerdict:
    return RuleVerdict(
        rule=held.name,
        priority=held.document.fields.priority,
        matched=verdict.matched,
        reason=verdict.reason,
    )


def _other_scope(fields: RuleFields) -> str:
    where = f" in {', '.join(fields.idc)}" if fields.idc else ""
    whose = f" of {fields.tenant}" if fields.tenant else ""
    return f"is only for tasks{whose}{where}"[:400]
