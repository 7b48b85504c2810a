"""The elected control plane's part in rules: it asks them about what waits, and does what they say.

Each waiting task and report is looked at when it comes, when a rule changes, and at the start of a
term. A decision holds for exactly what was looked at: task, plan, rule and leadership are compared
in its transaction, so that a changed rule or a second leader never decides. What cannot be done now
is tried again after a while that grows, and is told once, in the audit log, for each reason.
"""

import asyncio
from typing import Literal

import structlog

from lpmos.core import journal
from lpmos.core.clock import Clock
from lpmos.core.documents import Held
from lpmos.core.fleet import Fleet, TaskChange
from lpmos.core.rules.agenda import Agenda, Waiting
from lpmos.core.rules.rules import Rules, RuleVerdict, rule_holds
from lpmos.core.rules.zero_touch import KnownMachine, create_by_rule, known_as
from lpmos.core.tasks import Tasks
from lpmos.core.tracing import named
from lpmos.core.unmatched_reports import report_id
from lpmos.model.audit import Actor, AuditEvent, new_event_id
from lpmos.model.errors import ImpossibleTransition, LpmosError, NotFound
from lpmos.model.lifecycle import Status
from lpmos.model.rule import Rule, rule_actor
from lpmos.store.api import CasConflict, Leadership, Store, StoreError
from lpmos.store.keys import KeyName

log = structlog.get_logger()

FIRST_RETRY_S = 1.0
LONGEST_RETRY_S = 300.0
NOTE_CHARACTERS = 1000


