"""A clock for tests."""

from datetime import UTC, datetime, timedelta

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class HandClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = BEGIN) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now

    def move(self, **by: float) -> None:
        """Let time pass, as `timedelta` counts."""
        self.now += timedelta(**by)
