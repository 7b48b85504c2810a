"""Webhooks whose receiver fails: until when each is left alone, and how often that is logged.

The rule: after a try in vain none of the webhook's deliveries is begun until a time that moves
away with each further failure; then one is tried, and if it arrives all is as before. What was
begun before the newest failure says nothing about the time after it: it neither counts nor resets.
All of this is in the memory of the one that leads; the next one begins with a try.
"""

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import msgspec

from lpmos.model.webhook import Outcome, webhook_delay_s

LINE_EVERY = timedelta(minutes=1)


class Failing(msgspec.Struct, frozen=True, kw_only=True):
    """How often in a row a webhook was tried in vain, and when it may be tried again."""

    failures: int
    failing_until: datetime


class Backoffs:
    """The webhooks that fail."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        """`chance` spreads the tries."""
        self._chance = chance
        self._failing: dict[str, Failing] = {}
        self._asked: set[str] = set()

    def of(self, webhook_id: str) -> Failing | None:
        """How it fails; None where its newest try arrived, or there was none."""
        return self._failing.get(webhook_id)

    def until(self, webhook_id: str) -> datetime | None:
        """Before when nothing of it may be begun; None: it may be now."""
        failing = self._failing.get(webhook_id)
        return failing.failing_until if failing and webhook_id not in self._asked else None

    def begun(self, webhook_id: str) -> Failing | None:
        """A try begins; what is returned goes to `ended`."""
        self._asked.discard(webhook_id)
        return self._failing.get(webhook_id)

    def ended(
        self, webhook_id: str, before: Failing | None, outcome: Outcome, now: datetime
    ) -> None:
        """A try has ended; `before` is what `begun` said of it."""
        current = self._failing.get(webhook_id)
        is_newest = current is before
        if outcome.accepted:
            if is_newest:
                self.forget(webhook_id)
            return
        asked_until = now + timedelta(seconds=outcome.retry_after_s or 0.0)
        if is_newest:
            failures = before.failures + 1 if before else 1
            until = now + timedelta(seconds=webhook_delay_s(failures, self._chance()))
            self._failing[webhook_id] = Failing(
                failures=failures, failing_until=max(until, asked_until)
            )
        elif current is not None and asked_until > current.failing_until:
            self._failing[webhook_id] = Failing(
                failures=current.failures, failing_until=asked_until
            )

    def ask(self, webhook_id: str) -> None:
        """A person wants a try now: one may be begun, whatever was before."""
        if webhook_id in self._failing:
            self._asked.add(webhook_id)

    def forget(self, webhook_id: str) -> None:
        """It arrived, or the webhook was changed or deleted: nothing is known against it."""
        self._failing.pop(webhook_id, None)
        self._asked.discard(webhook_id)


class Lines:
    """Counts what could be logged of each webhook, so that one line in `LINE_EVERY` tells it."""

    def __init__(self) -> None:
        self._logged_at: dict[str, datetime] = {}
        self._counts: dict[str, int] = {}

    def count(self, webhook_id: str, now: datetime) -> int | None:
        """One more: how many the line has to tell, or None where it is not time for one."""
        number = self._counts.get(webhook_id, 0) + 1
        logged_at = self._logged_at.get(webhook_id)
        if logged_at is not None and logged_at <= now < logged_at + LINE_EVERY:
            self._counts[webhook_id] = number
            return None
        self._logged_at[webhook_id] = now
        self._counts.pop(webhook_id, None)
        return number

    def forget(self, webhook_id: str) -> None:
        """The webhook was deleted."""
        self._logged_at.pop(webhook_id, None)
        self._counts.pop(webhook_id, None)
