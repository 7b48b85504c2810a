"""What the examples of the API are about: one machine and its task, and when it happens."""

from datetime import UTC, datetime, timedelta

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = AT + timedelta(minutes=5)
TASK_ID = "0b0b6f5e-3c1d-4f7a-9a55-2f1f5a1c0001"
MAC = "52:54:00:12:34:56"
REVISION = 4711
