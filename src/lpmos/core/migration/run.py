"""A migration from beginning to end: look, plan, write, verify, and only then delete if asked to.

`lpmos migrate` runs it on a store that it opens itself; control planes and regions of v3 may run
beside it, those of the older system may not.
"""

from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from lpmos.core.clock import Clock
from lpmos.core.migration import standing
from lpmos.core.migration.entries import Finding
from lpmos.core.migration.plan import Plan, plan
from lpmos.core.migration.verification import Verified, delete_old, verify
from lpmos.core.migration.writer import RETRY_S, Writer, Written
from lpmos.model.errors import Conflict
from lpmos.store.api import Store

Told = Callable[[str, int, int | None], None]
"""Hears the step, how much of it is done, and of how much where that is known."""

BROKEN = frozenset({"missing", "differs"})


class OldSystemAlive(Conflict):
    """A part of the older system still runs: what it writes would be lost."""

    code = "old-system-alive"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a run found and did. `verified` is whether v3 has all that was carried over.

    `found_tasks` = `migrated` + `already` (or, in a dry run, `would_migrate`) + `refused`.
    """

    dry_run: bool
    old_keys: int
    found_tasks: int
    would_migrate: int = 0
    migrated: int = 0
    already: int = 0
    refused: int = 0
    gone_on: int = 0
    documents: int = 0
    statuses: dict[str, int] = {}
    layouts: dict[str, int] = {}
    verified: bool | None = None
    deleted_keys: int = 0
    left_keys: int = 0
    replaced_keys: int = 0
    findings: tuple[Finding, ...] = ()

    @property
    def whole(self) -> bool:
        """Whether nothing at all was put aside."""
        return not self.findings and self.verified is not False

    def kinds(self) -> dict[str, int]:
        """How many findings there are of each kind."""
        return dict(sorted(Counter(finding.kind for finding in self.findings).items()))

    def document(self) -> dict[str, Any]:
        """The report as plain values."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


async def migrate(
    store: Store,
    clock: Clock,
    *,
    dry_run: bool,
    delete: bool,
    told: Told | None = None,
    retry_s: float = RETRY_S,
) -> Report:
    """Carry over all that older layouts have.

    Args:
        store: where they are, and v3 is.
        clock: the time.
        dry_run: read and plan only; nothing is written.
        delete: delete what was carried over, once all of that is verified.
        told: hears how it goes.
        retry_s: after how long a store that is away is asked again, some times.

    Raises:
        OldSystemAlive: a region of the older system has a living heartbeat.
        Unavailable: the store is away; the same again goes on from there.
    """
    tell = told or (lambda _step, _done, _all: None)
    at = clock()
    found = await standing.look(store, lambda seen: tell("reading", seen, None))
    planned = plan(standing.read(found), found.standing, at)
    if dry_run:
        return _planned(planned, len(found.entries))
    if found.alive:
        raise OldSystemAlive(
            f"the older system still runs ({', '.join(found.alive[:5])}): stop it, wait 30 s"
        )
    total = len(planned.tasks)
    writer = Writer(
        store,
        planned,
        found.standing,
        at,
        told=lambda done: tell("writing", done, total),
        retry_s=retry_s,
    )
    written = await writer.write()
    aside = {finding.task_id for finding in written.findings if finding.task_id}
    verified = await verify(
        store, planned, aside - written.already, lambda done: tell("verifying", done, total)
    )
    gone, left = 0, len(found.entries)
    report = _written(planned, written, verified)
    if delete and report.verified:
        named = msgspec.structs.replace(planned, findings=report.findings)
        gone, left = await delete_old(store, found, named, verified)
    return msgspec.structs.replace(
        report, old_keys=len(found.entries), deleted_keys=gone, left_keys=left
    )


def _planned(planned: Plan, old_keys: int) -> Report:
    return Report(
        dry_run=True,
        old_keys=old_keys,
        found_tasks=planned.found_tasks,
        would_migrate=len(planned.tasks),
        refused=planned.found_tasks - len(planned.tasks),
        documents=len(planned.others.puts),
        statuses=planned.statuses(),
        layouts=planned.layouts(),
        left_keys=old_keys,
        replaced_keys=len(planned.replaced),
        findings=planned.findings,
    )


def _written(planned: Plan, written: Written, verified: Verified) -> Report:
    findings = (*planned.findings, *written.findings, *verified.findings)
    carried = len(written.tasks) + len(written.already)
    compared = len(verified.equal) + len(verified.gone_on)
    changed = sum(finding.kind == "source-changed" for finding in findings)
    agree = compared + changed == carried
    broken = any(finding.kind in BROKEN for finding in verified.findings)
    return msgspec.structs.replace(
        _planned(planned, 0),
        dry_run=False,
        would_migrate=0,
        migrated=len(written.tasks),
        already=len(written.already),
        refused=planned.found_tasks - carried,
        gone_on=len(verified.gone_on),
        documents=len(written.documents),
        verified=agree and not broken,
        findings=findings,
    )
