"""A change of a present task, as listeners hear it: rows at once, whole documents if wanted."""

from functools import cached_property

import structlog

from lpmos.core.taskrow import TaskRow, row_of_task
from lpmos.model.task import Task
from lpmos.store import records
from lpmos.store.api import KV
from lpmos.store.mirror import opened

log = structlog.get_logger()


class TaskChange:
    """A present task before and after one revision; None where it did or does not exist.

    `before` and `after` may be another task each: a machine's next one takes the same place. Who
    needs no more than a list shows looks at the rows: nothing is decoded for that.
    """

    def __init__(
        self,
        before: Task | KV | None,
        after: Task | KV | None,
        revision: int,
        *,
        row_before: TaskRow | None = None,
        row: TaskRow | None = None,
    ) -> None:
        """The rows are made from the tasks where they are not given."""
        self._before = before
        self._after = after
        self.revision = revision
        self.row_before = row_before or _row(before)
        self.row = row or _row(after)

    @cached_property
    def before(self) -> Task | None:
        """The task that was there, whole."""
        return _whole(self._before)

    @cached_property
    def after(self) -> Task | None:
        """The task that is there now, whole."""
        return _whole(self._after)

    @property
    def task_ids(self) -> tuple[str, ...]:
        """The ids of the tasks that it is about."""
        return tuple(row.task_id for row in (self.row_before, self.row) if row)


def _whole(document: Task | KV | None) -> Task | None:
    if not isinstance(document, KV):
        return document
    try:
        return records.decode(opened(document), Task)
    except records.DamagedRecord as error:
        log.warning("left out a damaged record", key=document.key, error=str(error))
        return None


def _row(document: Task | KV | None) -> TaskRow | None:
    return row_of_task(document) if isinstance(document, Task) else None