class RulesDuty:
    """Asks the rules about everything that waits, for as long as it leads."""

    def __init__(
        self,
        store: Store,
        fleet: Fleet,
        tasks: Tasks,
        rules: Rules,
        clock: Clock,
        *,
        first_retry_s: float = FIRST_RETRY_S,
        longest_retry_s: float = LONGEST_RETRY_S,
    ) -> None:
        """What fails is tried again after `first_retry_s`, then twice that, and so on."""
        self._store = store
        self._fleet = fleet
        self._tasks = tasks
        self._rules = rules
        self._clock = clock
        self._retry_s = first_retry_s, longest_retry_s
        self._told: dict[Waiting, str] = {}

    async def lead(self, leadership: Leadership) -> None:
        """Decide until cancelled; what waited before is looked at first."""
        agenda = Agenda(*self._retry_s)
        self._told.clear()
        unsubscribe = [
            self._fleet.subscribe(lambda change: _note_task(agenda, change)),
            self._fleet.subscribe_others(lambda key, at: _note_report(agenda, key, at)),
            self._rules.subscribe(lambda: self._add_all(agenda)),
        ]
        try:
            await self._fleet.wait_for_revision(1)
            self._add_all(agenda)
            while True:
                item = await agenda.next()
                if await self._look(item, leadership):
                    agenda.done(item)
                else:
                    agenda.later(item)
        finally:
            for each in unsubscribe:
                each()

    def _add_all(self, agenda: Agenda) -> None:
        for task in self._fleet.current_rows():
            if task.status is Status.PENDING_APPROVAL:
                agenda.add(Waiting("task", (task.task_id,)))
        for unmatched in self._fleet.unmatched():
            agenda.add(Waiting("report", (unmatched.idc, unmatched.rest)))

    async def _look(self, item: Waiting, leadership: Leadership) -> bool:
        """Ask the rules about one thing and do what they say; false: to be tried again."""
        try:
            if item.kind == "task":
                await self._look_at_task(item, leadership)
            else:
                await self._look_at_report(item, leadership)
        except (NotFound, ImpossibleTransition, KnownMachine):  # decided otherwise meanwhile
            self._told.pop(item, None)
        except CasConflict as error:
            log.info("changed while a rule decided", item=item.name, reason=str(error))
            return False
        except StoreError as error:
            log.warning("a rule's decision waits for the store", item=item.name, reason=str(error))
            return False
        except _Refused as refusal:
            return await self._tell(item, refusal, leadership)
        return True

    async def _look_at_task(self, item: Waiting, leadership: Leadership) -> None:
        task = self._fleet.task(item.name[0])
        digest = task.plan_digest if task else None
        if task is None or task.status is not Status.PENDING_APPROVAL or digest is None:
            self._told.pop(item, None)
            return
        revision = self._fleet.revision(task)
        rules = self._rules.enabled("approve")
        if not rules:
            return
        verdicts = await asyncio.to_thread(self._rules.verdicts_on_task, task, rules)
        decided = _first_match(rules, verdicts)
        if decided is None:
            return
        held, verdict = decided
        actor = Actor(name=rule_actor(held.name), tenant=held.document.tenant)
        try:
            await self._tasks.approve(
                task.task_id,
                by=actor,
                notes=note(held, verdict),
                plan_digest=digest,
                at_revision=revision,
                only_while=(*leadership.fence, rule_holds(held)),
            )
        except (StoreError, NotFound, ImpossibleTransition):
            raise
        except LpmosError as error:
            raise _Refused(actor, "task.approved", f"task/{task.task_id}", error) from error
        self._told.pop(item, None)
        log.info("approved by a rule", rule=held.name, **named(task), reason=verdict.reason)

    async def _look_at_report(self, item: Waiting, leadership: Leadership) -> None:
        unmatched = self._fleet.unmatched_report(*item.name)
        if unmatched is None or known_as(self._fleet, unmatched):
            self._told.pop(item, None)
            return
        rules = self._rules.enabled("create")
        verdicts = await asyncio.to_thread(self._rules.verdicts_on_report, unmatched, rules)
        decided = _first_match(rules, verdicts)
        if decided is None:
            return
        held, verdict = decided
        try:
            task = await create_by_rule(self._tasks, self._fleet, unmatched, held, leadership.fence)
        except (StoreError, KnownMachine):
            raise
        except LpmosError as error:
            target = f"unmatched-report/{report_id(unmatched)}"
            actor = Actor(name=rule_actor(held.name))
            raise _Refused(actor, "task.created", target, error) from error
        self._told.pop(item, None)
        log.info("created by a rule", rule=held.name, **named(task), reason=verdict.reason)

    async def _tell(
        self, item: Waiting, refusal: "_Refused", leadership: Leadership
    ) -> Literal[False]:
        """Log a refusal and write it to the audit log, once for each reason."""
        reason = str(refusal)
        if self._told.get(item) == reason:
            return False
        log.warning("a rule cannot do what it says", rule=refusal.actor.name, reason=reason)
        now = self._clock()
        event = AuditEvent(
            event_id=new_event_id(now),
            at=now,
            action=refusal.action,
            actor=refusal.actor,
            target=refusal.target,
            outcome="refused",
            reason=reason,
        )
        try:
            await self._store.txn(leadership.fence, [journal.put(event)])
        except StoreError as error:
            log.warning("a refusal is not in the audit log yet", reason=str(error))
        else:
            self._told[item] = reason
        return False


class _Refused(Exception):
    """What a rule wanted is not possible now; the text says why."""

    def __init__(self, actor: Actor, action: str, target: str, cause: LpmosError) -> None:
        self.actor = actor
        self.action = action
        self.target = target
        super().__init__(str(cause))


def note(held: Held[Rule], verdict: RuleVerdict) -> str:
    """What an approval says of why: the condition, and the values that it was true of."""
    return f"{held.document.fields.condition} [{verdict.reason}]"[:NOTE_CHARACTERS]


def _first_match(
    rules: list[Held[Rule]], verdicts: list[RuleVerdict]
) -> tuple[Held[Rule], RuleVerdict] | None:
    pairs = zip(rules, verdicts, strict=True)
    return next(((held, verdict) for held, verdict in pairs if verdict.matched), None)


def _note_task(agenda: Agenda, change: TaskChange) -> None:
    row = change.row
    if row is not None and row.status is Status.PENDING_APPROVAL:
        agenda.add(Waiting("task", (row.task_id,)))


def _note_report(agenda: Agenda, key: KeyName, revision: int) -> None:
    if key.kind == "unmatched" and revision:
        agenda.add(Waiting("report", (key.idc, key.rest)))
